"""The console: pages for whoever audits or operates, with the scope `audit:read`, on the frame of api/pages.

One file for each kind of thing that is looked at. Whatever is shown or done, the API is asked for it with the visitor's
own token; what a page can do, curl can do. Every state has an address, every table gives what it shows as CSV.
"""

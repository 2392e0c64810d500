"""The pages of a door, for people: plain Flask, server-rendered, no script, no power of their own.

Whatever a page shows or does, it asks the API for, inside the same process and with the token of who signed in: what a
page can do, curl can do. `calling` asks, `session` remembers who asks, `application` puts the pages together; the rest
are the pages. They know no database, no key but the cookie's, and no model but by its contract.
"""

"""Plots: pure functions from figures to the text of an SVG, for pages and for callers who ask for `image/svg+xml`.

Each returns one `<svg>` to be put into a page as it is: it takes the page's text colour (`currentColor`), needs neither
style sheet nor script, and carries its text alternative. `ink.file` makes a document of it that stands alone.
"""

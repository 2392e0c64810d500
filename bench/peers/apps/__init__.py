"""The peers' own little applications, as their manuals write them; each runs in a virtualenv of its own."""

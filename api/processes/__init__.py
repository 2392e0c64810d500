"""Processes that keep others: the supervisor, the sockets doors share, and a door as a process of its own."""

"""The engine's inside: the only process that loads models and holds the pen. Doors know its socket, never this package.

A request goes desk → lanes → batching → answers → committing → desk, and leaves when its record is durable.
A replay goes replaying → child (a process of its own) → comparing → committing.
"""

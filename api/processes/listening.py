"""The addresses the doors listen on: bound once, before anything else starts, so that a taken port is said at
once.
"""

from __future__ import annotations

import errno
import socket

from api.refusals import CommandRefused

BACKLOG = 2048
_REASONS = {
    errno.EADDRINUSE: "is taken by another process; stop that one or choose another port: --port",
    errno.EACCES: "is not yours to listen on; choose a port above 1023: --port",
    errno.EADDRNOTAVAIL: "is no address of this machine; choose another: --host 127.0.0.1",
}
# An address family that this machine lacks is no fault as long as another one works.
_TOLERATED = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def bind(host: str, port: int) -> list[socket.socket]:
    """Listen on every address the host name stands for (localhost: both of them).

    Raises:
        CommandRefused: naming host, port and the cure.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as refused:
        raise CommandRefused(
            f"ONRECORD_HOST={host} is not known ({refused.strerror}); try 127.0.0.1"
        ) from refused
    sockets = []
    failed: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bound(family, address))
        except OSError as refused:
            if refused.errno not in _TOLERATED:
                raise _refusal(host, port, refused) from refused
            failed = refused
    if not sockets:
        assert failed is not None
        raise _refusal(host, port, failed)
    return sockets


def _bound(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _refusal(host: str, port: int, refused: OSError) -> CommandRefused:
    reason = _REASONS.get(refused.errno or 0, f"cannot be listened on ({refused.strerror})")
    return CommandRefused(f"ONRECORD_HOST={host} ONRECORD_PORT={port} {reason}")

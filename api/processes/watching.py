"""Waiting for what happens to a process that keeps others: signals, children that died, a parent that died.

One thread, no event loop: whoever forks or restarts others must not have threads of its own.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
from types import FrameType, TracebackType

STOPPING = (signal.SIGTERM, signal.SIGINT)


class Watch:
    """Wakes up on SIGTERM, SIGINT, SIGCHLD, or when the lifeline's other end is gone."""

    def __init__(self, lifeline: int | None = None) -> None:
        self.is_stopping = False
        self._lifeline = lifeline
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)

    def __enter__(self) -> Watch:
        self._selector.register(self._woken, selectors.EVENT_READ)
        if self._lifeline is not None:
            self._selector.register(self._lifeline, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in STOPPING:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, _notice)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.forget()

    def wait(self, at_most_s: float | None) -> None:
        """Sleep until something happens or the time is up; returns early now and then."""
        for key, _ in self._selector.select(at_most_s):
            if key.fileobj is self._woken:
                self._woken.recv(4096)
            else:
                self.is_stopping = True
                self._selector.unregister(key.fileobj)

    def forget(self) -> None:
        """Give signals their default meaning again; a forked child calls this first."""
        signal.set_wakeup_fd(-1)
        for number in (*STOPPING, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        self._woken.close()
        self._waker.close()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.is_stopping = True


def _notice(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: a handler must exist for the signal to reach the wake-up descriptor."""


def stop_oneself_when_gone(lifeline: int) -> None:
    """Block until the lifeline's other end is gone, then ask this process to stop as an operator would."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)

"""One way of logging for every process: a JSON object per line on stderr, fields instead of sentences.

Lines of libraries (uvicorn, connexion) take the same shape. No payload and no secret is ever a field. A trace
is cut down to places in the code, because an exception's message may quote a caller's input; `debug` gives it
whole.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
import traceback
from contextvars import ContextVar
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

_REQUEST: ContextVar[str] = ContextVar("request", default="")


def named() -> str:
    """Give the request that begins here a name; every line logged on its behalf carries it, in its threads, too."""
    name = secrets.token_hex(8)
    _REQUEST.set(name)
    return name


def request_name() -> str:
    """Tell the name of the request that is being answered; empty outside of any."""
    return _REQUEST.get()


def configure(part: str, level: str, *, debug: bool = False) -> None:
    """Set up logging of this process; every line names its `part` (door, engine, supervisor) and its pid."""

    def name_part(_logger: Any, _method: str, event: EventDict) -> EventDict:
        request = {"request": request_name()} if request_name() else {}
        return {**request, **event, "part": part, "pid": os.getpid()}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        name_part,
        structlog.processors.format_exc_info if debug else _places_only,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_name_source, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _line],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # alembic reports every look at the revision, uvicorn every step of coming and going, which we log ourselves.
    for name in ("alembic", "uvicorn.error"):
        logging.getLogger(name).setLevel("DEBUG" if debug else "WARNING")
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True


def _name_source(logger: Any, _method: str, event: EventDict) -> EventDict:
    return {**event, "source": getattr(logger, "name", None) or event["_record"].name}


def _places_only(_logger: Any, _method: str, event: EventDict) -> EventDict:
    found = event.pop("exc_info", None)
    if not found:
        return event
    raised = found[1] if isinstance(found, tuple) else found
    if not isinstance(raised, BaseException):
        raised = sys.exc_info()[1]
    if raised is not None:
        event["raised"] = type(raised).__name__
        event["trace"] = [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(raised.__traceback__)
        ]
    return event


def _line(_logger: Any, _method: str, event: EventDict) -> str:
    """Write one line of printable ASCII: what a stranger sent must move no cursor and begin no line."""
    return json.dumps(event, default=str, separators=(",", ":")).replace("\x7f", "\\u007f")

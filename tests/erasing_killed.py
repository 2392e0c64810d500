"""A process that erases and kills itself on the way: `python -m tests.erasing_killed <url> <moment>`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from db import erasure, postgresql, sqlite
from db.engine import open_reader
from db.ledger import Ledger
from tests import changing
from tests.changing import erasing
from tests.ledgers import NOON_US, writing


def die(*_: Any) -> None:
    """Die as if the power had gone."""
    os.kill(os.getpid(), signal.SIGKILL)


def after(done: Callable[..., Any]) -> Callable[..., Any]:
    """Let something happen, and die behind it."""

    def act(*args: Any, **keywords: Any) -> None:
        done(*args, **keywords)
        die()

    return act


def main(url: str, moment: str) -> None:
    """Erase, as far as one gets."""
    driver: Any = sqlite._Pen if url.startswith("sqlite") else postgresql._Bounded
    with writing(url) as ledger:
        match moment:
            case "before":
                erasure.check = after(erasure.check)
            case "between":
                erasure.erase = die
            case "deleted":
                erasure.erase = after(erasure.erase)
            case "committed":
                driver.commit = after(driver.commit)
        _erase(ledger, url)


def _erase(ledger: Ledger, url: str) -> None:
    changing.change(ledger, open_reader(url), "erasure.add", erasing(reference="s-1"), NOON_US + 1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

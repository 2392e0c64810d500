"""`python -m bench.engine unsealed|off`: the engine, but for what it keeps. A switch that the product does not have.

unsealed    the same rows in the same tables, without leaf, tree, seal and receipt
off         nothing is kept: what recording itself costs
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from api import __main__ as commands
from api.engine import committing, opening
from api.engine.answers import Ready
from api.engine.desk import Answer
from api.settings import calm_numeric_libraries
from bench.records import Plain
from db.records import Appended, Record


class Off(Plain):
    """Says that everything is on record, and keeps nothing."""

    def append(self, records: Sequence[Record]) -> Appended:
        """Keep nothing."""
        return Appended(places=[0] * len(records), receipts=[])


def _append(ledger: Any, group: Sequence[Ready]) -> list[Answer]:
    ledger.append([each.record for each in group])
    return [each.answer for each in group]


def main() -> None:
    """Run `python -m api engine` with another ledger in it."""
    calm_numeric_libraries()
    opening.Ledger = {"unsealed": Plain, "off": Off}[sys.argv[1]]  # type: ignore[misc,assignment]  # that is the switch
    committing._append = _append
    commands.main(["engine"])


if __name__ == "__main__":
    main()

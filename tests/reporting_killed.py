"""A process that records outcomes and kills itself on the way: `python -m tests.reporting_killed <url> <moment>`.

The ledger has to begin with predictions; it reports on both instances of each of the first two, and corrects one.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any
from uuid import UUID

from db import postgresql, sqlite
from db.derivations import Derivations
from db.engine import open_reader
from db.lookups import Filter, Lookups
from db.records import Record
from tests.erasing_killed import after, die
from tests.ledgers import NOON_US, happened, predicted, writing


def outcomes(url: str) -> list[Record]:
    """Make the records of outcomes of predictions that are stored already."""
    reader = open_reader(url)
    found = Lookups(reader).search(Filter(), None, 100)
    reader.dispose()
    made = []
    for each in reversed(found):
        record = replace(predicted(), id=UUID(each.id.partition(".")[0]))
        made.append(happened(record, each.idx, ">50K", position=each.position, at_us=NOON_US + 1))
    return [*made, happened(record, each.idx, "<=50K", position=each.position, at_us=NOON_US + 2)]


def main(url: str, moment: str) -> None:
    """Record them, as far as one gets."""
    driver: Any = sqlite._Pen if url.startswith("sqlite") else postgresql._Bounded
    records = outcomes(url)
    with writing(url) as ledger:
        match moment:
            case "derived":
                Derivations._renew = die  # type: ignore[method-assign]  # that is the point
            case "renewed":
                Derivations._renew = after(Derivations._renew)  # type: ignore[method-assign]  # likewise
            case "committed":
                driver.commit = after(driver.commit)
        ledger.append(records)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

"""What an audit can find, and how findings are kept while it goes on: many of them must not fill the memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum

KEPT = 20  # findings of one cause: the first ones tell the story, the rest is counted


class Cause(StrEnum):
    """What is wrong; the words are part of the command's JSON and do not change."""

    ORDER = "order"  # a record is missing, doubled, or beyond the head
    LEAF = "leaf"  # the leaf cannot be read
    COLUMN = "column"  # a column says something else than the leaf or the payload
    PAYLOAD = "payload"  # missing, unreadable, or of no record
    COMMITMENT = "commitment"  # the payload is not what the leaf commits to
    PREDICTION = "prediction"  # a row of lookups is not what the payload says
    BLOCK = "block"  # columns of predictions are not what the payloads say
    ROOT = "root"  # the leaves lead to another root than was signed or sealed
    HEAD = "head"
    NOTE = "note"
    TILE = "tile"
    ANCHOR = "anchor"  # a checkpoint kept outside contradicts the ledger
    DERIVED = "derived"  # what a record was made from is not what it says
    OUTCOME = "outcome"  # what is known to have happened is not what the newest record of it says
    ERASURE = "erasure"  # what is gone is not what the record of its erasure says, or is still there
    WITNESS = "witness"  # a stored cosignature is not what its witness made
    EPOCH = "epoch"  # how an epoch was begun contradicts itself or the head
    SCHEMA = "schema"  # something stands in front of the tables, or they are others
    FILE = "file"  # pages or indexes of the database are broken
    STATE = "state"  # clients, versions, aliases, holds or keys of requests are not what records made them


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it must be; `at` is the index of the first record concerned, None for none at all."""

    at: int | None
    cause: Cause
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A signed checkpoint that was kept outside the database, and where it comes from."""

    source: str
    note: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """What the stored cosignatures of one witness say; without a name, of all whose keys were not given."""

    name: str
    count: int = 0
    size: int = 0
    at_s: int = 0  # when the witness says that it saw this size

    def and_one(self, size: int, at_s: int) -> Witnessed:
        """Add one; they come in the order of their sizes."""
        return Witnessed(name=self.name, count=self.count + 1, size=size, at_s=at_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """A restored backup that was declared: the epoch before it ended at `size` records, its later ones are lost."""

    number: int
    size: int  # records that were kept, and the place of the record that declares it
    by: str
    at_us: int
    reason: str
    known_size: int  # of the largest checkpoint of the lost records that was known when it was declared
    evidence: dict[str, int] = field(
        default_factory=dict
    )  # source: the largest size that it shows to be lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the audit saw; without findings, the first `anchored` records are those that somebody outside saw too."""

    origin: str
    key_id: str
    size: int
    since: int  # the first so many records were checked by an earlier audit and were not looked at again
    root: bytes
    records: int
    payloads: int
    predictions: int
    outcomes: int  # predictions of which it is known what really happened
    erased: int  # records of which something was erased, each accounted for by the record of its erasure
    latest_us: int  # when the newest record was observed; 0 without records
    notes: int
    signed: int  # the largest size that a stored note vouches for
    anchored: int
    anchors: dict[str, int]  # source: how many genuine checkpoints came from there
    witnesses: tuple[Witnessed, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    is_mac_checked: bool
    findings: tuple[Finding, ...]
    found: int  # all findings, those too that were only counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What is known of some records in a row: how many there are, and how their times run."""

    records: int = 0
    payloads: int = 0
    predictions: int = 0
    erased: int = 0
    erasures: int = 0  # of one record there may be several
    derived: int = 0
    outcomes: int = 0  # predictions of which one was reported; counted at the first report
    latest_us: int = 0
    earliest_us: int = 2**63 - 1
    lag_us: int = 0  # the most any of them came behind the latest before it

    def without(self, other: Tally) -> Tally:
        """Take back what was counted of one record besides itself."""
        return replace(
            self,
            payloads=self.payloads - other.payloads,
            predictions=self.predictions - other.predictions,
            erased=self.erased - other.erased,
            erasures=self.erasures - other.erasures,
            derived=self.derived - other.derived,
            outcomes=self.outcomes - other.outcomes,
        )

    def then(self, other: Tally) -> Tally:
        """Count on with the records that follow."""
        return Tally(
            records=self.records + other.records,
            payloads=self.payloads + other.payloads,
            predictions=self.predictions + other.predictions,
            erased=self.erased + other.erased,
            erasures=self.erasures + other.erasures,
            derived=self.derived + other.derived,
            outcomes=self.outcomes + other.outcomes,
            latest_us=max(self.latest_us, other.latest_us),
            earliest_us=min(self.earliest_us, other.earliest_us),
            lag_us=max(self.lag_us, other.lag_us, self.latest_us - other.earliest_us),
        )


class Findings:
    """Collects findings, the first ones of each cause in full."""

    def __init__(self) -> None:
        self.count: Counter[Cause] = Counter()
        self._kept: list[Finding] = []

    def add(self, at: int | None, cause: Cause, detail: str) -> None:
        """Note one more; beyond the first of its cause it is only counted."""
        self.count[cause] += 1
        if self.count[cause] <= KEPT:
            self._kept.append(Finding(at=at, cause=cause, detail=detail))

    def first_at(self, low: int, high: int) -> int | None:
        """Return the first record between these places that something is known to be wrong with."""
        return min(
            (each.at for each in self._kept if each.at is not None and low <= each.at < high), default=None
        )

    def listed(self) -> tuple[Finding, ...]:
        """Return what was kept, the lowest place first; at one place in the order it was found."""
        return tuple(sorted(self._kept, key=lambda each: (each.at is None, each.at or 0)))

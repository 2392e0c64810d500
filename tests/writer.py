"""One writer of a ledger in a process of its own, what it promised, and whether that is so.

The writer is the real `db.ledger.Ledger`, forked from a process that has imported everything, so that tests can
afford hundreds of them. It writes down every signature it makes, what it promised and what it denied, each before it
goes on: written is enough, for what a killed process has written stays. `findings` holds that against the database
(I1 to I6: promised records are there byte for byte, denied ones are not, one root per size was ever signed).
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

from api.anchoring import AnchorFile
from db.engine import StorageRefused, StorageUnavailable, open_pen, open_reader
from db.ledger import Ledger, LedgerUnavailable, RecordRefused
from db.notes import Checkpoint, sign
from db.records import Record
from db.sealing import LedgerForked, Seal
from tests import auditor, changing, wrongs
from tests.ledgers import NOON_US, SEAL, predicted
from tests.sealed import check, leaves_of, sql
from tests.vectors.slow import Slow

PATIENCE_S = 60.0
REFUSALS = (LedgerUnavailable, LedgerForked, RecordRefused, StorageRefused, StorageUnavailable, OSError)
_FORKED = multiprocessing.get_context("forkserver")


class Gone(Exception):
    """The writer died before it said what came of it."""


@dataclass
class Writer:
    """The test's side of a writer: tell it what to do, and hear what came of it."""

    pid: int
    pipe: Connection
    process: Any

    def tell(self, *words: object) -> None:
        """Say what to do and do not wait."""
        self.pipe.send(words)

    def heard(self, within_s: float = PATIENCE_S) -> str:
        """Wait for what came of it; raises Gone where the writer died."""
        assert self.pipe.poll(within_s), f"the writer said nothing for {within_s} s"
        try:
            return str(self.pipe.recv())
        except (EOFError, ConnectionResetError):
            raise Gone from None

    def ask(self, *words: object) -> str:
        """Say what to do and wait for what came of it."""
        self.tell(*words)
        return self.heard()

    def kill(self) -> None:
        """Kill it and wait until it is gone."""
        self.process.kill()
        self.process.join(PATIENCE_S)
        assert self.process.exitcode is not None, "a killed writer is not gone"


@contextmanager
def writer(url: str, journals: Path, *mutations: str, deadline_s: float = 5.0) -> Iterator[Writer]:
    """Start a writer; it opens the ledger when it is told to. Killed at the end if it still lives."""
    _FORKED.set_forkserver_preload(["__main__", "tests.writer", "tests.wrongs"])
    journals.mkdir(exist_ok=True)
    ours, theirs = _FORKED.Pipe()
    process = _FORKED.Process(target=_live, args=(url, journals, mutations, deadline_s, theirs), daemon=True)
    process.start()
    theirs.close()
    started = Writer(pid=process.pid or 0, pipe=ours, process=process)
    try:
        assert started.heard() == "here"
        yield started
    finally:
        started.kill()
        ours.close()


def _live(url: str, journals: Path, mutations: tuple[str, ...], deadline_s: float, pipe: Connection) -> None:
    """Be the writer."""
    for name in mutations:
        wrongs.MUTATIONS[name]()
    living = _Living(url, journals, deadline_s)
    pipe.send("here")
    while True:
        try:
            words = pipe.recv()
        except EOFError:
            return
        pipe.send(living.obey(*words))


class _Living:
    """The writer's own side."""

    def __init__(self, url: str, journals: Path, deadline_s: float) -> None:
        self.url, self.deadline_s = url, deadline_s
        self.anchor = AnchorFile(journals.parent / "anchor.log")
        self.journal = os.open(journals / f"{os.getpid()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.ledger: Ledger | None = None
        self.last: list[Record] = []

    def obey(self, do: str, *how: Any) -> str:
        """Do it and say what came of it: done, or the name of what was raised."""
        todo: dict[str, Callable[..., object]] = {
            "open": lambda: self.open().check(),
            "append": self.append,
            "again": lambda: self.promise(self.last),
            "erase": self.erase,
            "note": lambda: self.open().note(),
            "at": wrongs.at,
            "close": self.close,
        }
        try:
            todo[do](*how)
        except REFUSALS as raised:
            return f"{type(raised).__name__}: {raised}"
        return "done"

    def open(self) -> Ledger:
        if self.ledger is None:
            engine = open_pen(self.url, self.deadline_s)
            seal = _Noisy(origin=SEAL.origin, mac_key=SEAL.mac_key, signer=SEAL.signer)
            _Noisy.journal = self.journal
            self.ledger = Ledger(engine, seal, self.deadline_s, anchor=self.anchor.append)
        return self.ledger

    def close(self) -> None:
        self.open()._engine.dispose()

    def append(self, size: int, groups: int = 1) -> None:
        """Append groups; a promise is written down only when it was given, a denial when nothing was promised."""
        for _ in range(groups):
            self.last = records = [predicted() for _ in range(size)]
            write(self.journal, "asked", ids=[str(each.id) for each in records])
            try:
                self.promise(records)
            except LedgerUnavailable as refused:
                said = "unknown" if refused.outcome_unknown else "denied"
                write(self.journal, said, ids=[str(each.id) for each in records])
                raise

    def promise(self, records: list[Record]) -> None:
        appended = self.open().append(records)
        check(appended, records)
        self.told(records)

    def erase(self) -> None:
        """Erase the first of the records that were appended last, as the engine does."""
        asked = changing.erasing(record=str(self.last[0].id))
        reader = open_reader(self.url)
        try:
            changing.change(self.open(), reader, "erasure.add", asked, NOON_US + 1)
            self.open().scrub()
        finally:
            reader.dispose()

    def told(self, records: list[Record]) -> None:
        outputs = {str(each.id): base64.b64encode(each.output).decode() for each in records}
        write(self.journal, "told", outputs=outputs)


class _Noisy(Seal):
    """A seal that writes down what it signs before anyone can have it."""

    journal = -1

    def signature(self, size: int, root: bytes) -> bytes:
        write(self.journal, "signed", size=size, root=root.hex())
        return super().signature(size, root)

    def note(self, size: int, root: bytes) -> bytes:
        write(self.journal, "signed", size=size, root=root.hex())
        return sign(Checkpoint(origin=self.origin, size=size, root=root).text(), self.signer)


def write(journal: int, said: str, **more: object) -> None:
    """Write one line down, in one call."""
    os.write(journal, json.dumps({"said": said, **more}).encode() + b"\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What all writers of a ledger said."""

    told: dict[str, bytes]
    asked: list[list[str]]  # groups of ids
    denied: set[str]
    signed: dict[int, set[str]]  # roots by size


def read(journals: Path) -> Said:
    """Read what all writers wrote down; the last line of a killed one may be cut, and was not acted on."""
    said = Said(told={}, asked=[], denied=set(), signed=defaultdict(set))
    for line in (line for path in journals.glob("*.jsonl") for line in path.read_text().splitlines(True)):
        if not line.endswith("\n"):
            continue
        about = json.loads(line)
        if about["said"] == "told":
            said.told.update({name: base64.b64decode(output) for name, output in about["outputs"].items()})
        elif about["said"] == "asked":
            said.asked.append(about["ids"])
        elif about["said"] == "denied":
            said.denied.update(about["ids"])
        elif about["said"] == "signed":
            said.signed[about["size"]].add(about["root"])
    return said


def findings(url: str, journals: Path) -> list[str]:
    """Compare what all writers said with what is stored."""
    said = read(journals)
    stored = {
        str(raw if isinstance(raw, UUID) else UUID(bytes=raw)) for (raw,) in sql(url, "SELECT id FROM record")
    }
    found = [str(each) for each in auditor.audit(url, said.told)]
    found += [f"{each} was denied and is on record" for each in stored & said.denied - set(said.told)]
    found += [f"half of {ids} is on record" for ids in said.asked if 0 < len(stored & set(ids)) < len(ids)]
    return found + list(_forks(said, Slow(leaves_of(url))))


def _forks(said: Said, tree: Slow) -> Iterator[str]:
    """Find signatures of what is not stored (I6): each is a fork in somebody's hands."""
    for size, roots in said.signed.items():
        if size > len(tree.leaves):
            yield f"{size} records were signed, and {len(tree.leaves)} are stored"
        elif roots != {tree.mth(0, size).hex()}:
            yield f"another tree of {size} records was signed: {roots}"

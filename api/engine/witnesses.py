"""The engine as a client of witnesses: each has a task of its own, so that none waits for another, and nobody for them.

A witness that is down, slow or talks nonsense is reported and asked again; answers and checkpoints go on without it.
One that shows a checkpoint with our own signature that this database has not grown from is believed: then what is
stored was rolled back or rewritten, and nothing more is recorded.

Source: C2SP tlog-witness.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import structlog

from api.engine.committing import Committer
from api.settings import Settings
from api.witnesses import WitnessAt
from db import auditing_anchor
from db.engine import StorageUnavailable, open_reader
from db.ledger import Ledger, LedgerUnavailable
from db.notes import MAX_SIGNATURES, NoteRefused, VerifierKey, attach, open_checkpoint
from db.proofs import NotProvable, Proofs
from db.submissions import Submission, alone, stated
from db.tree import ProofRefused

DEADLINE_S = 5.0  # for one answer, however it trickles in
_DIGITS = 19
MOST_BYTES = 1 << 16  # of an answer: a handful of signature lines, or a checkpoint
log = structlog.get_logger()


class _Trouble(Exception):
    """A witness cannot be used right now; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    body: bytes


@dataclass(slots=True, kw_only=True)
class _Witness:
    """What is known of one witness since this process started."""

    key: VerifierKey
    url: str
    size: int = 0  # of the newest checkpoint it is known to have cosigned
    at_s: int | None = None  # when it says it did
    trouble: str | None = field(default="was not asked yet")

    def state(self) -> str:
        if self.trouble is None:
            return "ok"
        return self.trouble if self.at_s is None else f"{self.trouble}; it last cosigned {self.size} records"


class Witnesses:
    """Asks every configured witness for cosignatures for as long as the engine lives."""

    def __init__(self, settings: Settings, ledger: Ledger, committer: Committer) -> None:
        self._settings, self._ledger, self._committer = settings, ledger, committer
        self._all = [_of(each) for each in settings.witnesses]

    def state(self) -> dict[str, str]:
        """Say of each witness, by name, `ok` or what is wrong."""
        return {each.key.name: each.state() for each in self._all}

    async def run(self) -> None:
        """Ask all of them now and then; a fault in one round is not the end of the next."""
        if not self._all:
            return
        import httpx

        reader = open_reader(self._settings.database_url)
        # trust_env: a proxy that the environment names would see, and could answer for, every witness.
        client = httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S)
        try:
            asked = [_Asking(each, self._ledger.key, reader, client) for each in self._all]
            await asyncio.gather(*(self._ask_for_ever(each) for each in asked))
        finally:
            await client.aclose()
            reader.dispose()

    async def _ask_for_ever(self, asking: _Asking) -> None:
        while True:
            started = time.monotonic()
            await self._round(asking)
            await asyncio.sleep(max(0.0, started + self._settings.witness_every_s - time.monotonic()))

    async def _round(self, asking: _Asking) -> None:
        witness = asking.witness
        before = witness.trouble
        try:
            if (signed := await asking.cosigned()) is not None:
                size, line = signed
                await self._committer.with_pen(lambda ledger: ledger.cosigned(size, line, witness.key))
                witness.size = size
            witness.trouble = None
        except auditing_anchor.Contradicted as contradicted:
            witness.trouble = f"has a checkpoint of ours that {contradicted}"
            await self._committer.stop(f"witness {witness.key.name} {witness.trouble}")
        except (_Trouble, StorageUnavailable, LedgerUnavailable) as trouble:
            witness.trouble = str(trouble)
        except Exception as fault:
            witness.trouble = f"asking failed ({type(fault).__name__})"
            log.exception("witness-fault", witness=witness.key.name)
        if witness.trouble not in (None, before):
            log.warning("witness-trouble", witness=witness.key.name, reason=witness.trouble)
        elif witness.trouble is None and before is not None:
            log.info("witness-cosigns", witness=witness.key.name, size=witness.size)


class _Asking:
    """One witness, asked about the newest note."""

    def __init__(self, witness: _Witness, log_key: VerifierKey, reader: Any, client: Any) -> None:
        self.witness = witness
        self._key, self._reader, self._client = log_key, reader, client
        self._proofs = Proofs(reader)

    async def cosigned(self) -> tuple[int, bytes] | None:
        """Return the size and the witness's line under the newest note; None where it has that one already.

        Raises:
            Contradicted: the witness knows more of this ledger than there is, and proves it.
        """
        try:
            note = await asyncio.to_thread(self._proofs.checkpoint)
            note = alone(note, [self._key])
        except NotProvable:
            return None
        except NoteRefused as refused:
            raise _Trouble(f"was not asked: the newest note is not of this ledger ({refused})") from refused
        checkpoint = stated(note)
        if self.witness.at_s is not None and checkpoint.size == self.witness.size:
            return None
        old = self.witness.size
        for _ in range(2):  # it says itself where it is, so the second time is right
            answer = await self._submit(old, checkpoint.size, note)
            if answer.status != 409 or (told := _size(answer.body)) in (None, old) or told > checkpoint.size:
                break
            old = told
        if answer.status == 200:
            return checkpoint.size, self._line(note, answer.body)
        if answer.status in (409, 422) and await self._is_grown_from_theirs() and answer.status == 409:
            return None  # another engine of this ledger has asked it about a newer note
        raise _Trouble(_refusal(answer, self._key))

    def _line(self, note: bytes, lines: bytes) -> bytes:
        """Believe of an answer only the line that this witness's pinned key has made for this note."""
        for line in lines.split(b"\n")[:MAX_SIGNATURES]:
            try:
                opened = open_checkpoint(attach(note, [line + b"\n"]), self._key, [self.witness.key])
            except NoteRefused:
                continue
            for _, self.witness.at_s in opened.seen_at_s:
                return line + b"\n"
        raise _Trouble("answers without a true signature of its pinned key")

    async def _is_grown_from_theirs(self) -> bool:
        """Look at what the witness has, if it shows that: our own signature under it could be proof against us."""
        answer = await self._send("GET", f"/checkpoint?origin={quote(self._key.name)}")
        try:
            theirs = open_checkpoint(answer.body if answer.status == 200 else b"", self._key).checkpoint
        except NoteRefused:
            return False
        await asyncio.to_thread(auditing_anchor.check, self._reader, theirs)
        return True

    async def _submit(self, old: int, size: int, note: bytes) -> _Answer:
        try:
            hashes = await asyncio.to_thread(self._proofs.consistency, old, size) if old else []
        except (NotProvable, ProofRefused) as impossible:
            raise _Trouble(f"nothing leads from {old} to {size} records: {impossible}") from impossible
        body = Submission(old=old, hashes=tuple(hashes), note=note).encode()
        return await self._send("POST", "/add-checkpoint", body)

    async def _send(self, method: str, path: str, body: bytes | None = None) -> _Answer:
        import httpx

        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._client.stream(method, self.witness.url + path, content=body) as answer,
            ):
                received = bytearray()
                async for piece in answer.aiter_raw():
                    received += piece
                    if len(received) > MOST_BYTES:
                        raise _Trouble(f"answers more than {MOST_BYTES} bytes")
                return _Answer(status=answer.status_code, body=bytes(received))
        except TimeoutError:
            raise _Trouble(f"does not answer within {DEADLINE_S:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as failed:
            raise _Trouble(f"cannot be reached ({type(failed).__name__})") from failed


def _of(configured: WitnessAt) -> _Witness:
    return _Witness(key=VerifierKey.parse(configured.key), url=configured.url)


def _size(body: bytes) -> int | None:
    text = body.removesuffix(b"\n")
    return int(text) if text.isdigit() and len(text) <= _DIGITS and str(int(text)).encode() == text else None


def _refusal(answer: _Answer, key: VerifierKey) -> str:
    match answer.status:
        case 404:
            return f"does not know this ledger: its operator has to add the key {key}"
        case 403:
            return f"has another key for {key.name} than the one that signs here"
        case 409 if (size := _size(answer.body)) is not None:
            return f"says that it cosigned {size} records of this ledger, and shows no proof"
        case 422:
            return "says that this ledger has not grown from what it cosigned, and shows no proof"
    return f"answers with status {answer.status}"

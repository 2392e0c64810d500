"""The mutations themselves: M1 to M12 are those every ledger of this kind must survive being tested for; X are ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One replacement in one file."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A way to be wrong, and the tests that should notice."""

    name: str
    what: str
    edits: tuple[Edit, ...]
    killers: tuple[str, ...]


def _mutant(name: str, what: str, file: str, *replaced: tuple[str, str], by: str) -> Mutant:
    edits = tuple(Edit(file=file, old=old, new=new) for old, new in replaced)
    return Mutant(
        name=name, what=what, edits=edits, killers=tuple(f"tests/test_{each}.py" for each in by.split())
    )


_COMMIT = """                sent = True
                connection.commit()
"""
_MADE = "made = receipts.of_growth(self._seal, growth, group.leaves, group.salts)\n"
_UNSETTLED = """            if sent:
                raise _Unsettled(reason(error)) from error
            raise LedgerUnavailable(reason(error)) from error
"""
_SETTLE = """                done |= self._settle(missing)
                if len(done) < len(wanted):
"""
_LOOK = "erasure.check(connection, targets, sources.hold_key, change.now_us),\n"
_NOTHING_FIRST = """                cursor.execute("BEGIN IMMEDIATE")
                (version,) = cursor.execute("PRAGMA user_version").fetchone()
                cursor.execute(f"PRAGMA user_version = {version}")  # writes its page whatever the number is
                cursor.execute("COMMIT")
"""

MUTANTS = (
    _mutant(
        "M1", "answers leave before the commit", "api/engine/committing.py",
        ("            answers = _append(self._ledger, group) if group else []",
         "            self._loop.call_soon_threadsafe(self._desk.answer, [each.answer for each in group])\n"
         "            answers = _append(self._ledger, group) if group else []"),
        by="engine",
    ),
    _mutant(
        "M2", "the head is signed before the commit", "db/ledger.py",
        (_COMMIT, f"                {_MADE}{_COMMIT}"),
        by="sealing moments",
    ),
    _mutant(
        "M3", "the mac of the head is not checked", "db/sealing.py",
        ("if not hmac.compare_digest(head.mac, self.mac(frontier, head.epoch)):", "if False:"),
        by="forks",
    ),
    _mutant(
        "M4", "a head that went backwards is believed", "db/sealing.py",
        ("if seen is not None and frontier.size < seen.size:", "if False:"),
        by="forks",
    ),
    _mutant(
        "M5", "a leaf is written without its time", "db/records.py",
        ("        record.observed_at_us,\n        record.digest or _NOTHING,", "        0,\n        record.digest or _NOTHING,"),
        by="leaves",
    ),
    _mutant(
        "M5b", "verify compares the leaf without its status", "db/auditing_quick.py",
        ("_CLEAR.pack(LEAF_VERSION, kind, status,", "_CLEAR.pack(LEAF_VERSION, kind, _CLEAR.unpack_from(leaf)[2],"),
        by="ledger",
    ),
    _mutant(
        "M6", "verify believes the leaf, whatever the payload is", "db/auditing_quick.py",
        ("leaf[_RUNTIME.stop :] == commitments(secret, row[11:15])", "True"),
        by="ledger",
    ),
    _mutant(
        "M6b", "verify believes the root of the head", "db/auditing_head.py",
        ('"root": frontier.root(),', '"root": head.root,'),
        by="heads",
    ),
    _mutant(
        "M7", "verify believes notes of any key", "db/auditing_claims.py",
        ("return self._epochs.open(note, source)", 'return Checkpoint.parse(note.partition(b"\\n\\n")[0] + b"\\n")'),
        by="ledger",
    ),
    _mutant(
        "M8", "verify ignores records beyond the head", "db/audit.py",
        ("        for idx in beyond:\n", "        for idx in beyond[:0]:\n"),
        by="ledger",
    ),
    _mutant(
        "M9", "an unknown commit is taken for one that failed", "db/ledger.py",
        (_SETTLE, _SETTLE.partition("\n")[2]),
        by="durability lines",
    ),
    _mutant(
        "M10", "an unknown commit is taken for one that was done", "db/ledger.py",
        (_UNSETTLED, "            if not sent:\n                raise LedgerUnavailable(reason(error)) from error\n"),
        by="durability lines",
    ),
    _mutant(
        "M11", "leaves and nodes are hashed alike", "db/tree.py",
        (r'_LEAF, _NODE = b"\x00", b"\x01"', '_LEAF, _NODE = b"", b""'),
        by="tree",
    ),
    _mutant(
        "M12", "an erasure deletes before it is on record", "api/engine/erasing.py",
        (_LOOK, "(erasure._forget_payloads(connection, targets), connection.commit(), connection.begin()),\n"),
        by="erasure_crashes",
    ),
    _mutant(
        "X1", "what this process believes durable is ahead of the commit", "db/ledger.py",
        (_COMMIT, f"                self._seen = growth.after\n{_COMMIT}"),
        by="durability",
    ),
    _mutant(
        "X2", "what was found after a failed commit is not made durable", "db/ledger.py",
        ("        harden(self._engine)\n", ""),
        by="durability",
    ),
    _mutant(
        "X3", "a commit that failed can come back from the log", "db/sqlite.py",
        (_NOTHING_FIRST, ""),
        by="syscalls",
    ),
    _mutant(
        "X4", "SQLite does not sync its commits", "db/sqlite.py",
        ('("synchronous", "FULL", 2)', '("synchronous", "NORMAL", 1)'),
        by="opening",
    ),
    _mutant(
        "X5", "the head moves whoever moved it meanwhile", "db/heads.py",
        ("    return moved if done.rowcount == 1 else None", "    return moved"),
        by="storage",
    ),
    _mutant(
        "X6", "the head is read without its lock", "db/heads.py",
        ("_LOCKED = Prepared(_HEAD.with_for_update())", "_LOCKED = Prepared(_HEAD)"),
        by="moments writers",
    ),
    _mutant(
        "X7", "what goes to disk is not hashed again", "db/ledger.py",
        ("if growth.before.append(leaf_hashes(bound)).after != growth.after:", "if False:"),
        by="forks",
    ),
    _mutant(
        "X8", "two processes may write one file", "db/sqlite.py",
        ("        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)", "        pass"),
        by="storage",
    ),
    _mutant(
        "X9", "a wait for the standby that was cancelled is a commit", "db/postgresql.py",
        ("if self._warning is not None:", "if False:"),
        by="durability",
    ),
    _mutant(
        "X10", "a silent server is waited for without end", "db/postgresql.py",
        ("self.deadline_s if timeout is None else timeout", "timeout"),
        by="lines",
    ),
    _mutant(
        "X11", "a hung holder of the head is never thrown out", "db/postgresql.py",
        ('        "idle_in_transaction_session_timeout": (limit, limit),  # and the hung holder itself is thrown out\n', ""),
        by="moments",
    ),
    _mutant(
        "X12", "a broken connection is used again", "db/ledger.py",
        ("            except SQLAlchemyError:\n                connection.invalidate()\n", "            except SQLAlchemyError:\n"),
        by="lines syscalls durability",
    ),
    _mutant(
        "X13", "the anchor is not synced", "api/anchoring.py",
        ("            os.fsync(descriptor)\n", ""),
        by="syscalls verify",
    ),
    _mutant(
        "X14", "a start does not look at its anchor", "api/engine/opening.py",
        ("        anchor.check(writer, seal.signer.key(), seal.epoch)\n", ""),
        by="verify",
    ),
    _mutant(
        "X15", "a head that others moved is not asked whether it grew", "db/ledger.py",
        ("            tiles.check_growth(connection, self._seen, frontier)\n", "            pass\n"),
        by="forks",
    ),
    _mutant(
        "X16", "a commit that is looked for is looked for without end", "db/ledger.py",
        ("if time.monotonic() >= deadline:", "if time.monotonic() >= deadline + 60:"),
        by="lines durability",
    ),
    _mutant(
        "X17", "a head is believed because another one was", "db/ledger.py",
        ("if self._seen is not None and head == self._left:", "if self._seen is not None and self._left:"),
        by="ledger forks",
    ),
    _mutant(
        "X18", "a file that broke off ends like a whole one", "api/operations.py",
        ("        finally:\n            leaving.cancel()\n    await send(",
         "        except Exception:\n            pass\n        finally:\n            leaving.cancel()\n    await send("),
        by="broken_off",
    ),
    _mutant(
        "X19", "a secret goes to another issuer as it was typed", "api/pages/granting.py",
        ("= quote_plus(client_id), quote_plus(secret)", "= client_id, secret"),
        by="foreign_issuer",
    ),
    _mutant(
        "X20", "who guesses a secret of another issuer is not stopped", "api/pages/granting.py",
        ("            failures.refuse(address)\n", "            pass\n"),
        by="foreign_issuer",
    ),
)  # fmt: skip

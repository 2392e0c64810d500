"""The oracle: callers in a process that is never killed, who write down what they were answered before they go on.

Run as `python -m tests.oracle`, it is that process: one thread, one connection and one journal per caller. Every 201
is fsynced with the exact bytes of its body before its caller asks again, so whatever a crash takes from the
service, it does not take it from here. `Oracle` is the test's side of it. Nothing of ours is imported: what the
service promised is told by those who were promised it.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent
CALLERS = 10
PATIENCE_S = 30  # far beyond the service's own deadline: a call that takes as long is a finding
TURNED_AWAY_S = (
    0.1  # a pause after a 503 or a refused connection: callers shall not take the cores from a start
)
REFUSED, BROKEN, SILENT = "refused", "broken", "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One line of a journal. Times are of the machine's monotonic clock, the same in every process."""

    caller: int
    reference: str  # what all references of the call's rows begin with; no other call ever uses it
    rows: int
    at: float
    ended: float
    said: str  # the status, or what the connection did instead
    problem: str = ""
    detail: str = ""
    retry_after: str = ""
    record: str = ""
    body: str = ""  # base64

    @property
    def answered(self) -> bool:
        """Say whether a prediction was given, which is what P1 is about."""
        return self.said == "201"

    @property
    def references(self) -> set[str]:
        """Name the references of its rows."""
        return {f"{self.reference}.{row}" for row in range(self.rows)}

    @property
    def exact(self) -> bytes:
        """Give back the body, byte for byte."""
        return base64.b64decode(self.body)


class Caller(threading.Thread):
    """Asks one thing after the other over a connection it keeps, for as long as it may."""

    def __init__(self, number: int, office: Office) -> None:
        super().__init__(daemon=True)
        self.number, self.office = number, office
        self.calling = threading.Lock()
        self.connection = http.client.HTTPConnection(office.host, office.port, timeout=PATIENCE_S)
        self.journal = (office.folder / f"{number}.jsonl").open("ab", buffering=0)

    def run(self) -> None:
        for count in range(sys.maxsize):
            self.office.open.wait()
            with self.calling:
                if self.office.open.is_set():
                    self._note(self._call(f"{self.office.prefix}-{self.number}-{count}"))

    def _call(self, reference: str) -> Call:
        rows = random.choice((1, 1, 1, 2, 5))
        instances = [{"age": random.randrange(100), "reference": f"{reference}.{row}"} for row in range(rows)]
        at = time.monotonic()
        said = self._ask(json.dumps({"instances": instances}))
        return Call(caller=self.number, reference=reference, rows=rows, at=at, ended=time.monotonic(), **said)

    def _ask(self, body: str) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.office.token}", "Content-Type": "application/json"}
        try:
            self.connection.request("POST", "/v1/models/housing/predictions", body, headers)
            answer = self.connection.getresponse()
            content = answer.read()
        except ConnectionRefusedError:
            return {"said": REFUSED}
        except TimeoutError:
            self.connection.close()
            return {"said": SILENT}
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            return {"said": BROKEN, "detail": repr(error)}
        if answer.status == 201:
            record = json.loads(content)["record"]
            return {"said": "201", "record": record, "body": base64.b64encode(content).decode()}
        problem = json.loads(content)
        slug = str(problem["type"]).rpartition("/")[2]
        retry_after = answer.headers.get("Retry-After", "")
        detail = str(problem["detail"])
        return {"said": str(answer.status), "problem": slug, "detail": detail, "retry_after": retry_after}

    def _note(self, call: Call) -> None:
        line = {name: getattr(call, name) for name in Call.__slots__}
        self.journal.write(json.dumps(line).encode() + b"\n")
        if call.answered:
            os.fsync(self.journal.fileno())
        else:
            time.sleep(TURNED_AWAY_S)


class Office:
    """What the callers share: whether they may call, the token, and where their journals lie."""

    def __init__(self, folder: Path, url: str, client: Path) -> None:
        self.folder, self.client = folder, client
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port
        self.prefix = folder.name
        self.token = ""
        self.open = threading.Event()
        self.callers = [Caller(number, self) for number in range(CALLERS)]

    def serve(self) -> None:
        """Do what is said on stdin, line by line, and say when it is done; ends with the test that started it."""
        for caller in self.callers:
            caller.start()
        for line in sys.stdin:
            if line.strip() == "open":
                self.token = self._sign_in()
                self.open.set()
            else:
                self.open.clear()
                for caller in self.callers:
                    with caller.calling:  # whoever was calling has written down what came of it
                        pass
            sys.stdout.write("done\n")
            sys.stdout.flush()

    def _sign_in(self) -> str:
        kept = json.loads(self.client.read_text())
        pair = base64.b64encode(f"{kept['client_id']}:{kept['client_secret']}".encode()).decode()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Basic {pair}", "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/oauth/token", "grant_type=client_credentials", headers)
        token: str = json.loads(connection.getresponse().read())["access_token"]
        connection.close()
        return token


@dataclass(kw_only=True)
class Oracle:
    """The test's side: lets the callers call or not, and reads what they wrote down."""

    folder: Path
    process: subprocess.Popen[bytes]
    calls: list[Call] = field(default_factory=list)
    _read: dict[Path, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """Let them call for the length of a block; afterwards every call has ended and is written down."""
        self._tell("open")
        try:
            yield
        finally:
            self._tell("closed")
            self.look()

    def look(self) -> list[Call]:
        """Read what was written since the last look."""
        new: list[Call] = []
        for path in self.folder.glob("*.jsonl"):
            with path.open("rb") as journal:
                journal.seek(self._read.get(path, 0))
                text = journal.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            new += [Call(**json.loads(line)) for line in whole.splitlines()]
        self.calls += new
        return new

    def wait_until_served(self, since: float, within_s: float) -> float:
        """Wait until every caller got a 201 for a call begun after `since`; say how long after it that was."""
        first: dict[int, float] = {}
        seen = 0
        while len(first) < CALLERS:
            if time.monotonic() - since > within_s:
                raise AssertionError(f"{CALLERS - len(first)} callers had no answer for {within_s} s")
            self.look()
            for call in self.calls[seen:]:
                if call.answered and call.at > since:
                    first.setdefault(call.caller, call.ended)
            seen = len(self.calls)
            time.sleep(0.02)
        return max(first.values()) - since

    @property
    def prefix(self) -> str:
        """Say what every reference of this oracle begins with."""
        return self.folder.name

    @property
    def seen(self) -> dict[str, bytes]:
        """Map the record ids of all 201s to the exact bytes that came."""
        return {call.record: call.exact for call in self.calls if call.answered}

    def count(self, said: str) -> int:
        """Count the calls that ended one way."""
        return sum(call.said == said for call in self.calls)

    def _tell(self, word: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        assert said == b"done\n", f"the oracle said {said!r} to {word}"


@contextlib.contextmanager
def asking(url: str, var: Path) -> Iterator[Oracle]:
    """Start the callers of one campaign against a service; they wait until they may call."""
    folder = var / "oracle" / uuid.uuid4().hex[:8]
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "tests.oracle", str(folder), url, str(var / "clients" / "demo.json")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Oracle(folder=folder, process=process)
        finally:
            process.kill()


if __name__ == "__main__":
    Office(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])).serve()

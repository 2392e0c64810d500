"""
Recorded predictions as Parquet: typed by the contract, one file for each model and day, never half a file.

It knows neither database nor contract: it is told the columns, and given rows. Where a recorded value is not of the
type its column has today (the contract was another one then), the cell is empty and counted.
"""

import datetime
import math
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

INTEGER, NUMBER, TEXT, BOOLEAN, TIME, WARNINGS = "integer", "number", "text", "boolean", "time", "warnings"
PARTIAL = ".partial"
_OPEN = 16  # files that are written to at once; a ledger whose clock jumps needs more than one a model
_TYPES = {
    INTEGER: pa.int64(),
    NUMBER: pa.float64(),
    TEXT: pa.string(),
    BOOLEAN: pa.bool_(),
    TIME: pa.timestamp("us", tz="UTC"),
    WARNINGS: pa.list_(pa.struct([("feature", pa.string()), ("detail", pa.string())])),
}
_INT64 = 2**63


class FolderTaken(Exception):
    """There is something where the export would go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name, and which kind of values it holds."""

    name: str
    kind: str


Row = Mapping[str, Any]


class Table:
    """The columns of one kind of file, in order."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        self.schema = pa.schema([(each.name, _TYPES[each.kind]) for each in columns])
        self.misfits = 0

    def of(self, rows: Sequence[Row]) -> pa.Table:
        """Turn rows into columns; what a row does not name is empty."""
        return pa.table([self._array(each, rows) for each in self._columns], schema=self.schema)

    def _array(self, column: Column, rows: Sequence[Row]) -> pa.Array:
        values = [row.get(column.name) for row in rows]
        if column.kind in _FIT:
            fit = _FIT[column.kind]
            given = len(values) - values.count(None)
            values = [None if value is None else fit(value) for value in values]
            self.misfits += given - (len(values) - values.count(None))
        return pa.array(values, _TYPES[column.kind])


class Export:
    """A folder of `model=…/day=…/part-….parquet`, made beside its place and moved there when it is whole.

    Memory is bounded by what `add` is given at a time. Use it as a context: on any exception nothing is left.
    """

    def __init__(self, folder: Path, tables: Mapping[str, Table]) -> None:
        self._folder, self._tables = folder, tables
        self._partial = folder.with_name(folder.name + PARTIAL)
        self._writers: OrderedDict[tuple[str, str], pq.ParquetWriter] = OrderedDict()
        self.rows = self.files = 0

    def __enter__(self) -> "Export":
        """Begin anew, whatever an earlier attempt left.

        Raises:
            FolderTaken: there is something in the folder.
        """
        if self._folder.exists() and any(self._folder.iterdir()):
            raise FolderTaken(str(self._folder))
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(mode=0o700, parents=True)
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        """Close every file and move the whole into its place; after a failure, remove it."""
        while self._writers:
            self._writers.popitem()[1].close()
        if failed is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
            return
        if self._folder.exists():
            self._folder.rmdir()
        self._partial.rename(self._folder)

    def add(self, model: str, rows: Sequence[tuple[int, Row]]) -> None:
        """Write rows of a model, each with its time in microseconds, to the files of their days."""
        days: dict[str, list[Row]] = {}
        for at_us, row in rows:
            days.setdefault(_day(at_us), []).append(row)
        for day, its in days.items():
            self._writer(model, day).write_table(self._tables[model].of(its))
            self.rows += len(its)

    def _writer(self, model: str, day: str) -> pq.ParquetWriter:
        if (model, day) not in self._writers:
            if len(self._writers) == _OPEN:
                self._writers.popitem(last=False)[1].close()
            place = self._partial / f"model={model}" / f"day={day}"
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = place / f"part-{self.files:06}.parquet"
            self._writers[model, day] = pq.ParquetWriter(part, self._tables[model].schema, compression="zstd")
            self.files += 1
        self._writers.move_to_end((model, day))
        return self._writers[model, day]


class _Drained:
    """A file that gives away what was written to it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, content: Any) -> int:
        self._parts.append(bytes(content))
        return len(self._parts[-1])

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def stream(table: Table, batches: Iterator[Sequence[Row]]) -> Iterator[bytes]:
    """Write one file piece by piece, a row group for each batch."""
    drained = _Drained()
    with pq.ParquetWriter(pa.PythonFile(drained, mode="w"), table.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(table.of(batch))
            yield drained.taken()
    yield drained.taken()


def _day(at_us: int) -> str:
    return datetime.datetime.fromtimestamp(at_us // 1_000_000, datetime.UTC).strftime("%Y-%m-%d")


def _integer(value: Any) -> int | None:
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def _number(value: Any) -> float | None:
    """Read a number, or the decimal text that some contracts take for one."""
    if type(value) not in (int, float, str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str | None:
    return value if type(value) is str else None


def _boolean(value: Any) -> bool | None:
    return value if type(value) is bool else None


_FIT = {INTEGER: _integer, NUMBER: _number, TEXT: _text, BOOLEAN: _boolean}

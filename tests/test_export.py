"""What was predicted and what happened, as Parquet: each cell is what the caller was told, and others can read it."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api import contract, exports
from api.app import CONTRACT
from db import exporting
from db.engine import open_reader
from models.parquet import Column, Export, FolderTaken, Table
from tests.conftest import DATABASES
from tests.ledgers import NOON_US, fresh, happened, predicted, writing
from tests.service import ROOT, Caller, Service
from tests.test_erasing import erase, named

MODELS = contract.read(CONTRACT, 10).models
FIRST = {name: dict(model.examples[0]["instances"][0]) for name, model in MODELS.items()}
README = (ROOT / "README.md").read_text()


def exported(service: Service, folder: Path, *options: str) -> list[dict[str, Any]]:
    """Export and read all rows back, as a program without our code does."""
    service.command("export", str(folder), *options)
    return [
        row for path in sorted(folder.rglob("*.parquet")) for row in pq.ParquetFile(path).read().to_pylist()
    ]


def test_every_cell_is_what_the_caller_was_told(service: Service, demo: Caller, tmp_path: Path) -> None:
    """Of each model, features, outputs, warnings, reference and time come out as they went in and out."""
    told = {}
    for model, instance in FIRST.items():
        answer = demo.predict(model, {**instance, "reference": named()}, {**instance})
        told[answer.json()["record"]] = (model, instance, answer.json()["predictions"])

    rows = [row for row in exported(service, tmp_path / "out") if row["record"] in told]

    assert sorted((row["record"], row["position"]) for row in rows) == sorted(
        (r, p) for r in told for p in (0, 1)
    )
    for row in rows:
        model, instance, answers = told[row["record"]]
        answer = answers[row["position"]]
        assert row["client"] == demo.client_id
        assert row["reference"] == answer.get("reference")
        assert row["warnings"] == answer["warnings"]
        for name in MODELS[model].features:
            sent, kept = instance.get(name), row[f"feature_{name}"]
            assert kept == (float(sent) if isinstance(sent, str) and isinstance(kept, float) else sent)
        flat = {**answer, **{f"probability_{k}": v for k, v in answer.get("probabilities", {}).items()}}
        outputs = {name.removeprefix("output_"): row[name] for name in row if name.startswith("output_")}
        assert outputs
        assert outputs == {name: flat[name] for name in outputs}


def test_it_is_chosen_by_model_and_time_and_holds_nothing_erased(
    service: Service, demo: Caller, admin: Caller, tmp_path: Path
) -> None:
    """--model, --from and --to choose; of a request that was erased there is no cell."""
    kept, gone = (demo.predict("housing", {"age": age}).json()["record"] for age in (50, 51))
    other = demo.predict("two-features", FIRST["two-features"]).json()["record"]
    assert erase(admin, {"record": gone}).status_code == 201

    rows = exported(service, tmp_path / "one", "--model", "housing")
    records = {row["record"] for row in rows}
    (mine,) = (row for row in rows if row["record"] == kept)
    at = mine["at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    later = {row["record"] for row in exported(service, tmp_path / "two", "--from", at)}
    before = {row["record"] for row in exported(service, tmp_path / "three", "--to", at)}

    assert records & {kept, gone, other} == {kept}
    assert {path.parent.parent.name for path in (tmp_path / "one").rglob("*.parquet")} == {"model=housing"}
    assert {path.parent.name for path in (tmp_path / "one").rglob("*.parquet")} == {f"day={at[:10]}"}
    assert later & {kept, other} == {kept, other}
    assert not before & {kept, other}


@pytest.mark.parametrize("kind", DATABASES)
def test_what_happened_stands_beside_what_was_predicted(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The newest outcome of each instance is in its row, with when it was seen."""
    url = fresh(kind, request, tmp_path)
    record = predicted((None, ">50K", 0.75), (None, "<=50K", 0.25))
    with writing(url) as ledger:
        (place,) = ledger.append([record]).places
        ledger.append([happened(record, place, "<=50K")])
        ledger.append([happened(record, place, ">50K", seen_us=NOON_US + 5)])
    reader = open_reader(url)
    spans = list(exporting.walk(reader, exporting.size(reader), ["income"], None, None))
    reader.dispose()

    rows = [row for span in spans for each in span.records for row in exports.rows(each)]

    assert [(row.get("outcome"), row.get("outcome_at")) for row in rows] == [
        (">50K", NOON_US + 5),
        (None, None),
    ]
    assert exports.columns(MODELS["income"])["outcome"] == "text"
    assert exports.columns(MODELS["housing"])["outcome"] == "number"


def test_a_folder_is_whole_or_is_not_there(tmp_path: Path) -> None:
    """Whatever stops an export, there is no half of one; what an earlier attempt left is begun anew."""
    place, table = tmp_path / "out", Table([Column(name="record", kind="text")])
    (tmp_path / "out.partial" / "model=m").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), Export(place, {"m": table}) as out:
        out.add("m", [(NOON_US, {"record": "a"})])
        raise KeyboardInterrupt

    assert list(tmp_path.iterdir()) == []

    with Export(place, {"m": table}) as out:
        for day in range(40):  # more than there are open files
            out.add("m", [(NOON_US + day * 86_400_000_000, {"record": str(day)})] * 2)
        out.add("m", [(NOON_US, {"record": "late"})])

    assert (out.rows, out.files, len(list(place.rglob("*.parquet")))) == (81, 41, 41)
    assert pq.read_table(place).num_rows == 81
    with pytest.raises(FolderTaken), Export(place, {"m": table}):
        pass
    assert pq.read_table(place).num_rows == 81


def test_a_value_of_another_contract_is_an_empty_cell_that_is_counted() -> None:
    """What today's type cannot hold is not bent into it."""
    table = Table([Column(name=kind, kind=kind) for kind in ("integer", "number", "text", "boolean")])
    whole = {"integer": 2**63 - 1, "number": "-0.75", "text": "a", "boolean": True}
    wrong = {"integer": 1.5, "number": "a", "text": 1, "boolean": 1}

    made = table.of([whole, wrong, {}])

    assert made.to_pylist() == [{**whole, "number": -0.75}, dict.fromkeys(wrong), dict.fromkeys(wrong)]
    assert table.misfits == 4


def test_a_search_streams_parquet(service: Service, demo: Caller) -> None:
    """The columns of CSV, typed, in one file that any reader takes; nothing found is a file without a row."""
    name = named()
    answer = demo.predict("housing", {"age": 50, "reference": name}, {"age": 60, "reference": name})
    asked = {"Accept": "application/vnd.apache.parquet"}

    found = demo.http.get("/v1/predictions", params={"reference": name}, headers=asked)
    nothing = demo.http.get("/v1/predictions", params={"reference": named()}, headers=asked)

    assert found.headers["content-type"] == asked["Accept"]
    rows = pq.read_table(pa.BufferReader(found.content)).to_pylist()
    told = demo.http.get("/v1/predictions", params={"reference": name}).json()["predictions"]
    assert [{k: v for k, v in row.items() if v is not None and k != "at"} for row in rows] == [
        {k: v for k, v in each.items() if k != "at"} for each in told
    ]
    assert [row["at"] for row in rows] == [datetime.datetime.fromisoformat(each["at"]) for each in told]
    assert {row["record"] for row in rows} == {answer.json()["record"]}
    assert pq.read_table(pa.BufferReader(nothing.content)).num_rows == 0


def test_the_lines_of_the_readme_read_it(service: Service, demo: Caller, tmp_path: Path) -> None:
    """What the README shows for pandas and DuckDB runs as it stands there."""
    demo.predict("housing", {"age": 50})
    section = README.split("\n## Export\n")[1].split("\n### ")[0]
    (line,) = re.findall(r"^python -m api (export .*)$", section, re.MULTILINE)
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-m", "api", *line.split()],
        cwd=tmp_path,
        env={**os.environ, **service.environment, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout
        for block in blocks
    ]

    assert json.loads(done.stdout.split()[0].replace(",", "")) >= 1
    assert len(printed) == 2
    assert "24.901049" in printed[0]
    assert "housing" in printed[1]

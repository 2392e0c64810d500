"""Whoever can write the store cannot change what is loaded: only what was registered runs, from bytes read once."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from db.versions import Registered
from models import artefact, files, registry
from tests.artefacts import MODEL, SHIPPED, Shelf, TouchesAFile, line
from tests.service import ROOT


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Make a store of our own, with housing version 1 in it."""
    return Shelf(tmp_path / "store")


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Name a file that only a pickle's code would make."""
    return tmp_path / "canary"


def refusal(shelf: Shelf, found: Registered, **terms: Any) -> str:
    """Say why a version is not loaded."""
    with pytest.raises(registry.ModelRefused) as refused:
        shelf.load(found, **terms)
    return refused.value.reason


def test_the_manifest_is_part_of_what_was_registered(shelf: Shelf) -> None:
    """Another manifest, as true as the first one, is refused with both digests: its golden answers are not those."""
    found = shelf.registered()
    before = shelf.manifest()
    looser = replace(before.golden, tolerance=1e9)
    shelf.put("1", (shelf.folder() / "model.pkl").read_bytes(), golden=looser)

    reason = refusal(shelf, found)
    assert f"registered is {found.manifest}" in reason
    assert "manifest.json has the digest" in reason
    assert "restore the registered file" in reason


def test_the_bytes_that_were_hashed_are_the_bytes_that_run(
    shelf: Shelf, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that takes the pickle's place after its digest was compared is not looked at."""
    found = shelf.registered()
    hostile = shelf.store / "hostile"
    hostile.write_bytes(pickle.dumps(TouchesAFile(canary), protocol=5))
    honest = artefact.load

    def swapped_first(blob: bytes, allowed: Any) -> Any:
        hostile.rename(shelf.folder() / "model.pkl")
        return honest(blob, allowed)

    monkeypatch.setattr(artefact, "load", swapped_first)
    loaded = shelf.load(found)

    assert loaded.manifest.digest == found.digest
    assert not canary.exists()
    assert "model.pkl has" in refusal(shelf, found)


def test_a_folder_that_is_swapped_while_it_is_read_is_not_followed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Manifest and pickle come from one folder, also where another one takes its name between the two."""
    found = shelf.registered()
    shelf.put_estimator("2", line(), [(0.0, 30.0)])
    honest = registry._insist_on_libraries

    def swapped_first(libraries: Any) -> None:
        shelf.folder("1").rename(shelf.folder("old"))
        shelf.folder("2").rename(shelf.folder("1"))
        honest(libraries)

    monkeypatch.setattr(registry, "_insist_on_libraries", swapped_first)

    assert shelf.load(found).manifest.digest == found.digest


def test_a_second_name_of_the_file_is_no_way_in(shelf: Shelf) -> None:
    """What is written through a hard link elsewhere is another content, and refused as such."""
    found = shelf.registered()
    link = shelf.store.parent / "link"
    link.hardlink_to(shelf.folder() / "model.pkl")
    assert shelf.load(found).manifest.digest == found.digest

    link.write_bytes(link.read_bytes()[:-1] + b"!")
    assert f"registered is {found.digest}" in refusal(shelf, found)


@pytest.mark.parametrize("step", ["store", "model", "version"])
def test_no_folder_on_the_way_may_be_written_by_everyone(shelf: Shelf, step: str) -> None:
    """Where everyone can put files, everyone can put models: refused with the cure, also with the sticky bit."""
    found = shelf.registered()
    folder = {"store": shelf.store, "model": shelf.store / MODEL, "version": shelf.folder()}[step]
    folder.chmod(0o1777)

    reason = refusal(shelf, found)
    assert f"the folder {folder.name!r} is writable by everyone (mode 1777)" in reason
    assert "chmod o-w" in reason


@pytest.mark.parametrize("step", ["model", "version"])
def test_no_folder_below_the_store_is_a_link(shelf: Shelf, step: str) -> None:
    """The store itself may be reached through a link, its owner's choice; what is in it may not."""
    found = shelf.registered()
    elsewhere = shelf.store.rename(shelf.store.parent / "elsewhere")
    shelf.store.symlink_to(elsewhere)
    assert shelf.load(found).manifest.digest == found.digest

    folder = {"model": elsewhere / MODEL, "version": elsewhere / MODEL / "1"}[step]
    folder.symlink_to(folder.rename(elsewhere / "moved"))
    assert "links are not followed" in refusal(shelf, found)


def test_a_device_without_an_end_is_not_read(tmp_path: Path) -> None:
    """/dev/zero, or what points to it, is refused before a byte is read."""
    (tmp_path / "model.pkl").symlink_to("/dev/zero")

    for path, reason in ((tmp_path / "model.pkl", "not followed"), (Path("/dev/zero"), "not a regular file")):
        with pytest.raises(files.FileRefused, match=reason):
            files.read_once(path, at_most=1000)


def test_the_operators_cap_is_kept(shelf: Shelf) -> None:
    """A version beyond ONRECORD_LARGEST_ARTEFACT_BYTES is refused by its announcement; ten gigabytes are not read."""
    found = shelf.registered()
    assert "ONRECORD_LARGEST_ARTEFACT_BYTES" in refusal(shelf, found, largest_bytes=431)
    assert shelf.load(found, largest_bytes=432)

    os.truncate(shelf.folder() / "model.pkl", 10_000_000_000)
    assert "has 10000000000 bytes, at most 432" in refusal(shelf, found)


@pytest.mark.parametrize(
    ("module", "name"),
    [("pickle", "loads"), ("_pickle", "loads"), ("joblib.numpy_pickle", "NumpyArrayWrapper"),
     ("numpy", "load"), ("builtins", "eval"), ("pkgutil", "resolve_name"), ("codecs", "decode")],
)  # fmt: skip
def test_no_pickle_within_a_pickle(shelf: Shelf, canary: Path, module: str, name: str) -> None:
    """What could read a second pickle, or run text, is outside the ceiling, whatever the manifest allows."""
    inner = pickle.dumps(TouchesAFile(canary), protocol=5)
    call = b"\x80\x05" + f"c{module}\n{name}\n".encode() + b"C" + bytes([len(inner)]) + inner + b"\x85R."
    found = shelf.put("2", call, globals=((module, name),))

    assert f"names {module}.{name}, neither an estimator" in refusal(shelf, found)
    assert not canary.exists()


def test_whoever_warms_up_answers_without_pyarrow() -> None:
    """Pandas takes 33 MB of it along where it finds it; every shipped version gives its golden answers without."""
    code = (
        "import sys; from pathlib import Path; from models import registry, warming; warming.warm();"
        "s = Path('models/store');"
        "all_ = [registry.load(s, *v, None, registry.Terms(twin=False)) for v in registry.listing(s)];"
        "print(len(all_), 'pandas' in sys.modules, [each for each in sys.modules if each.startswith('pyarrow')])"
    )
    said = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)

    assert said == f"{len(registry.listing(SHIPPED))} True []\n"

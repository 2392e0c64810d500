"""What comes out of models/store is what was registered, answers as in training, and refuses by name otherwise."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import artefact, files, manifest, registry
from models.model import Model

ROOT = Path(__file__).parent.parent
STORE = ROOT / "models" / "store"
MODELS = ("credit", "housing", "income", "iris", "two-features")
DIGESTS = {name: json.loads((STORE / name / "1" / "manifest.json").read_text())["digest"] for name in MODELS}


@pytest.fixture(scope="module")
def shipped() -> dict[str, Model]:
    return {name: registry.load(STORE, name, "1", DIGESTS[name]) for name in MODELS}


class Copy:
    """A store of our own with housing version 1 in it, to be tampered with."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.folder = store / "housing" / "1"
        self.pickle = self.folder / "model.pkl"
        shutil.copytree(STORE / "housing" / "1", self.folder)

    def claim(self, **members: Any) -> None:
        path = self.folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | members))

    def put(self, blob: bytes, **members: Any) -> None:
        self.pickle.write_bytes(blob)
        self.claim(digest=hashlib.sha256(blob).hexdigest(), size_bytes=len(blob), **members)

    def refusal(self, digest: str | None = None) -> str:
        with pytest.raises(registry.ModelRefused) as refused:
            registry.load(self.store, "housing", "1", digest)
        assert (refused.value.model, refused.value.version) == ("housing", "1")
        return refused.value.reason


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "store")


class TouchesAFile:
    """What an attacker would put into a pickle: loading it runs a call."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.open, (str(self.canary), os.O_CREAT)


def test_the_shipped_versions_are_listed() -> None:
    """The store holds version 1 of the five examples, each of which loads under the digest it claims."""
    assert [(name, "1") for name in MODELS] == registry.listing(STORE)


def test_a_draft_is_not_listed(copy: Copy) -> None:
    """A folder left behind by a crash, or one without a manifest, is no version."""
    shutil.copytree(copy.folder, copy.store / "housing" / ".new-x1")
    (copy.store / "housing" / "2").mkdir()

    assert registry.listing(copy.store) == [("housing", "1")]


def test_a_pickle_names_only_classes_of_libraries(shipped: dict[str, Model]) -> None:
    """No artefact breaks when one of our files moves: its pickle names nothing of ours."""
    rooms = {module.split(".")[0] for model in shipped.values() for module, _ in model.manifest.globals}

    assert rooms <= {"builtins", "numpy", "scipy", "sklearn"}


def test_the_registry_is_light_to_import() -> None:
    """Importing the registry brings neither scikit-learn nor pandas: a door may ask it what the store holds."""
    code = "import sys, models.registry; print({'sklearn', 'pandas', 'scipy'} & set(sys.modules))"

    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "set()\n"


def test_a_changed_byte_is_refused(copy: Copy) -> None:
    """One flipped bit of the pickle is found by the registered digest, and by the manifest's where none is given."""
    blob = bytearray(copy.pickle.read_bytes())
    blob[200] ^= 1
    copy.pickle.write_bytes(blob)

    assert f"registered is {DIGESTS['housing']}" in copy.refusal(DIGESTS["housing"])
    assert f"its manifest says {DIGESTS['housing']}" in copy.refusal()


def test_a_consistent_swap_is_refused(copy: Copy) -> None:
    """Another pickle with a manifest that fits it is not what was registered."""
    copy.put(copy.pickle.read_bytes() + b"x")

    assert "registered is" in copy.refusal(DIGESTS["housing"])


def test_a_file_of_another_length_is_refused(copy: Copy) -> None:
    """A truncated pickle has another digest; a longer one, however long, is not even read."""
    whole = copy.pickle.read_bytes()
    copy.pickle.write_bytes(whole[:-1])
    assert "has the digest" in copy.refusal()

    os.truncate(copy.pickle, 10_000_000_000)
    assert "10000000000 bytes, at most 432" in copy.refusal()


def test_an_oversized_claim_is_refused(copy: Copy) -> None:
    """A manifest cannot make the service read more than its own cap."""
    copy.claim(size_bytes=10_000_000_000)

    assert f"at most {registry.LARGEST_BYTES}" in copy.refusal()


@pytest.mark.parametrize("name", ["model.pkl", "manifest.json"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "cannot be opened"),
        (lambda path: path.symlink_to(path.rename(path.with_suffix(".real"))), "links are not followed"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
        (lambda path: path.chmod(0o666), "writable by everyone (mode 0666)"),
    ],
    ids=["missing", "symlink", "fifo", "world-writable"],
)
def test_only_a_plain_file_is_read(copy: Copy, name: str, spoil: Callable[[Path], None], reason: str) -> None:
    """A missing file, a link, a pipe (without waiting for its writer) and a file anyone may write are refused."""
    spoil(copy.folder / name)

    refusal = copy.refusal()
    assert name in refusal
    assert reason in refusal
    if name == "manifest.json":
        with pytest.raises(manifest.BadManifest):
            manifest.read(copy.folder / name)


@pytest.mark.parametrize(
    ("library", "version", "fits"),
    [
        ("scikit-learn", "1.9.0", False),
        ("numpy", "2.3.6", False),
        ("numpy", "2.4.0", True),
        ("scipy", "1.16.1", False),
        ("python", "2.7.18", False),
        ("python", "3.13.0", True),
        ("torch", "2.0", False),
    ],
)
def test_libraries_are_compared(copy: Copy, library: str, version: str, fits: bool) -> None:
    """scikit-learn must agree wholly, numpy and scipy in their minor version, Python in its major one."""
    libraries = json.loads((copy.folder / "manifest.json").read_text())["libraries"]
    copy.claim(libraries=libraries | {library: version})

    if fits:
        registry.load(copy.store, "housing", "1", DIGESTS["housing"])
    else:
        assert library in copy.refusal()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"libraries": {"python": "3.11.7"}}, "numpy, scikit-learn, scipy"),
        ({"model": "iris"}, "is of model 'iris' version '1'"),
        ({"estimator": "sklearn.svm.SVR"}, "announces a sklearn.svm.SVR"),
        ({"surplus": 1}, "surplus"),
        ({"digest": "abc"}, "digest"),
        ({"golden": {"instances": [{"age": "old"}], "outputs": [{"price": 1.0}], "tolerance": 1e-9}}, "cannot answer"),
        ({"golden": {"instances": [{"age": 50}], "outputs": [], "tolerance": 0.0}}, "1 golden instances, 0 outputs"),
        ({"golden": {"instances": [{"age": 50}], "outputs": [{"price": 24.9}], "tolerance": 0.0}}, "golden instance 0"),
        ({"golden": {"instances": [{"age": 50}], "outputs": [{"cost": 24.9}], "tolerance": 9.0}}, "golden instance 0"),
    ],
)  # fmt: skip
def test_a_manifest_that_does_not_fit_is_refused(copy: Copy, members: dict[str, Any], reason: str) -> None:
    """Whatever the manifest claims wrongly about its pickle is found before the version answers anyone."""
    copy.claim(**members)

    assert reason in copy.refusal()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model": NaN}', "[" * 100_000, "\xff"])
def test_a_manifest_that_is_none_is_refused(copy: Copy, text: str) -> None:
    """Anything that is not a JSON object with a manifest's members is refused, whatever it is."""
    (copy.folder / "manifest.json").write_text(text, encoding="latin-1")

    assert "manifest.json" in copy.refusal()


@pytest.mark.parametrize(
    ("model", "version"), [("../housing", "1"), ("housing", ".."), ("", "1"), ("housing", "1/")]
)
def test_a_name_is_no_path(copy: Copy, model: str, version: str) -> None:
    """Names that could lead out of the store are refused before any file is touched."""
    with pytest.raises(registry.ModelRefused, match="lower-case letters"):
        registry.load(copy.store, model, version, None)


def test_a_hostile_pickle_does_not_run(copy: Copy, tmp_path: Path) -> None:
    """A pickle that calls a function is refused before the call, even where its manifest allows the function."""
    canary = tmp_path / "canary"
    copy.put(pickle.dumps(TouchesAFile(canary), protocol=5))
    assert "which its manifest does not" in copy.refusal()

    copy.claim(globals=[[os.open.__module__, "open"]])
    assert "neither an estimator of scikit-learn nor a part of one" in copy.refusal()
    assert not canary.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("sklearn.datasets", "fetch_openml"),
        ("sklearn.utils.fixes", "np"),
        ("sklearn.base", "BaseEstimator.mro"),
    ],
)
def test_only_estimators_of_scikit_learn_are_named(copy: Copy, module: str, name: str) -> None:
    """Functions of scikit-learn, what its modules have imported and members of classes are no estimators."""
    copy.put(b"\x80\x05" + f"c{module}\n{name}\n.".encode(), globals=[[module, name]])

    assert "neither an estimator" in copy.refusal()


@pytest.mark.parametrize("protocol", range(5))
def test_older_protocols_are_refused(copy: Copy, shipped: dict[str, Model], protocol: int) -> None:
    """Only protocol 5 is written, so only protocol 5 is read."""
    copy.put(pickle.dumps(shipped["housing"].estimator, protocol=protocol))

    assert "protocol 5" in copy.refusal()


def test_a_pickle_of_another_scikit_learn_is_refused(copy: Copy) -> None:
    """The version inside the pickle is believed, not only the manifest's."""
    copy.put(copy.pickle.read_bytes().replace(b"1.9.1", b"1.8.9"))

    assert "written by scikit-learn 1.8.9, this is 1.9.1" in copy.refusal()


def test_a_broken_pickle_is_refused(copy: Copy) -> None:
    """Bytes that are no whole pickle are refused with their error's name, not with a traceback."""
    copy.put(copy.pickle.read_bytes()[:-20])

    assert "does not load (" in copy.refusal()


def test_labels_are_compared(tmp_path: Path) -> None:
    """A manifest that has the labels in another order than the estimator would turn answers around; it is refused."""
    shutil.copytree(STORE / "credit" / "1", tmp_path / "credit" / "1")
    path = tmp_path / "credit" / "1" / "manifest.json"
    path.write_text(path.read_text().replace('"bad",\n   "good"', '"good",\n   "bad"'))

    with pytest.raises(registry.ModelRefused, match="classes_ in their order"):
        registry.load(tmp_path, "credit", "1", None)


def test_what_could_not_be_loaded_is_not_written() -> None:
    """Training refuses an estimator whose pickle names a class of our own."""
    with pytest.raises(artefact.PickleRefused, match="neither an estimator"):
        artefact.dump(TouchesAFile(Path("/nowhere/canary")))


def test_a_version_is_never_overwritten(copy: Copy) -> None:
    """Writing a folder that exists changes nothing and leaves nothing behind."""
    before = copy.pickle.read_bytes()

    with pytest.raises(FileExistsError, match="never overwritten"):
        files.write_folder(copy.folder, {"model.pkl": b"other"})

    assert before == copy.pickle.read_bytes()
    assert [copy.folder] == list(copy.folder.parent.iterdir())

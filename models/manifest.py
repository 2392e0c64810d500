"""
What an artefact claims about itself: the `manifest.json` beside every `model.pkl`.

Pure: reading a manifest imports no estimator library and runs nothing. Whether the claims hold is for
models/registry.py to find out; a field of the API is described in openapi/, here stands only what training saw of it.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from marshmallow import ValidationError, fields, validate

from models.figures import Actuals, ActualsShape, Calibration, CalibrationShape, Curve, CurveShape
from models.files import FileRefused, read_once
from models.shapes import Shape, Tuple

# The largest of ours has 32 kB; a manifest beyond this is not one.
LARGEST_BYTES = 4_000_000

_RFC_3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z"

Kind = Literal["number", "integer", "category", "boolean"]
Way = Literal["linear", "trees", "onnx"]


class BadManifest(Exception):
    """The file is not a manifest; the message names what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """
    How often values fell where, in training: the reference that drift is measured against.

    Numbers: bin i holds edges[i] <= value < edges[i + 1], the last bin its upper edge too; `edges` is one longer
    than `counts`. Categories and labels: no edges, `counts` follow the categories in their order.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureProfile:
    """One feature as the training rows showed it. The contract may allow more: that earns a warning."""

    name: str
    kind: Kind
    low: float | None
    high: float | None
    categories: tuple[str, ...] | None
    histogram: Histogram
    missing: float  # share of the training rows
    nullable: bool
    text: bool  # a number may also come as decimal text
    # What explanations stand on (models/explaining.py); None before there were any, and where none are exact.
    baseline: float | None = None  # mean over the training rows of what it adds to an additive model's score
    importance: float | None = None  # mean absolute contribution over the held-out rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is answered. `histogram` counts the answers to the held-out rows: values, scores or labels."""

    name: str
    unit: str | None
    labels: tuple[str, ...] | None  # in the order of the estimator's classes_
    positive: str | None
    histogram: Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """Where the rows came from; `sha256` is of the table as the recipe saw it, so that any source can be compared."""

    name: str
    source: str
    rows: int
    train_rows: int
    test_rows: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Questions with the answers the freshly trained model gave; a loaded one must give them again."""

    instances: tuple[Mapping[str, object], ...]
    outputs: tuple[Mapping[str, object], ...]
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """
    What came of looking for a faster way to the same answers (models/twin.py), and how it was proved.

    `way` is None where the pickle answers alone, and `why` says why. Only "onnx" has a file: `digest` and `size_bytes`
    are of `model.onnx`; the other ways are made from what the pickle holds. Differences are those of scores, by
    the larger of 1 and the score.
    """

    way: Way | None
    why: str
    digest: str | None
    size_bytes: int
    libraries: Mapping[str, str]  # besides the pickle's own
    cases: Mapping[str, int]  # how many rows of which origin agreed
    largest_difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All claims of one version. `globals` are the only names its pickle may import; metrics are of held-out rows."""

    model: str
    version: str
    title: str
    kind: Literal["classifier", "regressor"]
    digest: str
    size_bytes: int
    libraries: Mapping[str, str]
    estimator: str
    globals: tuple[tuple[str, str], ...]
    input: Literal["array", "frame"]
    features: tuple[FeatureProfile, ...]
    target: Target
    metrics: Mapping[str, float]  # by the name of the function in sklearn.metrics
    data: TrainingData
    trained_at: str
    golden: Golden
    tolerance: float  # how far a twin's score may be from the pickle's
    calibration: Calibration | None = None  # None: a regressor, or trained before it was measured
    curve: Curve | None = None  # None: not two labels, or trained before it was drawn
    actuals: Actuals | None = None  # None: a classifier, too few rows, or trained before they were kept
    twin: Twin | None = None  # None: trained before there were twins, or never compiled


class _Histogram(Shape):
    made = Histogram
    edges = Tuple(fields.Float(), required=True)
    counts = Tuple(fields.Integer(strict=True), required=True)


class _FeatureProfile(Shape):
    made = FeatureProfile
    name = fields.String(required=True)
    kind = fields.String(required=True, validate=validate.OneOf(["number", "integer", "category", "boolean"]))
    low = fields.Float(required=True, allow_none=True)
    high = fields.Float(required=True, allow_none=True)
    categories = Tuple(fields.String(), required=True, allow_none=True)
    histogram = fields.Nested(_Histogram, required=True)
    missing = fields.Float(required=True)
    nullable = fields.Boolean(required=True)
    text = fields.Boolean(required=True)
    baseline = fields.Float(allow_none=True)
    importance = fields.Float(allow_none=True)


class _Target(Shape):
    made = Target
    name = fields.String(required=True)
    unit = fields.String(required=True, allow_none=True)
    labels = Tuple(fields.String(), required=True, allow_none=True)
    positive = fields.String(required=True, allow_none=True)
    histogram = fields.Nested(_Histogram, required=True)


class _TrainingData(Shape):
    made = TrainingData
    name = fields.String(required=True)
    source = fields.String(required=True)
    rows = fields.Integer(required=True, strict=True)
    train_rows = fields.Integer(required=True, strict=True)
    test_rows = fields.Integer(required=True, strict=True)
    sha256 = fields.String(required=True)


class _Golden(Shape):
    made = Golden
    instances = Tuple(fields.Dict(keys=fields.String()), required=True, validate=validate.Length(min=1))
    outputs = Tuple(fields.Dict(keys=fields.String()), required=True)
    tolerance = fields.Float(required=True)


class _Twin(Shape):
    made = Twin
    way = fields.String(required=True, allow_none=True, validate=validate.OneOf(["linear", "trees", "onnx"]))
    why = fields.String(required=True)
    digest = fields.String(required=True, allow_none=True, validate=validate.Regexp(r"[0-9a-f]{64}\Z"))
    size_bytes = fields.Integer(required=True, strict=True)
    libraries = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    cases = fields.Dict(keys=fields.String(), values=fields.Integer(strict=True), required=True)
    largest_difference = fields.Float(required=True)


class _Manifest(Shape):
    made = Manifest
    model = fields.String(required=True)
    version = fields.String(required=True)
    title = fields.String(required=True)
    kind = fields.String(required=True, validate=validate.OneOf(["classifier", "regressor"]))
    digest = fields.String(required=True, validate=validate.Regexp(r"[0-9a-f]{64}\Z"))
    size_bytes = fields.Integer(required=True, strict=True)
    libraries = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    estimator = fields.String(required=True)
    globals = Tuple(fields.Tuple((fields.String(), fields.String())), required=True)
    input = fields.String(required=True, validate=validate.OneOf(["array", "frame"]))
    features = Tuple(fields.Nested(_FeatureProfile), required=True, validate=validate.Length(min=1))
    target = fields.Nested(_Target, required=True)
    metrics = fields.Dict(keys=fields.String(), values=fields.Float(), required=True)
    data = fields.Nested(_TrainingData, required=True)
    trained_at = fields.String(required=True, validate=validate.Regexp(_RFC_3339))
    golden = fields.Nested(_Golden, required=True)
    tolerance = fields.Float(required=True)
    calibration = fields.Nested(CalibrationShape, load_default=None, allow_none=True)
    curve = fields.Nested(CurveShape, load_default=None, allow_none=True)
    actuals = fields.Nested(ActualsShape, load_default=None, allow_none=True)
    twin = fields.Nested(_Twin, load_default=None, allow_none=True)


def read(path: Path, digest: str | None = None) -> Manifest:
    """
    Read one `manifest.json`, every member checked; with a digest, only that very file.

    Raises:
        BadManifest: it is not a plain file, not the one of the digest, not JSON, or not what a manifest must be.
    """
    try:
        content = read_once(path, at_most=LARGEST_BYTES)
    except FileRefused as error:
        raise BadManifest(str(error)) from error
    insist_on_digest(content, digest)
    return parse(content)


def insist_on_digest(content: bytes, digest: str | None) -> None:
    """Raise BadManifest where these bytes are not those that were registered; None, before that, believes them."""
    came = hashlib.sha256(content).hexdigest()
    if digest is not None and not hmac.compare_digest(came, digest):
        raise BadManifest(
            f"manifest.json has the digest {came}, registered is {digest}; restore the registered file"
        )


def parse(content: bytes) -> Manifest:
    """Turn the bytes of a `manifest.json` into what they claim; BadManifest: they are not one, and says why."""
    try:
        manifest: Manifest = _Manifest().load(json.loads(content))
    except ValidationError as error:
        raise BadManifest(f"manifest.json does not describe a model: {error.messages}") from error
    except (ValueError, RecursionError) as error:
        raise BadManifest("manifest.json is not JSON") from error
    return manifest


def encode(manifest: Manifest) -> bytes:
    """Turn a manifest into the exact bytes of its file."""
    return (
        json.dumps(_Manifest().dump(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()

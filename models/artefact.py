"""
Pickles: loading one runs code, so these bytes are judged before, while and after they become an estimator.

The restricted unpickler is the second line. The first is that the bytes are exactly those whose digest was
registered; no unpickler makes a hostile pickle safe. What it does is make drift and mistakes loud.

Source: security.md section 4; Python's own warning, "only unpickle data you trust".
"""

import io
import pickle
import warnings
from collections.abc import Collection, Mapping
from typing import Any

# The ceiling: a pickle may name the estimators of scikit-learn, and of everything else only these. They are what
# arrays, sparse matrices, random states and the inner parts of estimators are rebuilt with; nothing here opens,
# imports or runs what it is given. With them 118 of the 134 estimators of 1.9.1 that can be fitted plainly will load.
_PARTS: Mapping[str, frozenset[str]] = {
    "builtins": frozenset({"frozenset", "set", "slice"}),
    "collections": frozenset({"OrderedDict", "defaultdict"}),
    "numpy": frozenset({"bool", "dtype", "float32", "float64", "int32", "int64", "ndarray"}),
    "numpy._core.multiarray": frozenset({"_reconstruct", "scalar"}),
    "numpy._core.numeric": frozenset({"_frombuffer"}),
    "numpy.random._mt19937": frozenset({"MT19937"}),
    "numpy.random._pcg64": frozenset({"PCG64"}),
    "numpy.random._pickle": frozenset({"__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"}),
    "numpy.random.bit_generator": frozenset({"SeedSequence", "__pyx_unpickle_SeedSequence"}),
    "scipy.sparse._csr": frozenset({"csr_matrix"}),
    "sklearn._loss._loss": frozenset({"CyHalfBinomialLoss", "CyHalfMultinomialLoss", "CyHalfSquaredError"}),
    "sklearn._loss.link": frozenset({"IdentityLink", "Interval", "LogitLink", "MultinomialLogit"}),
    "sklearn._loss.loss": frozenset({"HalfBinomialLoss", "HalfMultinomialLoss", "HalfSquaredError"}),
    "sklearn.calibration": frozenset({"_CalibratedClassifier"}),
    "sklearn.ensemble._hist_gradient_boosting.predictor": frozenset({"TreePredictor"}),
    "sklearn.linear_model._sgd_fast": frozenset({"Hinge"}),
    "sklearn.metrics._dist_metrics": frozenset({"EuclideanDistance64", "newObj"}),
    "sklearn.neighbors._kd_tree": frozenset({"KDTree", "newObj"}),
    "sklearn.neural_network._stochastic_optimizers": frozenset({"AdamOptimizer"}),
    "sklearn.tree._tree": frozenset({"Tree"}),
    "sklearn.utils._bunch": frozenset({"Bunch"}),
}


class PickleRefused(Exception):
    """The bytes are not a pickle this service would load, or not one it can; the message says why."""


def load(blob: bytes, allowed: Collection[tuple[str, str]]) -> Any:
    """
    Rebuild an estimator from bytes already known to be the registered ones.

    Process-wide warning filters are changed meanwhile: load in one thread only.

    Raises:
        PickleRefused: the pickle is of another protocol, names a global outside `allowed` or outside the
            ceiling of this file, was written by another scikit-learn, or does not load.
    """
    from sklearn.exceptions import InconsistentVersionWarning

    _insist_on_protocol_5(blob)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            return _Restricted(blob, allowed).load()
    except PickleRefused:
        raise
    except InconsistentVersionWarning as error:
        raise PickleRefused(
            f"its {error.estimator_name} was written by scikit-learn {error.original_sklearn_version}, "
            f"this is {error.current_sklearn_version}; retrain it"
        ) from error
    except Exception as error:
        raise PickleRefused(f"it does not load ({type(error).__name__}); retrain it") from error


def dump(estimator: object) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """
    Write an estimator with the globals its pickle names, for the manifest.

    Raises:
        PickleRefused: it names a global no server would load, such as a function or class of one's own.
    """
    blob = pickle.dumps(estimator, protocol=5)
    recorder = _Recorder(io.BytesIO(blob))
    recorder.load()
    return blob, tuple(sorted(recorder.named))


def _insist_on_protocol_5(blob: bytes) -> None:
    if blob[:2] != b"\x80\x05":
        raise PickleRefused("it is not a pickle of protocol 5; write it with `python -m models.train`")


class _Restricted(pickle.Unpickler):
    def __init__(self, blob: bytes, allowed: Collection[tuple[str, str]]) -> None:
        super().__init__(io.BytesIO(blob))
        self._allowed = frozenset(allowed)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise PickleRefused(f"it names {module}.{name}, which its manifest does not; restore the pair")
        _insist_on_the_ceiling(module, name)
        return super().find_class(module, name)


class _Recorder(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.named: set[tuple[str, str]] = set()

    def find_class(self, module: str, name: str) -> Any:
        _insist_on_the_ceiling(module, name)
        self.named.add((module, name))
        return super().find_class(module, name)


def _insist_on_the_ceiling(module: str, name: str) -> None:
    if name not in _PARTS.get(module, ()) and not _is_estimator(module, name):
        raise PickleRefused(
            f"it names {module}.{name}, neither an estimator of scikit-learn nor a part of one"
        )


def _is_estimator(module: str, name: str) -> bool:
    """Importing the module is harmless: only scikit-learn's own are, and only after the digest was compared."""
    if module.split(".", maxsplit=1)[0] != "sklearn":
        return False
    from importlib import import_module

    from sklearn.base import BaseEstimator

    named = getattr(import_module(module), name, None)
    return isinstance(named, type) and issubclass(named, BaseEstimator)

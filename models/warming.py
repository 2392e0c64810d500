"""What the artefacts need, imported before anybody asks."""

import sys
from importlib import import_module
from types import ModuleType
from typing import cast


def warm() -> None:
    """Import the libraries the artefacts need, so that a parent pays for them once before it forks."""
    import_pandas()
    for library in ("linear_model", "ensemble", "naive_bayes", "compose", "preprocessing", "pipeline"):
        import_module(f"sklearn.{library}")


def import_pandas() -> None:
    """Import pandas without pyarrow, alike in every process that answers.

    It takes pyarrow along where that is installed: 33 MB, for texts in a form that no estimator here asks for.
    """
    hidden = sys.modules.setdefault("pyarrow", cast(ModuleType, None)) is None
    import_module("pandas")
    if hidden:
        del sys.modules["pyarrow"]  # scikit-learn looks there, to tell the type of every table

"""Save the pickle as MLflow wants it; `mlflow models serve` then serves it."""

import sys

import income
import mlflow.sklearn

mlflow.sklearn.save_model(
    income.load(), sys.argv[1], pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle"
)

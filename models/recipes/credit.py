"""Whether a loan applicant will default, from a thousand loans of a German bank around 1975."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from models.recipe import DataSet, Recipe, table

NUMBERS = [
    "duration",
    "amount",
    "installment_rate",
    "present_residence",
    "age",
    "number_credits",
    "people_liable",
]

# OpenML's name of every column, and of every category that it writes otherwise; ours are those of german_credit.csv.
# Its purposes are decoded one off from the original codebook (its 280 "domestic appliances" are 280 "radio/tv" in
# OpenML and UCI). The shipped model and its contract speak as the file does, so the difference is translated.
OPENML: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "status": ("checking_status", {
        "<0": "... < 100 DM", "0<=X<200": "0 <= ... < 200 DM", "no checking": "no checking account",
        ">=200": "... >= 200 DM / salary for at least 1 year",
    }),
    "duration": ("duration", {}),
    "credit_history": ("credit_history", {
        "no credits/all paid": "no credits taken/all credits paid back duly",
        "all paid": "all credits at this bank paid back duly",
        "existing paid": "existing credits paid back duly till now",
        "delayed previously": "delay in paying off in the past",
        "critical/other existing credit": "critical account/other credits existing",
    }),
    "purpose": ("purpose", {
        "new car": "car (new)", "used car": "car (used)", "other": "furniture/equipment",
        "furniture/equipment": "radio/television", "radio/tv": "domestic appliances", "domestic appliance": "repairs",
        "repairs": "education", "education": "retraining", "retraining": "business", "business": "others",
    }),
    "amount": ("credit_amount", {}),
    "savings": ("savings_status", {
        "<100": "... < 100 DM", "100<=X<500": "100 <= ... < 500 DM", "500<=X<1000": "500 <= ... < 1000 DM",
        ">=1000": "... >= 1000 DM", "no known savings": "unknown/no savings account",
    }),
    "employment_duration": ("employment", {
        "<1": "... < 1 year", "1<=X<4": "1 <= ... < 4 years", "4<=X<7": "4 <= ... < 7 years",
        ">=7": "... >= 7 years",
    }),
    "installment_rate": ("installment_commitment", {}),
    "personal_status_sex": ("personal_status", {
        "male div/sep": "male : divorced/separated", "female div/dep/mar": "female : divorced/separated/married",
        "male single": "male : single", "male mar/wid": "male : married/widowed",
    }),
    "other_debtors": ("other_parties", {"co applicant": "co-applicant"}),
    "present_residence": ("residence_since", {}),
    "property": ("property_magnitude", {
        "life insurance": "building society savings agreement/life insurance", "car": "car or other",
        "no known property": "unknown/no property",
    }),
    "age": ("age", {}),
    "other_installment_plans": ("other_payment_plans", {}),
    "housing": ("housing", {}),
    "number_credits": ("existing_credits", {}),
    "job": ("job", {
        "unemp/unskilled non res": "unemployed/unskilled - non-resident", "unskilled resident": "unskilled - resident",
        "skilled": "skilled employee/official",
        "high qualif/self emp/mgmt": "management/self-employed/highly qualified employee/officer",
    }),
    "people_liable": ("num_dependents", {}),
    "telephone": ("own_telephone", {"none": "no"}),
    "foreign_worker": ("foreign_worker", {}),
}  # fmt: skip


def data(folder: Path | None) -> DataSet:
    """One thousand loans, 300 of which went bad; `credit_risk` becomes the text it stands for."""
    frame, source = table(folder, "german_credit.csv", openml=31)
    frame = (
        _as_in_the_file(frame) if folder is None else frame.replace({"credit_risk": {0: "bad", 1: "good"}})
    )
    kinds = {name: int if name in NUMBERS else object for name in frame.columns}
    return DataSet(name="German credit", source=source, frame=frame.astype(kinds))


def _as_in_the_file(frame: pd.DataFrame) -> pd.DataFrame:
    columns = {
        name: frame[theirs].astype(object).replace(categories)
        for name, (theirs, categories) in OPENML.items()
    }
    return pd.DataFrame({**columns, "credit_risk": frame["class"]})


def pipeline() -> Pipeline:
    """Few rows for sixty columns: C = 0.1 holds the coefficients back, best of 0.03 to 1 in cross-validation."""
    categories = [place for place, name in enumerate(OPENML) if name not in NUMBERS]
    numbers = [place for place, name in enumerate(OPENML) if name in NUMBERS]
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
        ],
        sparse_threshold=1.0,
    )
    return Pipeline([("columns", columns), ("classifier", LogisticRegression(C=0.1, max_iter=1000))])


RECIPE = Recipe(
    model="credit",
    title="Default of a loan applicant",
    data=data,
    pipeline=pipeline,
    positive="bad",
)

"""The price of Boston homes from the age of the buildings: the smallest model there is, with published answers."""

from pathlib import Path

from sklearn.linear_model import LinearRegression

from models.recipe import DataSet, Recipe, table


def data(folder: Path | None) -> DataSet:
    """506 districts; OpenML shouts the column names."""
    frame, source = table(folder, "boston_housing.csv", openml=531)
    frame = frame.rename(columns=str.lower).astype({"age": float, "medv": float})
    return DataSet(
        name="Boston housing", source=source, frame=frame[["age", "medv"]].rename(columns={"medv": "price"})
    )


RECIPE = Recipe(
    model="housing",
    title="Median price of Boston homes by their age",
    data=data,
    pipeline=LinearRegression,
    unit="1,000 $",
)

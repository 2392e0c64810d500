"""
Answers with their reasons, for one loaded version: what live requests and their replays have in common.

Imported when somebody asks for reasons, not before: what stands behind it takes longer to load than a model.
"""

from collections.abc import Mapping, Sequence

from models.explaining import Explainer, Explanation, explainer_of
from models.features import LISTED_CULPRITS, BadFeatures, Culprit, Rows
from models.model import Model, Prediction
from models.origins import NotExplained


class Reasons:
    """What a loaded version says of its answers where reasons were asked for; whether it can is looked at once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._explainer: Explainer | None = None
        self._refusal: Culprit | None = None
        try:
            self._explainer = explainer_of(model.manifest, model.estimator)
        except NotExplained as why:
            self._refusal = Culprit("/explain", f"is not offered by this version: {why}")

    def check(self, instances: Sequence[Mapping[str, object]]) -> Rows:
        """
        Turn instances into rows as the model does, for answers that are to be explained.

        Raises:
            BadFeatures: naming `explain`, too, where this version's answers cannot be explained.
        """
        refused = () if self._refusal is None else (self._refusal,)
        try:
            rows = self._model.check(instances)
        except BadFeatures as bad:
            culprits = (*refused, *bad.culprits)[:LISTED_CULPRITS]
            raise BadFeatures(culprits, bad.total + len(refused)) from bad
        if refused:
            raise BadFeatures(refused, 1)
        return rows

    def tell(
        self, instances: Sequence[Mapping[str, object]], rows: Rows, predictions: Sequence[Prediction]
    ) -> list[dict[str, object]]:
        """
        Name the parts of every row's explanation as the API does, each value as it was sent.

        Raises:
            PredictionFailed: an explanation does not add up to the answer.
        """
        assert self._explainer is not None, "check() comes first"
        names = [feature.name for feature in self._model.manifest.features]
        found = self._explainer.explain(rows, predictions)
        return [_told(each, names, instance) for each, instance in zip(found, instances, strict=True)]


def _told(
    explanation: Explanation, names: Sequence[str], instance: Mapping[str, object]
) -> dict[str, object]:
    """In the order of the features, not of size: it is the same for every row, and in a replay."""
    return {
        "base": explanation.base,
        "scale": explanation.scale,
        "contributions": [
            {"feature": name, "value": instance.get(name), "contribution": contribution}
            for name, contribution in zip(names, explanation.contributions, strict=True)
        ],
    }

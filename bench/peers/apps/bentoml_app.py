"""BentoML with adaptive batching on."""

from typing import Any

import bentoml
import income


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1024})
class Income:
    """The pickle behind one batchable endpoint."""

    def __init__(self) -> None:
        self.model = income.load()

    @bentoml.api(batchable=True, max_batch_size=16384, max_latency_ms=1000)
    def predict(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answer a batch."""
        return income.answers(self.model, instances)

"""LitServe with batching on."""

import sys

import income
import litserve


class Income(litserve.LitAPI):
    """Its four verbs, and how requests become one batch and answers again."""

    def setup(self, device):  # noqa: ARG002  # its own signature
        """Load the model."""
        self.model = income.load()

    def decode_request(self, request):
        """Take the rows of a request."""
        return request["instances"]

    def batch(self, inputs):
        """Put requests together as they are."""
        return inputs

    def predict(self, x):
        """Call the model once."""
        found = iter(income.answers(self.model, [row for rows in x for row in rows]))
        return [[next(found) for _ in rows] for rows in x]

    def unbatch(self, output):
        """Give each request its part."""
        return output

    def encode_response(self, output):
        """Answer."""
        return {"predictions": output}


if __name__ == "__main__":
    api = Income(max_batch_size=64, batch_timeout=0.005)
    litserve.LitServer(api, accelerator="cpu", timeout=60).run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False
    )

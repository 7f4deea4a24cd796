"""The network as a service of BentoML: `bentoml serve serve_bentoml:Digits`, then POST to /infer. `BENCH_WORKERS` says how many
processes."""

import os
from typing import Any

import bentoml
import numpy_network


@bentoml.service(
    workers=int(os.environ["BENCH_WORKERS"]),
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    monitoring={"enabled": False},
)
class Digits:
    # Not a thread for each request: it would take longer than the answer.
    @bentoml.api(route="/infer")
    async def infer(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        data = numpy_network.predict(inputs[0]["data"]).tolist()
        return {"outputs": [{"name": "digit", "shape": [1, 10], "datatype": "FP32", "data": data}]}

"""The 784-128-10 network as a service of ours, a question for it, and the client that puts it under load."""

import json
import math
import random
from contextlib import contextmanager
from pathlib import Path

from harness import environment, process, server
from harness.errors import BenchError

MODEL = "mnist-mlp"
INFER = f"/v2/models/{MODEL}/infer"
CONNECTIONS = 32
JSON_HEADER = {"Content-Type": "application/json"}


class Service:
    """Our side: a model trained and packaged once, with an identity and a key of its own, all in `folder`."""

    def __init__(self, bench, folder):
        self.bench = bench
        self.folder = folder
        self.store = folder / "store"
        self.env = bench.env | {
            "STRATA_DATA": str(environment.mnist().parent),
            "STRATA_IDENTITY": str(folder / "identity"),
        }
        self._strata("identity", "init")
        # One epoch: what the weights are does not change the time of an answer.
        train = ["train", bench.recipe(MODEL), "--run", folder / "run", "--store", self.store]
        self._strata(*train, "--set", "train.epochs=1", "--quiet", "--json")
        key = ["--name", "bench", "--allow", "infer", "--models", MODEL, "--json"]
        created = self._strata("keys", "create", "--store", self.store, *key)
        self.key = created.last_json()["key"]

    @contextmanager
    def serving(self):
        def command(port):
            address = f"127.0.0.1:{port}"
            return [self.bench.strata, "serve", "--store", self.store, "--address", address]

        def ready(port):
            return _status(server.request(port, "GET", "/v2/health/ready")) == 200

        with server.serving(command, ready, env=self.env, cwd=self.folder) as port:
            refused = server.request(port, "POST", INFER, request_body(), JSON_HEADER)
            if _status(refused) != 401:
                raise BenchError(f"expected 401 without a key, found {refused}")
            headers = JSON_HEADER | {"Authorization": f"Bearer {self.key}"}
            check_answer(server.request(port, "POST", INFER, request_body(), headers), "strata")
            yield f"http://127.0.0.1:{port}{INFER}", headers

    @contextmanager
    def serving_grpc(self):
        """The port for gRPC, and the headers that calls need."""

        def command(port):
            address = ["--address", "127.0.0.1:0", "--grpc", f"127.0.0.1:{port}"]
            return [self.bench.strata, "serve", "--store", self.store, *address]

        with server.serving(command, server.listens, env=self.env, cwd=self.folder) as port:
            yield port, {"Authorization": f"Bearer {self.key}"}

    def _strata(self, *arguments):
        return process.run([self.bench.strata, *arguments], env=self.env, cwd=self.folder)


def load(bench, url, headers, body, connections, seconds, more=()):
    """What `strata-load` found; an answer that is not 200 is an error, and what else `more` arguments make one, and so is a
    request that could not be sent."""
    command = [bench.load, "--url", url, "--body", body]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    command += ["--connections", connections, "--seconds", seconds, *more]
    found = process.run(command).last_json()
    if found["errors"] or not found["requests"]:
        raise BenchError(f"{url}: {found['errors']} requests failed: {found['error_sample']}")
    if found["unsent"]:
        raise BenchError(f"{url}: {found['unsent']} requests were due and no connection was free")
    return found


def request_body():
    """One image of 784 numbers with three digits, always the same, in the Open Inference Protocol's form."""
    chosen = random.Random(1)
    pixels = ",".join(f"{chosen.random():.3f}" for _ in range(784))
    image = f'{{"name":"image","shape":[1,784],"datatype":"FP32","data":[{pixels}]}}'
    return f'{{"inputs":[{image}]}}'


def check_answer(answer, program):
    """An answer has ten probabilities."""
    if _status(answer) != 200:
        raise BenchError(f"{program} answered {answer}")
    outputs = json.loads(answer[1]).get("outputs", [])
    data = [output["data"] for output in outputs if output["datatype"] == "FP32"]
    if not any(len(values) == 10 and math.isclose(sum(values), 1, abs_tol=1e-3) for values in data):
        raise BenchError(f"expected ten probabilities from {program}, found {answer[1][:500]}")


def _status(answer):
    return answer[0] if answer else None

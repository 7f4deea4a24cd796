"""A server of ours with models of a store, asked about batches of photographs as raw pixels."""

import http.client
import json
import math
from contextlib import contextmanager

from harness import process, server
from harness.errors import BenchError

BATCH = 32


class Models:
    """A store with an identity and a key of its own, all in the folder of `data`, which also says the environment."""

    def __init__(self, bench, data):
        self.bench, self.data = bench, data
        self.store = data.folder / "store"
        self.strata("identity", "init")

    def strata(self, *arguments):
        """What a command with --json said."""
        command = [self.bench.strata, *arguments, "--json"]
        finished = process.run(command, env=self.data.env, cwd=self.data.folder)
        return finished.last_json() if finished.stdout.strip() else {}

    @contextmanager
    def serving(self, *names, flags=()):
        """Serves these models: the port, and the headers that requests need."""
        key = ["--name", "bench", "--allow", "infer", "--models", ",".join(names)]
        key = self.strata("keys", "create", "--store", self.store, *key)["key"]

        def command(port):
            address = ["--address", f"127.0.0.1:{port}"]
            return [self.bench.strata, "serve", "--store", self.store, *address, *flags]

        def ready(port):
            answer = server.request(port, "GET", "/v2/health/ready")
            return bool(answer) and answer[0] == 200

        with server.serving(command, ready, env=self.data.env, cwd=self.data.folder) as port:
            yield port, {"Authorization": f"Bearer {key}"}


def question(images, outputs, parameters=None):
    """The body of a request about square images of bytes, [side, side, 3], and the header that it needs."""
    pixels = b"".join(images)
    side = math.isqrt(len(images[0]) // 3)
    image = {"name": "image", "shape": [len(images), side, side, 3], "datatype": "UINT8"}
    image["parameters"] = {"binary_data_size": len(pixels)}
    request = {"inputs": [image], "outputs": [{"name": name} for name in outputs]}
    if parameters:
        request["parameters"] = parameters
    text = json.dumps(request).encode()
    return text + pixels, {"Inference-Header-Content-Length": str(len(text))}


def infer(model):
    """Where a model answers."""
    return f"/v2/models/{model}/infer"


def ask(connection: http.client.HTTPConnection, path, body, headers):
    """The values of each output."""
    connection.request("POST", path, body=body, headers=headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise BenchError(f"{path} answered {answer.status} {text[:500]}")
    return {output["name"]: output["data"] for output in json.loads(text)["outputs"]}

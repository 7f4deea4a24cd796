"""What it costs to take in a large tensor: one of 16 MiB, for a network that is next to nothing.

What is asked for is an echo. A model here answers with classes, so nothing comes back that is as large: it is a sink.
"""

import ctypes
import json
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from harness import server
from harness.errors import BenchError
from harness.process import rounds
from harness.row import row, rounded
from harness.work import Work
from works import random_weights, recipes, served
from works.mnist_service import load
from works.service_cost import listener, processor_seconds

# What is asked for.
COPIES = 4

MODEL, SIDE, CLASSES = "sink", 2048, 10
BYTES = 4 * SIDE * SIDE
# The default is 16 MiB, which the head of the body comes on top of. A single row is a batch: that of several would only be
# for one caller to wait for another.
FLAGS = ("--body-mib", 17, "--batch-rows", 1)


def measure(bench):
    seconds = 2 if bench.quick else 10
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        folder = Path(folder)
        data = SimpleNamespace(folder=folder, env=bench.env | {"STRATA_IDENTITY": str(folder / "identity")})
        models = served.Models(bench, data)
        recipe = recipes.written(network(), folder / "recipe.toml")
        shapes = {"all.head.0.weight": (CLASSES, 1), "all.head.0.bias": (CLASSES,)}
        weights = random_weights.written(shapes, folder / "weights.safetensors")
        models.strata("import", recipe, weights, "--store", models.store)
        body, more = question()
        file = folder / "body.bin"
        file.write_bytes(body)
        with models.serving(MODEL, flags=FLAGS) as (port, headers):
            headers |= more
            answer = server.request(port, "POST", served.infer(MODEL), body, headers)
            if answer is None or answer[0] != 200 or b"probabilities" not in answer[1]:
                raise BenchError(f"expected probabilities, found {answer}")
            url, identifier = f"http://127.0.0.1:{port}{served.infer(MODEL)}", listener(port)

            def sink(_):
                """Milliseconds of a request: of the server's processor time, and as the client sees it."""
                load(bench, url, headers, file, 1, 1)
                before = processor_seconds(identifier)
                found = load(bench, url, headers, file, 1, seconds)
                spent = processor_seconds(identifier) - before
                return 1000 * spent / found["requests"], found["latency_ms"]["mean"]

            found = rounds(bench.runs, {"strata": sink, "copy": lambda _: copy()}, bench.say)
    allowed = [COPIES * milliseconds for milliseconds in found["copy"]]
    note = (
        f"a tensor of 16 MiB, FP32, binary over HTTP, one connection; a sink instead of an echo, since a model answers with "
        f"classes: every {SIDE // 32}th pixel of every {SIDE // 32}th row, their mean and a dense layer, whose time is not taken off; a copy is memmove in one thread, from "
        f"the same place to the same place again and again"
    )
    whats = ("user and system time of the whole server", "mean latency, which has the client's own part in it")
    for name, what, measured in zip(("sink-16mib", "sink-16mib-wall"), whats, zip(*found["strata"])):
        copies = statistics.median(measured) / statistics.median(found["copy"])
        yield row(name, "ms", list(measured), allowed, f"{COPIES} copies", note=f"{what}; {note}", copies=rounded(copies))


def network():
    """The recipe of a network that takes 16 MiB and does next to nothing with it."""
    return {
        "format": 1,
        "name": MODEL,
        # Nothing of it is read: the weights are given.
        "data": {"source": "digits"},
        "preparation": {"image": {"channels": 1, "height": SIDE, "width": SIDE}},
        "tasks": [{"name": "digit", "classification": {"classes": CLASSES}}],
        "levels": [
            {
                "name": "all",
                # A pooling of all numbers alone would take several times as long as taking them in.
                "layers": [{"subsample": {"stride": SIDE // 32, "channels": 1}}, "global-average-pool"],
                "head": {"task": "digit", "layers": [{"dense": {"units": CLASSES}}]},
            }
        ],
        "train": {"epochs": 1, "batch": 1, "optimizer": {"sgd": {"learning_rate": 0.001}}},
    }


def question():
    """The body of a request, and the header that it needs."""
    tensor = {"name": "image", "shape": [1, SIDE * SIDE], "datatype": "FP32", "parameters": {"binary_data_size": BYTES}}
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": "probabilities"}]}).encode()
    # Four numbers about 0.5, over and over.
    numbers = bytes.fromhex("0000003f0100003f0002003f0004003f") * (BYTES // 16)
    return head + numbers, {"Inference-Header-Content-Length": str(len(head))}


def copy(runs=50):
    """Milliseconds that a copy of 16 MiB takes, once both places have memory."""
    source, target = (ctypes.create_string_buffer(b"\1" * BYTES, BYTES) for _ in range(2))
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        ctypes.memmove(target, source, BYTES)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


WORK = Work(
    name="sink-16mib",
    summary="a tensor of 16 MiB for a network that is next to nothing: the server's time and the client's, against four copies of memory",
    runs=5,
    packages=(),
    measure=measure,
)

"""ResNet-18 as a service: what of the plan's own throughput is left, and how long callers wait who come when they like.

There are no peers. The server's peak is held against the compiled plan by itself, and the 99th percentile against the time that an
image takes when it is alone.
"""

import http.client
import statistics
import tempfile
from pathlib import Path
from types import SimpleNamespace

from harness.errors import BenchError
from harness.process import rounds
from harness.row import row, rounded
from harness.work import Work
from works import engine, random_weights, recipes, served
from works.mnist_service import load
from works.resnet18_infer import PARAMETERS

# What is asked for.
SHARE = 0.92
SERVICE_TIMES = 3

MODEL, SIZE, CLASSES = "resnet18", 224, 1000
# What is tried for the most of either side. The server computes whatever waits together.
BATCHES = (1, 8, 32)
CONNECTIONS = (2, 8, 32, 64)
# Of the peak's.
LOAD = 0.7
OPEN_CONNECTIONS = 512


def measure(bench):
    isa = engine.isa(bench)
    precision = "bf16" if isa in ("avx512_bf16", "amx") else "f32"
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        service = Service(bench, Path(folder), precision)
        with service.models.serving(MODEL) as (port, headers):
            yield from rows_of(bench, service, port, headers, {"precision": precision, "isa": isa})


def rows_of(bench, service, port, headers, more):
    service.ask_first(port, headers)
    # Which number of connections and which batch give most is tried once.
    servers = {count: service.peak(port, headers, count) for count in CONNECTIONS}
    plans = {batch: service.plan(batch) for batch in BATCHES}
    connections, batch = (max(found, key=found.get) for found in (servers, plans))
    programs = {
        "alone": lambda _: service.alone(port, headers),
        "server": lambda _: service.peak(port, headers, connections),
        "plan": lambda _: service.plan(batch),
    }
    found = rounds(bench.runs, programs, bench.say)
    note = (
        f"one image of {SIZE}x{SIZE} a request, UINT8, binary over HTTP, client and server on the same cores; the server at "
        f"{connections} connections, where it did most ({told(servers)}), against the plan alone in batches of {batch}, where "
        f"it did most ({told(plans)})"
    )
    throughput = row(
        "open-loop",
        "images/s",
        found["server"],
        found["plan"],
        "the plan by itself",
        higher_is_better=True,
        note=note,
        asked=SHARE,
        **more,
    )
    yield throughput

    rate = LOAD * throughput["ours"]
    latencies = rounds(bench.runs, {"open": lambda number: service.open_loop(port, headers, rate, number)}, bench.say)
    waited = [latency["p99"] for latency in latencies["open"]]
    note = (
        f"99th percentile of the latency from when a request was due, Poisson arrivals at {LOAD:.0%} of the server's peak, "
        f"up to {OPEN_CONNECTIONS} in flight; a service time is the mean latency at one connection. A queue with constant "
        f"service times (M/D/1) that computes one at a time has 7.4 of them at this load"
    )
    yield row(
        "open-loop-p99",
        "ms",
        waited,
        [SERVICE_TIMES * alone for alone in found["alone"]],
        f"{SERVICE_TIMES} service times",
        note=note,
        **{key: rounded(statistics.median(each[key] for each in latencies["open"])) for key in ("mean", "p50")},
        rate=rounded(rate),
        **more,
    )


class Service:
    """A store with the network, the same network's plan by itself, and one question."""

    def __init__(self, bench, folder, precision):
        self.bench, self.folder, self.precision = bench, folder, precision
        data = SimpleNamespace(folder=folder, env=bench.env | {"STRATA_IDENTITY": str(folder / "identity")})
        self.models = served.Models(bench, data)
        recipe = recipes.written(network(precision), folder / "recipe.toml")
        weights = random_weights.written(random_weights.resnet18(CLASSES), folder / "weights.safetensors")
        self.models.strata("import", recipe, weights, "--store", self.models.store)
        self.image = bytes(number % 251 for number in range(SIZE * SIZE * 3))
        self.body, self.header = served.question([self.image], ["class"])
        self.file = folder / "body.bin"
        self.file.write_bytes(self.body)

    def ask_first(self, port, headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        answer = served.ask(connection, served.infer(MODEL), self.body, headers | self.header)
        connection.close()
        if len(answer["class"]) != 1:
            raise BenchError(f"expected one class, found {answer}")

    def peak(self, port, headers, connections):
        """Images a second in a closed loop."""
        return self._load(port, headers, connections, 3 if self.bench.quick else 10)["requests_per_second"]

    def alone(self, port, headers):
        """Mean milliseconds of an image while there is no other."""
        return self._load(port, headers, 1, 3 if self.bench.quick else 10)["latency_ms"]["mean"]

    def open_loop(self, port, headers, rate, seed):
        """Latencies of those who come when they like."""
        open_loop = ["--rate", rate, "--seed", seed]
        return self._load(port, headers, OPEN_CONNECTIONS, 5 if self.bench.quick else 60, open_loop)["latency_ms"]

    def plan(self, batch):
        """Images a second of the compiled plan, called directly."""
        options = ("--network", "resnet18", "--size", SIZE, "--classes", CLASSES, "--precision", self.precision)
        runs = 3 if self.bench.quick else max(8, 200 // batch)
        _, found = engine.ours(self.bench, "infer", *options, "--batch", batch, "--runs", runs, "--warm-up", 2)
        return 1000 * batch / engine.median_ms(engine.same_network(found, PARAMETERS))

    def _load(self, port, headers, connections, seconds, more=()):
        url = f"http://127.0.0.1:{port}{served.infer(MODEL)}"
        return load(self.bench, url, headers | self.header, self.file, connections, seconds, more)


def network(precision):
    """The recipe of torchvision's ResNet-18 on its usual images."""
    image = {"channels": 3, "height": SIZE, "width": SIZE}
    image |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    train = {"epochs": 1, "batch": 16, "precision": precision, "optimizer": {"sgd": {"learning_rate": 0.001}}}
    return {
        "format": 1,
        "name": MODEL,
        # Nothing of it is read: the weights are given.
        "data": {"source": "cifar10"},
        "preparation": {"image": image},
        "tasks": [{"name": "object", "classification": {"classes": CLASSES}}],
        "network": {"resnet": {"depth": 18, "stem": "imagenet"}},
        "train": train,
    }


def told(rates):
    """What each number of connections, or of rows, gave."""
    return ", ".join(f"{count}: {rounded(rate)}" for count, rate in rates.items())


WORK = Work(
    name="open-loop",
    summary="ResNet-18, 224x224, over HTTP: images/s against the plan by itself; the 99th percentile at 70 % of that, Poisson arrivals",
    runs=3,
    packages=(),
    measure=measure,
)

"""What the server itself costs: processor time of a request to a network that is next to nothing, and memory of models that come
and go. There are no peers: the bounds are what is asked for."""

import json
import os
import struct
import tempfile
from contextlib import contextmanager
from pathlib import Path

from harness import environment, process, server
from harness.errors import BenchError
from harness.row import row
from harness.work import Work
from works.mnist_service import CONNECTIONS, MODEL, Service, load

# What is asked for.
MICROSECONDS = 25
GROWTH = 1.05

CYCLES = 1000
# The first cycles fill what the allocator and the thread pools keep.
WARM_CYCLES = 50

TINY = """format = 1
name = "tiny"

[data]
source = "digits"

[preparation.image]
channels = 1
height = 1
width = 1

[[tasks]]
name = "digit"
classification = { classes = 10 }

[[levels]]
name = "all"
layers = ["flatten"]
head = { task = "digit", layers = [{ dense = { units = 10 } }] }

[train]
epochs = 1
batch = 128
optimizer = { sgd = { learning_rate = 0.001 } }
"""


def measure_overhead(bench):
    seconds = 1 if bench.quick else 5
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        folder = Path(folder)
        recipe = folder / "tiny.toml"
        recipe.write_text(TINY)
        service = Tiny(bench, folder, recipe)
        number = struct.pack("<f", 0.5)
        head = json.dumps({
            "inputs": [
                {"name": "image", "shape": [1, 1], "datatype": "FP32", "parameters": {"binary_data_size": len(number)}}
            ],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
        }).encode()
        body = folder / "body.bin"
        body.write_bytes(head + number)
        headers = {"Inference-Header-Content-Length": str(len(head)), "Authorization": f"Bearer {service.key}"}

        def cost_of(*flags):
            def one_round(_):
                with service.serving_as("tiny", *flags) as (port, identifier):
                    url = f"http://127.0.0.1:{port}/v2/models/tiny/infer"
                    load(bench, url, headers, body, CONNECTIONS, 1)
                    before = processor_seconds(identifier)
                    found = load(bench, url, headers, body, CONNECTIONS, seconds)
                    spent = processor_seconds(identifier) - before
                    return spent / found["requests"] * 1e6

            return one_round

        found = process.rounds(bench.runs, {"plain": cost_of(), "logged": cost_of("--log-requests")}, bench.say)
    note = f"user and system time of the whole server over requests, {CONNECTIONS} connections, binary tensors over HTTP; "
    note += "the network's own time is not taken off; with key check and metrics"
    for name, more in (("plain", "a line for each request: off"), ("logged", "a line for each request: on")):
        work = "overhead" if name == "plain" else "overhead-logged"
        yield row(work, "µs", found[name], [MICROSECONDS], "what is asked", note=f"{note}; {more}")


def measure_load_unload(bench):
    cycles = 20 if bench.quick else CYCLES
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        service = Service(bench, Path(folder))
        allowed = ["--name", "loads", "--allow", "infer,load,metadata", "--models", MODEL, "--json"]
        key = service._strata("keys", "create", "--store", service.store, *allowed).last_json()["key"]
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        with serving(bench, service, MODEL) as (port, identifier):

            def cycle():
                for action in ("unload", "load"):
                    path = f"/v2/repository/models/{MODEL}/{action}"
                    answer = server.request(port, "POST", path, "{}", headers)
                    if answer is None or answer[0] != 200:
                        raise BenchError(f"{path}: expected 200, found {answer}")

            for _ in range(WARM_CYCLES):
                cycle()
            before = resident_mib(identifier)
            for _ in range(cycles):
                cycle()
            after = resident_mib(identifier)
    note = f"resident memory of the server after {cycles} times unload and load, against that after {WARM_CYCLES}"
    yield row("load-unload", "MiB", [after], [before], "before", note=note, growth=round(after / before, 4), asked=GROWTH)


class Tiny(Service):
    """A network of one number."""

    def __init__(self, bench, folder, recipe):
        self.bench, self.folder, self.store = bench, folder, folder / "store"
        self.env = bench.env | {
            "STRATA_DATA": str(environment.mnist().parent),
            "STRATA_IDENTITY": str(folder / "identity"),
        }
        self._strata("identity", "init")
        self._strata("train", recipe, "--run", folder / "run", "--store", self.store, "--quiet", "--json")
        key = ["--name", "bench", "--allow", "infer", "--models", "tiny", "--json"]
        self.key = self._strata("keys", "create", "--store", self.store, *key).last_json()["key"]

    def serving_as(self, model, *flags):
        return serving(self.bench, self, model, *flags)


@contextmanager
def serving(bench, service, model, *flags):
    """The port of a server and the identifier of its process."""

    def command(port):
        address = ["--address", f"127.0.0.1:{port}", "--model", model]
        return [bench.strata, "serve", "--store", service.store, *address, *flags]

    def ready(port):
        answer = server.request(port, "GET", "/v2/health/ready")
        return bool(answer) and answer[0] == 200

    with server.serving(command, ready, env=service.env, cwd=service.folder) as port:
        yield port, listener(port)


def listener(port):
    """The process that listens on a port of 127.0.0.1, among this one's children."""
    address = f"127.0.0.1:{port}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if address in arguments:
                return int(entry.name)
    raise BenchError(f"no process listens on port {port}")


def processor_seconds(identifier):
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{identifier}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(identifier):
    for line in Path(f"/proc/{identifier}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise BenchError("the system does not say how much memory a process has")


WORKS = (
    Work(
        name="overhead",
        summary="processor time of the server for a request to a network of one number, with and without a line for each",
        runs=5,
        packages=(),
        measure=measure_overhead,
    ),
    Work(
        name="load-unload",
        summary="resident memory of the server after a model was unloaded and loaded 1,000 times",
        runs=1,
        packages=(),
        measure=measure_load_unload,
    ),
)

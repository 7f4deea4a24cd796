"""The 784-128-10 network asked in binary: over HTTP with the binary tensor extension, and over gRPC. Ours also checks a key."""

import json
import random
import struct
import tempfile
from contextlib import contextmanager
from pathlib import Path

from harness import environment, process, server
from harness.errors import BenchError
from harness.row import best, row
from harness.work import Work
from works.mnist_http import CONNECTIONS, INFER, MODEL, Service, load

METHOD = "/inference.GRPCInferenceService/ModelInfer"
PROBABILITIES = struct.Struct("<10f")


def measure_http(bench):
    versions = environment.installed_versions(bench.python, ["fastapi", "torch"])
    image = pixels()
    head = json.dumps({
        "inputs": [
            {"name": "image", "shape": [1, 784], "datatype": "FP32", "parameters": {"binary_data_size": len(image)}}
        ],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
    }).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}

    @contextmanager
    def fastapi():
        def ask(port):
            return server.request(port, "POST", "/raw", image)

        with server.serving(lambda port: bench.peer("serve_fastapi.py", port), lambda port: bool(ask(port))) as port:
            check(ask(port), "FastAPI")
            yield f"http://127.0.0.1:{port}/raw", {}, image, []

    @contextmanager
    def strata(service):
        with service.serving() as (url, key):
            port = url.split(":")[2].split("/")[0]
            check(server.request(int(port), "POST", INFER, head + image, headers | key), "strata")
            yield url, headers | {"Authorization": key["Authorization"]}, head + image, []

    name = f"FastAPI {versions['fastapi']} and PyTorch {versions['torch']}, the bytes of the numbers alone"
    yield measured(bench, "http-binary", strata, {name: fastapi})


def measure_grpc(bench):
    versions = environment.installed_versions(bench.python, ["grpcio", "torch"])
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        numbers, message = Path(folder, "row.bin"), Path(folder, "message.bin")
        numbers.write_bytes(pixels())
        process.run(bench.peer("grpc_message.py", MODEL, numbers, message))
        message = message.read_bytes()

    @contextmanager
    def python():
        with server.serving(lambda port: bench.peer("serve_grpc.py", port), server.listens) as port:
            yield f"http://127.0.0.1:{port}{METHOD}", {}, message, ["--grpc"]

    @contextmanager
    def strata(service):
        with service.serving_grpc() as (port, key):
            yield f"http://127.0.0.1:{port}{METHOD}", {"Authorization": key["Authorization"]}, message, ["--grpc"]

    name = f"grpc.aio {versions['grpcio']} and PyTorch {versions['torch']}"
    yield measured(bench, "grpc", strata, {name: python})


def measured(bench, name, ours, peers):
    """Requests a second of our service and of the peers' at many connections."""
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        folder = Path(folder)
        service = Service(bench, folder)
        file = folder / "body.bin"

        def rounds_of(start):
            def one_round(_):
                with start() as (url, headers, body, more):
                    file.write_bytes(body)
                    load(bench, url, headers, file, CONNECTIONS, 1, more)
                    seconds = 1 if bench.quick else 5
                    return load(bench, url, headers, file, CONNECTIONS, seconds, more)["requests_per_second"]

            return one_round

        programs = {"strata": rounds_of(lambda: ours(service))}
        programs |= {peer: rounds_of(start) for peer, start in peers.items()}
        rate = process.rounds(bench.runs, programs, bench.say)
    own = rate.pop("strata")
    peer = best(rate, higher_is_better=True)
    note = f"{CONNECTIONS} connections"
    return row(name, "requests/s", own, rate[peer], peer, higher_is_better=True, note=note)


def pixels():
    """One image of 784 numbers, always the same."""
    chosen = random.Random(1)
    return struct.pack("<784f", *(round(chosen.random(), 3) for _ in range(784)))


def check(answer, program):
    """An answer ends with ten probabilities."""
    if not answer or answer[0] != 200 or len(answer[1]) < PROBABILITIES.size:
        raise BenchError(f"{program} answered {answer}")
    found = PROBABILITIES.unpack(answer[1][-PROBABILITIES.size :])
    if not 0.999 < sum(found) < 1.001:
        raise BenchError(f"expected ten probabilities from {program}, found {found}")


WORKS = (
    Work(
        name="http-binary",
        summary="784-128-10 over HTTP with binary tensors, 32 connections: requests a second, against FastAPI",
        runs=3,
        packages=("fastapi", "httptools", "numpy", "torch", "uvicorn", "uvloop"),
        measure=measure_http,
    ),
    Work(
        name="grpc",
        summary="784-128-10 over gRPC with raw tensors, 32 connections: requests a second, against grpc.aio",
        runs=3,
        packages=("grpcio", "numpy", "protobuf", "torch", "tritonclient"),
        measure=measure_grpc,
    ),
)

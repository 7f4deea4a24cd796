"""The 784-128-10 network asked in binary: over HTTP with the binary tensor extension, and over gRPC. Ours also checks a key."""

import json
import random
import struct
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness import environment, process, server
from harness.errors import BenchError, ProgramError
from harness.row import best, others, row
from harness.work import Work
from works import mnist_peers
from works.mnist_service import CONNECTIONS, INFER, MODEL, Service, load

METHOD = "/inference.GRPCInferenceService/ModelInfer"
PROBABILITIES = struct.Struct("<10f")


def measure_http(bench):
    image = pixels()
    head = json.dumps({
        "inputs": [
            {"name": "image", "shape": [1, 784], "datatype": "FP32", "parameters": {"binary_data_size": len(image)}}
        ],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
    }).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}

    @contextmanager
    def fastapi(workers):
        def ask(port):
            return server.request(port, "POST", "/raw", image)

        def command(port):
            return bench.peer("serve_fastapi.py", port, workers)

        with server.serving(command, lambda port: bool(ask(port)), env=mnist_peers.quiet(bench)) as port:
            check(ask(port), "FastAPI")
            yield f"http://127.0.0.1:{port}/raw", {}, image, []

    @contextmanager
    def strata(service):
        with service.serving() as (url, key):
            port = url.split(":")[2].split("/")[0]
            check(server.request(int(port), "POST", INFER, head + image, headers | key), "strata")
            yield url, headers | {"Authorization": key["Authorization"]}, head + image, []

    names = mnist_peers.fastapi_names(bench).items()
    peers = {f"{name}, the bytes of the numbers alone": partial(fastapi, workers) for workers, name in names}
    # https://github.com/SeldonIO/MLServer: its REST server reads JSON only; raw tensors it takes over gRPC.
    yield measured(bench, "http-binary", strata, peers, ["MLServer: no binary tensors over HTTP"])


def measure_grpc(bench):
    versions = environment.installed_versions(bench.python, ["grpcio", "torch"])
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        numbers, file = Path(folder, "row.bin"), Path(folder, "message.bin")
        numbers.write_bytes(pixels())
        process.run(bench.peer("grpc_message.py", MODEL, numbers, file))
        message = file.read_bytes()

        def ask(port, metadata=()):
            command = bench.peer("grpc_ask.py", f"127.0.0.1:{port}", file, *metadata)
            return process.run(command).last_json()["numbers"]

        def answers(port):
            try:
                return server.listens(port) and bool(ask(port))
            except ProgramError:
                return False

        @contextmanager
        def python(program, command):
            with server.serving(command, answers, env=mnist_peers.quiet(bench), cwd=folder) as port:
                check_numbers(ask(port), program)
                yield f"http://127.0.0.1:{port}{METHOD}", {}, message, ["--grpc"]

        @contextmanager
        def strata(service):
            with service.serving_grpc() as (port, key):
                check_numbers(ask(port, [f"authorization={key['Authorization']}"]), "strata")
                yield f"http://127.0.0.1:{port}{METHOD}", {"Authorization": key["Authorization"]}, message, ["--grpc"]

        def bare(port):
            return bench.peer("serve_grpc.py", port)

        peers = {f"grpc.aio {versions['grpcio']} and PyTorch {versions['torch']}": partial(python, "grpc.aio", bare)}
        left_out = []
        try:
            own = environment.own_python("mlserver")
            for workers, name in mnist_peers.mlserver_names(own).items():
                command = partial(mlserver, bench, own, workers)
                peers[name] = partial(python, "MLServer", command)
        except BenchError as error:
            left_out.append(mnist_peers.reason("MLServer", error))
        yield measured(bench, "grpc", strata, peers, left_out)


def mlserver(bench, python, workers, port):
    return mnist_peers.mlserver_command(bench, python, workers, grpc=port)


def measured(bench, name, ours, peers, left_out):
    """Requests a second of our service and of the peers' at many connections."""
    peers, failed = mnist_peers.usable(peers, bench.say)
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
    parts = [f"{CONNECTIONS} connections", others(rate, peer, "requests/s")]
    note = mnist_peers.note(parts, left_out + failed)
    return row(name, "requests/s", own, rate[peer], peer, higher_is_better=True, note=note)


def pixels():
    """One image of 784 numbers, always the same."""
    chosen = random.Random(1)
    return struct.pack("<784f", *(round(chosen.random(), 3) for _ in range(784)))


def check(answer, program):
    """An answer ends with ten probabilities."""
    if not answer or answer[0] != 200 or len(answer[1]) < PROBABILITIES.size:
        raise BenchError(f"{program} answered {answer}")
    check_numbers(PROBABILITIES.unpack(answer[1][-PROBABILITIES.size :]), program)


def check_numbers(found, program):
    if len(found) != 10 or not 0.999 < sum(found) < 1.001:
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
        summary="784-128-10 over gRPC with raw tensors, 32 connections: requests a second, against grpc.aio and MLServer",
        runs=3,
        packages=("grpcio", "numpy", "packaging", "protobuf", "torch", "tritonclient"),
        measure=measure_grpc,
    ),
)

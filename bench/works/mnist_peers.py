"""The servers that the 784-128-10 network is compared with: what each is called, and how it is started and asked."""

import tempfile
from contextlib import contextmanager
from functools import partial

from harness import environment, server
from harness.errors import BenchError
from works.mnist_service import INFER, JSON_HEADER, check_answer, request_body

# Processes that answer, where a server can have several. MLServer answers without any of its own at 0.
FASTAPI_WORKERS = (1, 2)
MLSERVER_WORKERS = (0, 2)
BENTOML_WORKERS = (1, 2)


def with_json(bench):
    """Functions by name, each of which starts a server that takes JSON and gives its URL and headers; and who is left out,
    with the reason."""
    found, left_out = {}, []
    for kind in (fastapi, litserve, mlserver, bentoml):
        try:
            found |= kind(bench)
        except BenchError as error:
            left_out.append(reason(kind.__name__, error))
    works, failed = usable(found, bench.say)
    return works, left_out + failed


def usable(servers, say):
    """Starts each once: those that answer, and for each of the others why not."""
    works, left_out = {}, []
    for name, start in servers.items():
        try:
            with start():
                works[name] = start
        except BenchError as error:
            left_out.append(reason(name, error))
            say(f"left out: {left_out[-1]}")
    if not works:
        raise BenchError(f"no server of the peers works: {'; '.join(left_out)}")
    return works, left_out


def reason(name, error):
    """One line about a peer that is left out."""
    return f"{name}: {str(error).strip().splitlines()[-1]}"


def note(parts, left_out):
    """A row's note, with those that are left out."""
    return "; ".join(filter(None, [*parts, *(f"left out: {why}" for why in left_out)]))


def fastapi(bench):
    return {name: partial(fastapi_serving, bench, workers) for workers, name in fastapi_names(bench).items()}


def fastapi_names(bench):
    """What FastAPI is called, by its processes."""
    versions = environment.installed_versions(bench.python, ["fastapi", "torch"])
    name = f"FastAPI {versions['fastapi']} and PyTorch {versions['torch']}"
    return {workers: name if workers == 1 else f"{name}, {workers} processes" for workers in FASTAPI_WORKERS}


def fastapi_serving(bench, workers):
    return serving("FastAPI", lambda port: bench.peer("serve_fastapi.py", port, workers), "/predict", quiet(bench))


def litserve(bench):
    versions = environment.installed_versions(bench.python, ["litserve", "torch"])
    name = f"LitServe {versions['litserve']} and PyTorch {versions['torch']}"

    def start():
        return serving("LitServe", lambda port: bench.peer("serve_litserve.py", port), "/predict", quiet(bench))

    return {name: start}


def mlserver(bench):
    python = environment.own_python("mlserver")

    def start(workers):
        def command(port):
            return mlserver_command(bench, python, workers, http=port)

        return serving("MLServer", command, INFER, quiet(bench))

    return {name: partial(start, workers) for workers, name in mlserver_names(python).items()}


def mlserver_names(python):
    """What MLServer is called, by its workers."""
    versions = environment.installed_versions(python, ["mlserver", "numpy"])
    name = f"MLServer {versions['mlserver']} and NumPy {versions['numpy']}"
    return {workers: f"{name}, {workers} parallel workers" for workers in MLSERVER_WORKERS}


def mlserver_command(bench, python, workers, http=0, grpc=0):
    """MLServer on these ports; 0 is any that is free."""
    return bench.peer("serve_mlserver.py", http, grpc, workers, python=python)


def bentoml(bench):
    python = environment.own_python("bentoml")
    versions = environment.installed_versions(python, ["bentoml", "numpy"])
    name = f"BentoML {versions['bentoml']} and NumPy {versions['numpy']}"
    settings = {"BENTOML_HOME": str(environment.user_cache() / "bench-bentoml"), "BENTOML_DO_NOT_TRACK": "True"}

    def command(port):
        service = ["serve_bentoml:Digits", "--working-dir", environment.PEERS]
        return [python, "-m", "bentoml", "serve", *service, "--host", "127.0.0.1", "--port", port]

    def start(workers):
        return serving("BentoML", command, "/infer", quiet(bench) | settings | {"BENCH_WORKERS": str(workers)})

    return {f"{name}, {workers} workers": partial(start, workers) for workers in BENTOML_WORKERS}


def quiet(bench):
    """An environment in which a server's processes write no bytecode into the checkout either."""
    return bench.env | {"PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def serving(program, command, path, env):
    """A server, in a folder that goes with it: its URL, and the headers that a request needs."""

    def infer(port):
        return server.request(port, "POST", path, request_body(), JSON_HEADER)

    # A server that is up but whose workers are not answers with an error or not at all.
    def ready(port):
        answer = infer(port)
        return bool(answer) and answer[0] == 200

    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        with server.serving(command, ready, env=env, cwd=folder) as port:
            check_answer(infer(port), program)
            yield f"http://127.0.0.1:{port}{path}", JSON_HEADER

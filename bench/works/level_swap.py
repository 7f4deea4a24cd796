"""Two versions of a model that differ in one level take each other's place in a running server, over and over, under load.

There is no peer: the 99th percentile of the latency while versions are swapped is compared with that of the same server
while none is, turn by turn. The work fails if an answer is missing, refused, or not to the byte that of one of the two
versions.
"""

import json
import os
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from harness import server
from harness.errors import BenchError
from harness.row import row
from harness.work import Work
from works.mnist_service import CONNECTIONS, INFER, JSON_HEADER, MODEL, Service, load, request_body

SWAPS = 1000
LONGEST_SWAP_SECONDS = 30
PAUSE_SECONDS = 0.05


def measure(bench):
    swaps, seconds = (20, 3) if bench.quick else (SWAPS, 20)
    steady, swapped, made, answers = [], [], 0, 0
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        service = Swapping(bench, Path(folder))
        with service.serving_only_stable() as port:
            service.keep_answers(port)
            service.turn(port, 1, is_swapping=False)
            while made < swaps:
                found, _ = service.turn(port, seconds, is_swapping=False)
                steady.append(found["latency_ms"]["p99"])
                found, count = service.turn(port, seconds, is_swapping=True)
                swapped.append(found["latency_ms"]["p99"])
                made, answers = made + count, answers + found["requests"]
                bench.say(f"{made} swaps, p99 {swapped[-1]:.3g} ms, without {steady[-1]:.3g} ms")
    note = (
        f"99th percentile at {CONNECTIONS} connections while one level is swapped again and again; "
        f"{answers} answers meanwhile, {made / len(swapped) / seconds:.2g} swaps a second"
    )
    # Any that was dropped or mixed would have been an error above.
    counts = {"swaps": made, "dropped": 0, "mixed": 0}
    yield row("level-swap", "ms", swapped, steady, "without swaps", note=note, **counts)


class Swapping(Service):
    """A service whose alias `stable` names version 1, or version 3, which has another top level."""

    def __init__(self, bench, folder):
        super().__init__(bench, folder)
        train = ["train", bench.recipe(MODEL), "--run", folder / "second", "--store", self.store]
        self._strata(*train, "--set", "train.epochs=1", "--set", "seed=2", "--quiet", "--json")
        replace = ["level", "replace", f"{MODEL}@1", "digits", "--from", f"{MODEL}@2"]
        self._strata(*replace, "--store", self.store, "--force", "--quiet", "--json")
        self.body = folder / "body.json"
        self.body.write_text(request_body())
        self.headers = JSON_HEADER | {"Authorization": f"Bearer {self.key}"}
        self.answers = {}
        self.name_stable(1)

    def name_stable(self, version):
        """As `strata models alias` does, without a process that would take the processor from the server."""
        made = self.folder / "aliases.json"
        made.write_text(json.dumps({"stable": version}))
        os.replace(made, self.store / "models" / MODEL / "aliases.json")
        self.version = version

    @contextmanager
    def serving_only_stable(self):
        def command(port):
            address = ["--address", f"127.0.0.1:{port}", "--model", f"{MODEL}:stable"]
            return [self.bench.strata, "serve", "--store", self.store, *address]

        def ready(port):
            answer = server.request(port, "GET", "/v2/health/ready")
            return bool(answer) and answer[0] == 200

        with server.serving(command, ready, env=self.env, cwd=self.folder) as port:
            yield port

    def keep_answers(self, port):
        """What each version answers, to the byte."""
        for version in (3, 1):
            self.name_stable(version)
            self.answers[version] = self.folder / f"answer-{version}.json"
            self.answers[version].write_bytes(self.served(port))

    def turn(self, port, seconds, is_swapping):
        """What `strata-load` found in so many seconds, and how many swaps there were meanwhile."""
        found, swaps = [], 0
        url = f"http://127.0.0.1:{port}{INFER}"
        more = [part for file in self.answers.values() for part in ("--answer", file)]

        def put_under_load():
            try:
                found.append(
                    load(self.bench, url, self.headers, self.body, CONNECTIONS, seconds, more)
                )
            except BenchError as error:
                found.append(error)

        loading = threading.Thread(target=put_under_load)
        loading.start()
        # Without swaps it asks as often, so that both turns differ in the swaps alone.
        while loading.is_alive():
            if is_swapping:
                self.name_stable(1 if self.version == 3 else 3)
                swaps += 1
            self.served(port)
            time.sleep(PAUSE_SECONDS)
        if isinstance(found[0], BenchError):
            raise found[0]
        if is_swapping and not all(found[0]["answers"]):
            raise BenchError(f"expected answers of both versions, found {found[0]['answers']}")
        return found[0], swaps

    def served(self, port):
        """Asks until the version that `stable` names answers; its answer."""
        deadline = time.monotonic() + LONGEST_SWAP_SECONDS
        while time.monotonic() < deadline:
            answer = server.request(port, "POST", INFER, request_body(), self.headers)
            if answer is None or answer[0] != 200:
                raise BenchError(f"expected an answer, found {answer}")
            if json.loads(answer[1])["model_version"] == str(self.version):
                return answer[1]
            time.sleep(PAUSE_SECONDS)
        raise BenchError(f"version {self.version} was not served in {LONGEST_SWAP_SECONDS} s")


WORK = Work(
    name="level-swap",
    summary="the 99th percentile at 32 connections while one level is swapped 1,000 times, against the same without swaps",
    runs=1,
    packages=(),
    measure=measure,
)

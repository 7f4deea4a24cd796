"""The 784-128-10 network as an HTTP service: one image a request, as JSON. Ours also checks a key."""

import tempfile
from pathlib import Path

from harness import process
from harness.row import best, others, row
from harness.work import Work
from works import mnist_peers
from works.mnist_service import CONNECTIONS, Service, load, request_body


def measure(bench):
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        folder = Path(folder)
        body = folder / "body.json"
        body.write_text(request_body())
        service = Service(bench, folder)
        peers, left_out = mnist_peers.with_json(bench)

        def measured(start):
            def one_round(_):
                with start() as (url, headers):
                    return loaded(bench, url, headers, body)

            return one_round

        servers = {"strata": service.serving} | peers
        found = process.rounds(
            bench.runs, {name: measured(start) for name, start in servers.items()}, bench.say
        )

    latency = {name: [pair[0] for pair in pairs] for name, pairs in found.items()}
    rate = {name: [pair[1] for pair in pairs] for name, pairs in found.items()}
    ours = latency.pop("strata")
    name = best(latency)
    parts = ["median latency at 1 connection", others(latency, name, "ms")]
    yield row("mnist-http-1", "ms", ours, latency[name], name, note=mnist_peers.note(parts, left_out))

    ours = rate.pop("strata")
    name = best(rate, higher_is_better=True)
    parts = [f"{CONNECTIONS} connections", others(rate, name, "requests/s")]
    yield row(
        "mnist-http-32",
        "requests/s",
        ours,
        rate[name],
        name,
        higher_is_better=True,
        note=mnist_peers.note(parts, left_out),
    )


def loaded(bench, url, headers, body):
    """Median latency in milliseconds at one connection, and requests a second at many."""
    seconds = 1 if bench.quick else 5
    for connections in (1, CONNECTIONS):
        load(bench, url, headers, body, connections, seconds=1)
    one = load(bench, url, headers, body, 1, seconds)
    many = load(bench, url, headers, body, CONNECTIONS, seconds)
    return one["latency_ms"]["p50"], many["requests_per_second"]


WORK = Work(
    name="mnist-http",
    summary="784-128-10 over HTTP, JSON: latency at 1 connection and requests/s at 32, against four Python servers",
    runs=5,
    packages=("fastapi", "httptools", "litserve", "numpy", "torch", "uvicorn", "uvloop"),
    measure=measure,
)

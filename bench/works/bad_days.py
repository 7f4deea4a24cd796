"""What callers get while others do their worst: a flood beyond what the server can do, and thousands that send a byte a second.

There are no peers. What is compared is the same server on a good day.
"""

import socket
import tempfile
import threading
import time
from pathlib import Path

from harness import process, server
from harness.errors import BenchError
from harness.row import row
from harness.work import Work
from works.mnist_service import CONNECTIONS, INFER, JSON_HEADER, Service, load, request_body
from works.service_cost import resident_mib, serving

# What is asked for.
GOODPUT = 0.8
HEALTH_MILLISECONDS = 50

FLOOD_CONNECTIONS = 2000
QUEUE_ROWS = 64
SLOW_CLIENTS = 10_000
HEALTH_PAUSE = 0.05


def measure(bench):
    seconds = 3 if bench.quick else 60
    slow_clients = 1000 if bench.quick else SLOW_CLIENTS
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        folder = Path(folder)
        service = Service(bench, folder)
        body = folder / "body.json"
        body.write_text(request_body())
        headers = JSON_HEADER | {"Authorization": f"Bearer {service.key}"}
        flags = ["--queue-rows", str(QUEUE_ROWS), "--key-requests", "256"]
        with serving(bench, service, "mnist-mlp", *flags) as (port, identifier):
            url = f"http://127.0.0.1:{port}{INFER}"
            load(bench, url, headers, body, CONNECTIONS, 1)
            peak = load(bench, url, headers, body, CONNECTIONS, 3 if bench.quick else 10)
            before = resident_mib(identifier)

            with Health(port) as health:
                flood = flooded(bench, url, headers, body, seconds)
            memory = {"resident_mib": round(resident_mib(identifier), 1), "resident_before_mib": round(before, 1)}
            yield row(
                "flood-goodput",
                "requests/s",
                [flood["requests"] / seconds],
                [peak["requests_per_second"]],
                f"{CONNECTIONS} connections",
                higher_is_better=True,
                note=f"{FLOOD_CONNECTIONS} connections for {seconds} s, a queue of {QUEUE_ROWS} rows, 256 requests of a key at a time",
                refused=flood["errors"],
                asked=GOODPUT,
                **memory,
            )
            yield health.row("flood-health", "while it is flooded")

            with SlowClients(port, slow_clients) as clients, Health(port) as health:
                found = load(bench, url, headers, body, CONNECTIONS, 3 if bench.quick else 20)
                lost = clients.lost
            memory["resident_mib"] = round(resident_mib(identifier), 1)
            yield row(
                "slow-clients-goodput",
                "requests/s",
                [found["requests_per_second"]],
                [peak["requests_per_second"]],
                f"{CONNECTIONS} connections alone",
                higher_is_better=True,
                note=f"{CONNECTIONS} connections beside {slow_clients} that send a byte a second and connect again",
                closed=lost,
                **memory,
            )
            yield health.row("slow-clients-health", f"beside {slow_clients} slow clients")


def flooded(bench, url, headers, body, seconds):
    """What a flood was answered; refusals are a part of it."""
    command = [bench.load, "--url", url, "--body", body]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    command += ["--connections", FLOOD_CONNECTIONS, "--seconds", seconds]
    return process.run(command).last_json()


class Health:
    """Asks whether the server is ready again and again, each time by a connection of its own, from a thread."""

    def __init__(self, port):
        self.port, self.took, self.failed = port, [], 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def _ask(self):
        while not self.over.wait(HEALTH_PAUSE):
            began = time.perf_counter()
            answer = server.request(self.port, "GET", "/v2/health/ready")
            self.took.append((time.perf_counter() - began) * 1000)
            if answer is None or answer[0] != 200:
                self.failed += 1

    def row(self, name, when):
        took = sorted(self.took)
        if not took:
            raise BenchError("health was never asked")
        return row(
            name,
            "ms",
            [took[int(len(took) * 0.99)]],
            [HEALTH_MILLISECONDS],
            "what is asked",
            note=f"99th percentile of GET /v2/health/ready {when}, a new connection each, the asking program on the same cores",
            asked_times=len(took),
            failed=self.failed,
            p50=round(took[len(took) // 2], 2),
            worst=round(took[-1], 2),
        )


class SlowClients:
    """Connections that send a byte of a request's head each second; those that are closed are opened again."""

    HEAD = b"POST /v2/models/mnist-mlp/infer HTTP/1.1\r\nHost: slow\r\nX-Slow: " + b"a" * 4096

    def __init__(self, port, count):
        self.port, self.count, self.lost = port, count, 0
        self.over = threading.Event()
        self.full = threading.Event()
        self.thread = threading.Thread(target=self._send)

    def __enter__(self):
        self.thread.start()
        self.full.wait(60)
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def _open(self):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", self.port))
        return connection

    def _send(self):
        clients = [[self._open(), 0] for _ in range(self.count)]
        while not self.over.is_set():
            began = time.monotonic()
            for client in clients:
                connection, sent = client
                try:
                    # What is not connected yet takes nothing yet.
                    if connection.send(self.HEAD[sent : sent + 1]) == 1:
                        client[1] = sent + 1
                except BlockingIOError:
                    pass
                except OSError:
                    connection.close()
                    self.lost += 1
                    client[:] = [self._open(), 0]
                if self.over.is_set():
                    break
            self.full.set()
            self.over.wait(max(0, 1 - (time.monotonic() - began)))
        for connection, _ in clients:
            connection.close()


WORK = Work(
    name="bad-days",
    summary="a flood for a minute and 10,000 clients that send a byte a second: what others still get, and how soon health answers",
    runs=1,
    packages=(),
    measure=measure,
)

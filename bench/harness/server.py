"""Starts a server for as long as it is measured."""

import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

from harness.errors import BenchError

START_SECONDS = 120
STOP_SECONDS = 10


@contextmanager
def serving(command, ready, env=None, cwd=None):
    """Runs `command(port)` on a free port of 127.0.0.1 and gives the port once `ready(port)` holds.

    The server and the processes that it started (they share its process group) are gone at the end, however it comes.
    """
    _adopt_orphans()
    port = _free_port()
    command = [str(part) for part in command(port)]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait(child, port, ready, command, log)
            yield port
            if child.poll() is not None:
                raise BenchError(f"`{' '.join(command)}` died under load:\n{_text(log)}")
        finally:
            _stop(child)


def request(port, method, path, body=None, headers=None, timeout=10):
    """The status and the body of the answer; None when there is no proper answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def listens(port):
    """Whether a server takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _wait(child, port, ready, command, log):
    deadline = time.monotonic() + START_SECONDS
    while not ready(port):
        if child.poll() is not None:
            raise BenchError(
                f"`{' '.join(command)}` ended with {child.returncode} while it started:\n{_text(log)}"
            )
        if time.monotonic() > deadline:
            raise BenchError(
                f"`{' '.join(command)}` was not ready after {START_SECONDS} s:\n{_text(log)}"
            )
        time.sleep(0.1)


def _stop(child):
    # The first signal lets it end its own children; the second is for those that stay. `start_new_session` made the
    # child's id the id of its group, and the group is this server's alone.
    _signal(child.pid, signal.SIGTERM)
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    _signal(child.pid, signal.SIGKILL)
    child.wait()
    # What it left behind is this process's child now. Waiting for those adds their processor time to this process's
    # children's, which `Disturbance` relies on.
    try:
        while True:
            os.waitpid(-child.pid, 0)
    except ChildProcessError:
        pass


def _adopt_orphans():
    """Makes this process the parent of those that its children leave behind, where the system can."""
    if sys.platform == "linux":
        set_child_subreaper = 36
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _signal(group, number):
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _text(log):
    log.seek(0)
    return log.read().decode(errors="replace")[-4000:].strip()

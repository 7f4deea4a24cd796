"""Runs a program to its end and measures the whole process."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass

from harness.errors import BenchError, ProgramError


@dataclass
class Finished:
    """A program that ended well."""

    seconds: float
    """Wall clock time from before it was started until it was gone."""
    peak_mib: float
    """Largest resident memory, of the program and of those that it waited for."""
    stdout: str

    def last_json(self):
        """The JSON object that ends the output: a whole output of one object, or its last line."""
        text = self.stdout.strip()
        for candidate in (text, text.rpartition("\n")[2]):
            try:
                found = json.loads(candidate)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
        raise BenchError(f"expected a JSON object on standard output, found {text[-500:]!r}")


def run(command, env=None, cwd=None, timeout=None):
    """Runs `command`; any failure is an error with the end of what it wrote, and so are `timeout` seconds.

    Output goes to files, so that no reader competes with the program for the processor. The kernel's figure for the
    memory has this process's own as its floor (a child starts as a copy), which is about 20 MiB: the works' programs
    are above it.
    """
    command = [str(part) for part in command]
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        started = time.perf_counter()
        # In a group of its own, so that what it started can be ended with it.
        child = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        timer = threading.Timer(timeout or threading.TIMEOUT_MAX, _kill_group, [child.pid])
        timer.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            _kill_group(child.pid)
            child.wait()
            raise
        finally:
            timer.cancel()
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if timeout and seconds >= timeout:
            raise ProgramError(command, f"was not done after {timeout} s")
        if child.returncode != 0:
            output = _end(stderr) or _end(stdout)
            raise ProgramError(command, f"ended with {child.returncode}", output)
        stdout.seek(0)
        output = stdout.read().decode(errors="replace")
    # Kibibytes on Linux, bytes on macOS.
    units_per_mib = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Finished(seconds, usage.ru_maxrss / units_per_mib, output)


def rounds(count, programs, say):
    """Measures each of `programs` (functions by name) in turn, `count` times: A B C A B C …

    Taking turns lets a slow spell of the machine meet all of them. Gives the measurements of each by name; what they
    are is the functions' business.
    """
    found = {name: [] for name in programs}
    for number in range(1, count + 1):
        for name, measure in programs.items():
            measured = measure(number)
            found[name].append(measured)
            say(f"{number}/{count} {name}: {measured}")
    return found


def _kill_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _end(file, size=4000):
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - size))
    return file.read().decode(errors="replace").strip()

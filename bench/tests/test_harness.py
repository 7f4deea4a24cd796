"""Tests of the parts that all works share: `python3 -m unittest discover -s bench/tests -t bench`."""

import os
import sys
import tempfile
import time
import tomllib
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from harness import isa, process, server
from harness.errors import BenchError
from harness.modes import Mode, against_best, compare, usable
from harness.row import best, others, row, rounded
from works import recipes

PYTHON = sys.executable


class Rows(unittest.TestCase):
    def test_a_ratio_says_how_many_times_better_ours_is(self):
        faster = row("w", "s", [1.0, 2.0, 9.0], [8.0, 4.0, 9.0], "peer")
        self.assertEqual((faster["ours"], faster["peer"], faster["ratio"]), (2, 8, 4))
        self.assertEqual((faster["ours_spread"], faster["peer_spread"]), ([1, 9], [4, 9]))
        self.assertEqual(faster["runs"], 3)
        more = row("w", "1/s", [10.0], [40.0], "peer", higher_is_better=True)
        self.assertEqual(more["ratio"], 0.25)

    def test_the_best_peer_is_compared_and_the_others_are_noted(self):
        peers = {"a": [1.0], "b": [3.0], "c": [2.0]}
        self.assertEqual(best(peers), "a")
        self.assertEqual(best(peers, higher_is_better=True), "b")
        self.assertEqual(others(peers, "b", "ms"), "a: 1.0 ms; c: 2.0 ms")

    def test_numbers_have_four_digits(self):
        self.assertEqual([rounded(1234.56), rounded(0.0012345)], [1235, 0.001234])


class Recipes(unittest.TestCase):
    def test_a_changed_recipe_is_written_as_it_is(self):
        for name in ("two-tasks", "cifar10-layered"):
            recipe = recipes.shipped(name) | {"description": 'a "word"', "seed": 3}
            with tempfile.TemporaryDirectory() as folder:
                path = recipes.written(recipe, Path(folder, "recipe.toml"))
                self.assertEqual(tomllib.loads(path.read_text()), recipe)


class Processes(unittest.TestCase):
    def test_time_memory_and_output_are_those_of_the_process(self):
        program = "import time; x = b'1' * (100 << 20); time.sleep(0.2); print('a\\n{\"b\": 1}')"
        finished = process.run([PYTHON, "-c", program])
        self.assertGreater(finished.seconds, 0.2)
        self.assertTrue(100 < finished.peak_mib < 200, finished.peak_mib)
        self.assertEqual(finished.last_json(), {"b": 1})

    def test_a_failure_says_what_was_written(self):
        with self.assertRaisesRegex(BenchError, "(?s)ended with 3.*no luck"):
            process.run([PYTHON, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"])
        with self.assertRaisesRegex(BenchError, "expected a JSON object"):
            process.run([PYTHON, "-c", "print('fine')"]).last_json()

    def test_a_program_that_takes_too_long_is_ended_with_what_it_started(self):
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "pid")
            program = f"sleep 600 & echo $! > {file}; wait"
            with self.assertRaisesRegex(BenchError, "was not done after 0.5 s"):
                process.run(["sh", "-c", program], timeout=0.5)
            with open(file) as written:
                self.assertTrue(gone(int(written.read())))
        self.assertLess(process.run([PYTHON, "-c", ""], timeout=60).seconds, 60)

    def test_programs_take_turns(self):
        seen = []
        programs = {name: lambda number, name=name: seen.append(name) or number for name in "ab"}
        found = process.rounds(2, programs, lambda _: None)
        self.assertEqual((seen, found), (list("abab"), {"a": [1, 2], "b": [1, 2]}))


def mode(name, precision, value):
    """A mode that gives `value`, or fails as that program does."""

    def measure(_):
        return process.run(value) if isinstance(value, list) else value

    return Mode(name, precision, measure)


class Modes(unittest.TestCase):
    PEERS = {
        mode("a", "f32", None): [4.0],
        mode("b", "bf16", None): [2.0],
        mode("c", "f32", None): [3.0],
    }

    def test_each_of_ours_meets_the_best_of_all_and_the_best_of_its_precision(self):
        rows = against_best("w", "ms", {"bf16": [1.0], "f32": [1.5]}, self.PEERS, isa="avx2")
        found = [(row["precision"], row["peer_name"], row["ratio"], row["note"]) for row in rows]
        first_two = "the best of all modes; a: 4.0 ms; c: 3.0 ms"
        self.assertEqual(
            found,
            [
                ("bf16", "b", 2, first_two),
                ("f32", "b", 1.333, first_two),
                ("f32", "c", 2, "the best f32 mode; a: 4.0 ms; b: 2.0 ms"),
            ],
        )

    def test_a_precision_that_no_mode_has_meets_the_best_of_all_alone(self):
        (row,) = against_best("w", "ms", {"f64": [1.0]}, self.PEERS, ["d: no luck"], isa="avx2")
        self.assertEqual((row["peer_name"], row["isa"]), ("b", "avx2"))
        self.assertTrue(row["note"].endswith("; left out: d: no luck"), row["note"])

    def test_a_mode_that_fails_is_left_out_and_the_rows_say_why(self):
        broken = [PYTHON, "-c", "import sys; sys.exit('some lines\\nno bf16 here')"]
        modes = [mode("a", "f32", 4.0), mode("b", "bf16", broken)]
        bench = SimpleNamespace(runs=2, say=lambda _: None, isa=None)
        (row,) = compare(bench, "w", "ms", {"f32": lambda _: 1.0}, modes, ["c: cannot"])
        self.assertEqual((row["peer_name"], row["runs"]), ("a", 2))
        self.assertEqual(
            row["note"], "the best of all modes; left out: c: cannot; left out: b: no bf16 here"
        )
        with self.assertRaisesRegex(BenchError, "no mode of the peers works: b: no bf16 here"):
            usable(modes[1:], lambda _: None)

    def test_a_format_that_is_emulated_is_left_out(self):
        modes = [mode("a", "f32", 4.0), mode("b", "bf16", [PYTHON, "-c", "1 / 0"])]
        bench = SimpleNamespace(runs=1, say=lambda _: None, isa="avx2")
        (row,) = compare(bench, "w", "ms", {"f32": lambda _: 1.0}, iter(modes))
        self.assertTrue(row["note"].endswith("left out: b: avx2 has no instruction for it"))


class Instructions(unittest.TestCase):
    def limited(self, name, flags, before=()):
        with mock.patch.dict(os.environ, dict(before), clear=True):
            with mock.patch.object(isa, "machine", return_value={"isa": flags}):
                isa.limit(name)
            return dict(os.environ)

    def test_a_limit_is_set_for_both_sides(self):
        found = self.limited("avx2", "x86_64 avx2 avx512f", {"STRATA_ISA": "portable", "A": "1"})
        self.assertEqual((found["STRATA_ISA"], found["ONEDNN_MAX_CPU_ISA"]), ("avx2", "AVX2"))
        self.assertEqual(found["A"], "1")

    def test_without_a_limit_none_is_left(self):
        self.assertEqual(self.limited(None, "x86_64", {"ATEN_CPU_CAPABILITY": "avx2"}), {})

    def test_a_limit_above_the_cpu_is_an_error(self):
        with self.assertRaisesRegex(BenchError, "--isa avx512 needs a CPU with avx512f, found x86"):
            self.limited("avx512", "x86_64 avx2")


class Servers(unittest.TestCase):
    # Answers anything, with a second process that would outlive it.
    PROGRAM = """
import http.server, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(child.pid).encode())
    def log_message(self, *_): pass
child = subprocess.Popen(["sleep", "600"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

    def command(self, port):
        return [PYTHON, "-c", self.PROGRAM, port]

    def test_a_server_and_its_processes_are_gone_after_a_failure(self):
        with self.assertRaises(ZeroDivisionError):
            with server.serving(self.command, lambda port: server.request(port, "GET", "/")) as port:
                status, body = server.request(port, "GET", "/")
                raise ZeroDivisionError
        self.assertEqual(status, 200)
        self.assertIsNone(server.request(port, "GET", "/"))
        self.assertTrue(gone(int(body)))

    def test_a_server_that_does_not_start_says_why(self):
        program = "import sys; sys.exit('no model')"
        with self.assertRaisesRegex(BenchError, "(?s)while it started.*no model"):
            with server.serving(lambda _: [PYTHON, "-c", program], lambda _: False):
                pass


def gone(pid):
    """Whether the process ends within a second; a zombie has ended."""
    for _ in range(20):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return not os.path.exists(f"/proc/{pid}")
        time.sleep(0.05)
    return False


if __name__ == "__main__":
    unittest.main()

"""Tests of what works share beyond the harness."""

import unittest
from contextlib import contextmanager

from harness import environment
from harness.errors import BenchError
from works import WORKS, mnist_peers


class Packages(unittest.TestCase):
    def test_what_a_work_needs_is_pinned(self):
        needed = {package for work in WORKS.values() for package in work.packages}
        self.assertEqual(needed - environment.pinned().keys(), set())
        for own in ("mlserver", "bentoml"):
            self.assertIn(own, environment.pinned(own))


class Peers(unittest.TestCase):
    @contextmanager
    def good(self):
        yield "http://127.0.0.1:1/"

    @contextmanager
    def bad(self):
        raise BenchError("`program` ended with 1:\na traceback\nno luck")
        yield

    def test_a_server_that_fails_is_left_out_and_the_note_says_why(self):
        said = []
        works, left_out = mnist_peers.usable({"a": self.bad, "b": self.good}, said.append)
        self.assertEqual((list(works), left_out), (["b"], ["a: no luck"]))
        self.assertEqual(said, ["left out: a: no luck"])
        self.assertEqual(mnist_peers.note(["32 connections", ""], left_out), "32 connections; left out: a: no luck")

    def test_without_any_server_there_is_nothing_to_compare_with(self):
        with self.assertRaisesRegex(BenchError, "no server of the peers works: a: no luck"):
            mnist_peers.usable({"a": self.bad}, lambda _: None)


if __name__ == "__main__":
    unittest.main()

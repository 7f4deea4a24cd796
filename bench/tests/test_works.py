"""Tests of what works share beyond the harness."""

import json
import math
import tempfile
import tomllib
import unittest
from array import array
from contextlib import contextmanager
from pathlib import Path

from harness import environment
from harness.errors import BenchError
from works import WORKS, mnist_peers, open_loop, random_weights, recipes, sink


class Packages(unittest.TestCase):
    def test_what_a_work_needs_is_pinned(self):
        needed = {package for work in WORKS.values() for package in work.packages}
        self.assertEqual(needed - environment.pinned().keys(), set())
        for own in ("mlserver", "bentoml"):
            self.assertIn(own, environment.pinned(own))


class RandomWeights(unittest.TestCase):
    def test_resnet18_has_the_weights_of_torchvisions(self):
        shapes = random_weights.resnet18(1000)
        learned = [shape for name, shape in shapes.items() if "running" not in name]
        self.assertEqual(sum(map(math.prod, learned)), 11_689_512)

    def test_a_file_has_each_tensor_with_its_shape(self):
        shapes = {"a.weight": (3, 5, 7, 7), "bn.running_var": (4,), "bn.bias": (2,)}
        with tempfile.TemporaryDirectory() as folder:
            content = random_weights.written(shapes, Path(folder, "weights")).read_bytes()
        length = int.from_bytes(content[:8], "little")
        head = json.loads(content[8 : 8 + length])
        self.assertEqual({name: tuple(each["shape"]) for name, each in head.items()}, shapes)

        def numbers(name):
            begin, end = head[name]["data_offsets"]
            return array("f", content[8 + length :][begin:end]).tolist()

        self.assertEqual((numbers("bn.running_var"), numbers("bn.bias")), ([1.0] * 4, [0.0] * 2))
        self.assertEqual(len(set(numbers("a.weight"))), 3 * 5 * 7 * 7)
        self.assertEqual(8 + length + sum(4 * math.prod(shape) for shape in shapes.values()), len(content))


class Questions(unittest.TestCase):
    def test_a_sinks_tensor_has_16_mib(self):
        body, header = sink.question()
        length = int(header["Inference-Header-Content-Length"])
        (tensor,) = json.loads(body[:length])["inputs"]
        self.assertEqual((len(body) - length, 4 * math.prod(tensor["shape"])), (16 << 20, 16 << 20))

    def test_a_copy_takes_time(self):
        self.assertGreater(sink.copy(runs=1), 0)

    def test_recipes_of_given_networks_are_toml(self):
        for recipe in (open_loop.network("f32"), sink.network()):
            with tempfile.TemporaryDirectory() as folder:
                path = recipes.written(recipe, Path(folder, "recipe.toml"))
                self.assertEqual(tomllib.loads(path.read_text()), recipe)


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

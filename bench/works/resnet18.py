"""Training steps of ResNet-18: one process of either side, for the works that need it."""

from dataclasses import dataclass
from functools import partial

from works import engine
from works.mnist import torch_name

PACKAGES = ("numpy", "torch", "torchvision")


@dataclass(frozen=True)
class Shape:
    """What is trained."""

    name: str
    stem: str
    size: int
    batch: int
    classes: int
    parameters: int

    @property
    def summary(self):
        stem = {"imagenet": "torchvision's stem", "cifar": "CIFAR stem"}[self.stem]
        return f"{stem}, 3x{self.size}x{self.size}, batch {self.batch}"

    def options(self):
        sizes = ("--size", self.size, "--batch", self.batch, "--classes", self.classes)
        return ("--stem", self.stem, *sizes)


SHAPES = (
    Shape("torchvision", "imagenet", 32, 100, 10, 11_181_642),
    Shape("cifar", "cifar", 32, 100, 10, 11_173_962),
    Shape("224", "imagenet", 224, 16, 1000, 11_689_512),
)


def ours(bench, shape, counts, value):
    """Functions by precision, each of which measures one process; `value` makes a number of what it found."""

    def measure(precision, _):
        options = (*shape.options(), *counts, "--precision", precision)
        finished, found = engine.ours(bench, "step", "--network", "resnet18", *options)
        return value(finished, engine.checked(found, shape.parameters))

    return {precision: partial(measure, precision) for precision in engine.PRECISIONS}


def torch_modes(bench, shape, counts, value):
    """The same in each mode of PyTorch."""

    def measure(mode, _):
        options = (*shape.options(), *counts, *mode)
        finished, found = engine.peer(bench, "resnet18_torch.py", *options)
        return value(finished, engine.checked(found, shape.parameters))

    return engine.torch_modes(torch_name(bench), measure, layouts=("", "channels-last"))

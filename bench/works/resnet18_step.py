"""How long a training step of ResNet-18 takes, by precision."""

from functools import partial

from harness.modes import compare
from harness.work import Work
from works import engine, resnet18


def measure(shape, bench):
    counts = ("--steps", 2, "--warm-up", 1) if bench.quick else ("--steps", 10, "--warm-up", 3)
    sides = [
        side(bench, shape, counts, lambda _, found: engine.median_ms(found))
        for side in (resnet18.ours, resnet18.torch_modes)
    ]
    name = f"resnet18-step-{shape.name}"
    return compare(bench, name, "ms", *sides, isa=engine.isa(bench))


WORKS = [
    Work(
        name=f"resnet18-step-{shape.name}",
        summary=f"ResNet-18, {shape.summary}: one training step, against PyTorch's best mode",
        runs=3,
        packages=resnet18.PACKAGES,
        measure=partial(measure, shape),
    )
    for shape in resnet18.SHAPES
]

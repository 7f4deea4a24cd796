"""How much memory the training of ResNet-18 needs, by precision."""

from harness.modes import compare
from harness.work import Work
from works import engine, resnet18

# The largest comes with the first steps.
COUNTS = ("--steps", 2, "--warm-up", 1)


def measure(bench):
    isa = engine.isa(bench)
    for shape in resnet18.SHAPES[:1] if bench.quick else resnet18.SHAPES:
        sides = [
            side(bench, shape, COUNTS, lambda finished, _: finished.peak_mib)
            for side in (resnet18.ours, resnet18.torch_modes)
        ]
        more = {"isa": isa, "network": shape.summary}
        yield from compare(bench, "resnet18-train-memory", "MiB", *sides, **more)


WORK = Work(
    name="resnet18-train-memory",
    summary="ResNet-18 of each of those steps: peak resident memory of the training process, against PyTorch",
    runs=3,
    packages=resnet18.PACKAGES,
    measure=measure,
)

"""How long an epoch of training 784-128-10 takes, by precision: rows in memory, nothing but the learning."""

import statistics
from functools import partial

from harness.modes import compare
from harness.work import Work
from works import engine
from works.mnist import torch_name

PARAMETERS = 101_770


def measure(bench):
    counts = ("--epochs", 1 if bench.quick else 5, "--warm-up", 1)

    def ours(precision, _):
        options = ("--precision", precision, *counts)
        return seconds(engine.ours(bench, "mlp-epoch", *options))

    def torch(mode, _):
        return seconds(engine.peer(bench, "mlp_torch.py", *mode, *counts))

    sides = (
        {precision: partial(ours, precision) for precision in engine.PRECISIONS},
        engine.torch_modes(torch_name(bench), torch),
    )
    return compare(bench, "mlp-epoch", "s", *sides, isa=engine.isa(bench))


def seconds(run):
    _, found = run
    return statistics.median(engine.checked(found, PARAMETERS)["seconds"])


WORK = Work(
    name="mlp-epoch",
    summary="784-128-10, 60,000 random rows in memory, Adam, batches of 128: one epoch, against PyTorch's best mode",
    runs=5,
    packages=("numpy", "torch"),
    measure=measure,
)

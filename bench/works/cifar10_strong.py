"""The recipe `cifar10-strong` on CIFAR-10: how long an epoch takes, how long the whole training, and how well it does."""

import statistics

from harness.modes import usable
from harness.process import rounds
from harness.row import best, others, row
from harness.work import Work
from works import cifar10

# What is asked for.
ACCURACY = 0.94
SECONDS = 15 * 60


def measure(bench):
    settings = ["train.epochs=1"] if bench.quick else []
    with cifar10.data(bench) as data:
        modes = cifar10.torch_modes(bench, data, "strong", 1, ("bf16",), ("channels-last",))
        modes, left_out = usable(modes, bench.say)

        def ours(seed):
            seed = [f"seed={seed}", cifar10.HELD]
            return cifar10.train(bench, data, bench.recipe("cifar10-strong"), *settings, *seed)

        programs = {"strata": ours} | {mode.name: mode.measure for mode in modes}
        found = rounds(bench.runs, programs, bench.say)
    ours = found.pop("strata")
    peers = {name: [each["seconds"] for each in of_mode] for name, of_mode in found.items()}
    name = best(peers)
    notes = ["one epoch, the held rows answered at its end", others(peers, name, "s")]
    notes += [f"left out: {why}" for why in left_out]
    epochs = [statistics.median(trained.epochs) for trained in ours]
    yield row("cifar10-strong", "s", epochs, peers[name], name, note="; ".join(filter(None, notes)))
    yield row(
        "cifar10-strong-accuracy",
        "accuracy on held rows",
        [trained.held for trained in ours],
        [ACCURACY],
        "what is asked",
        higher_is_better=True,
        summary=statistics.mean,
        test=statistics.mean(trained.test for trained in ours),
    )
    seconds = [trained.process_seconds for trained in ours]
    note = "the whole process; less is better"
    yield row("cifar10-strong-time", "s", seconds, [SECONDS], "what is asked", note=note)


WORK = Work(
    name="cifar10-strong",
    summary="the recipe cifar10-strong: an epoch against PyTorch's, the whole training, its accuracy; means over seeds",
    runs=3,
    packages=cifar10.TORCH_PACKAGES,
    measure=measure,
)

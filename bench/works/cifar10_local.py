"""Levels that learn by themselves with `infopro`, against the same network learned end to end with the same budget."""

import statistics

from harness.process import rounds
from harness.row import row, rounded
from harness.work import Work
from works import cifar10

# Stages after which a level of ResNet-20 ends, by the number of levels.
CUTS = {2: '["layer1"]', 4: '["stem", "layer1", "layer2"]'}
# A quick training has too few steps to climb to the recipe's rate.
QUICK = ["train.epochs=1", "train.optimizer.sgd.learning_rate=0.01"]


def measure(bench):
    quick = QUICK if bench.quick else []
    with cifar10.data(bench) as data:

        def way(*settings):
            recipe = bench.recipe("cifar10-layered")
            return lambda seed: cifar10.train(bench, data, recipe, *settings, *quick, f"seed={seed}")

        programs = {"end-to-end": way("train.strategy=end-to-end", "train.objective=cross-entropy")}
        for count, cuts in CUTS.items():
            local = ["train.strategy=local", "train.objective=infopro"]
            programs[count] = way(f"network.resnet.cuts={cuts}", *local)
        found = rounds(bench.runs, programs, bench.say)
    end_to_end = found["end-to-end"]
    for count in CUTS:
        ours = found[count]
        points = [100 * (own.held - other.held) for own, other in zip(ours, end_to_end)]
        yield row(
            "cifar10-local",
            "accuracy on held rows",
            [trained.held for trained in ours],
            [trained.held for trained in end_to_end],
            "end to end",
            higher_is_better=True,
            summary=statistics.mean,
            levels=count,
            points=rounded(statistics.mean(points)),
            points_spread=[rounded(min(points)), rounded(max(points))],
            test=rounded(statistics.mean(trained.test for trained in ours)),
            peer_test=rounded(statistics.mean(trained.test for trained in end_to_end)),
        )


WORK = Work(
    name="cifar10-local",
    summary="ResNet-20 in 2 and in 4 levels by local learning with infopro: accuracy against end to end, means over seeds",
    runs=3,
    packages=(),
    measure=measure,
)

"""Levels that learn by themselves with `infopro`, against the same network learned end to end with the same budget."""

import statistics

from harness.process import rounds
from harness.row import row, rounded
from harness.work import Work
from works import cifar10, recipes

# The recipe's levels that make one, by the number of levels.
TOGETHER = {2: [["shapes", "parts"], ["wholes", "objects"]], 4: [["shapes"], ["parts"], ["wholes"], ["objects"]]}


def measure(bench):
    quick = ["train.epochs=1"] if bench.quick else []
    with cifar10.data(bench) as data:

        def way(count, strategy, objective):
            path = recipes.written(levels_of(count), data.folder / f"{count}-{strategy}.toml")
            settings = [f"train.strategy={strategy}", f"train.objective={objective}", *quick]
            return lambda seed: cifar10.train(bench, data, path, *settings, f"seed={seed}")

        programs = {"end-to-end": way(4, "end-to-end", "cross-entropy")}
        for count in TOGETHER:
            programs[count] = way(count, "local", "infopro")
        found = rounds(bench.runs, programs, bench.say)
    end_to_end = found["end-to-end"]
    for count in TOGETHER:
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


def levels_of(count):
    """The recipe `cifar10-layered` with so many levels."""
    recipe = recipes.shipped("cifar10-layered")
    by_name = {level["name"]: level for level in recipe["levels"]}
    levels = []
    for names in TOGETHER[count]:
        layers = [layer for name in names for layer in by_name[name]["layers"]]
        levels.append(by_name[names[-1]] | {"layers": layers})
    train = recipe["train"]
    kept = {level["name"] for level in levels}
    settings = {name: setting for name, setting in train["levels"].items() if name in kept}
    return recipe | {"levels": levels, "train": train | {"levels": settings}}


WORK = Work(
    name="cifar10-local",
    summary="the recipe cifar10-layered in 2 and in 4 levels by local learning with infopro: accuracy against end to end, means over seeds",
    runs=3,
    packages=(),
    measure=measure,
)

"""What a step of learning needs in memory when levels learn by themselves: `local` and `greedy` against `end-to-end`.

The network is ResNet-32 of He et al. 2016, cut into four levels that need about as much each. Beside it: accuracy and
time, and the same end to end with checkpointing.
"""

from harness.process import rounds
from harness.row import row, rounded
from harness.work import Work
from works import cifar10, recipes

EPOCHS = 2
# Blocks of each level; the first one is the stem.
LEVELS = (3, 2, 4, 7)
RIVALS = {
    "end-to-end": ["train.strategy=end-to-end"],
    "end-to-end with checkpointing": ["train.strategy=end-to-end", "train.checkpointing=true"],
}
OURS = {strategy: [f"train.strategy={strategy}"] for strategy in ("local", "greedy")}


def measure(bench):
    epochs = f"train.epochs={1 if bench.quick else EPOCHS}"
    with cifar10.data(bench) as data:
        recipe = recipes.written(four_levels(), data.folder / "recipe.toml")

        def way(settings):
            return lambda seed: cifar10.train(bench, data, recipe, *settings, epochs, f"seed={seed}")

        programs = {name: way(settings) for name, settings in (RIVALS | OURS).items()}
        found = rounds(bench.runs, programs, bench.say)
    for strategy in OURS:
        for rival in RIVALS:
            ours, theirs = found[strategy], found[rival]
            yield row("level-memory", "MiB", peaks(ours), peaks(theirs), rival, **beside(strategy, ours, theirs))


def peaks(trainings):
    return [max(trained.memory.values()) for trained in trainings]


def beside(strategy, ours, theirs):
    """What else a row says."""

    def mean(values):
        values = list(values)
        return rounded(sum(values) / len(values))

    return {
        "strategy": strategy,
        "levels": {name: rounded(value) for name, value in ours[0].memory.items()},
        "share": rounded(max(peaks(ours)) / max(peaks(theirs))),
        "accuracy": mean(trained.held for trained in ours),
        "peer_accuracy": mean(trained.held for trained in theirs),
        "seconds": mean(trained.seconds for trained in ours),
        "peer_seconds": mean(trained.seconds for trained in theirs),
    }


def four_levels():
    """The recipe `cifar10-layered` with that network."""
    recipe = recipes.shipped("cifar10-layered")
    recipe["train"]["objective"] = "cross-entropy"
    del recipe["train"]["levels"]
    blocks, levels = resnet(blocks=5), []
    for count in LEVELS:
        layers = [layer for _ in range(count) for layer in next(blocks)]
        levels.append({"name": f"level{len(levels) + 1}", "layers": layers})
    head = ["global-average-pool", {"dense": {"units": 10}}]
    levels[-1]["head"] = {"task": "object", "layers": head}
    return recipe | {"levels": levels}


def resnet(blocks):
    """The stem and the residual blocks of a small ResNet with so many blocks in each of its three stages."""
    yield [conv(16, 1), "batch-norm", "relu"]
    for channels in (16, 32, 64):
        for block in range(blocks):
            stride = 2 if channels > 16 and block == 0 else 1
            layers = [conv(channels, stride), "batch-norm", "relu", conv(channels, 1), "batch-norm"]
            subsample = {"subsample": {"stride": stride, "channels": channels}}
            residual = {"layers": layers, "shortcut": [subsample] if stride > 1 else []}
            yield [{"residual": residual}, "relu"]


def conv(channels, stride):
    return {"conv": {"channels": channels, "kernel": 3, "stride": stride, "padding": 1, "bias": False}}


WORK = Work(
    name="level-memory",
    summary="ResNet-32 in four levels: the most memory of a step by local and greedy, against end to end",
    runs=1,
    packages=(),
    measure=measure,
)

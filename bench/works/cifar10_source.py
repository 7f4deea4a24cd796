"""The classic program: ResNet-18 on CIFAR-10 with plain stochastic gradient descent, ten epochs. Time and accuracy."""

import statistics

from harness.modes import usable
from harness.process import rounds
from harness.row import row, rounded
from harness.work import Work
from works import cifar10


def measure(bench):
    epochs = 1 if bench.quick else 10
    with cifar10.data(bench) as data:
        modes, left_out = usable(cifar10.torch_modes(bench, data, "source", 1, ("bf16",)), bench.say)
        # A whole training in every mode would take hours: one epoch in each says which is the fastest.
        peer = min(modes, key=lambda mode: mode.measure(1)["seconds"])
        torch = cifar10.torch_mode(bench, data, "source", epochs, peer.name)

        def ours(seed):
            settings = ["train.strategy=end-to-end", "train.precision=bf16"]
            settings += [f"train.epochs={epochs}", f"seed={seed}"]
            recipe = bench.recipe("cifar10-resnet18")
            return cifar10.train(bench, data, recipe, *settings, cifar10.HELD)

        found = rounds(bench.runs, {"strata": ours, peer.name: torch.measure}, bench.say)
    ours, theirs = found["strata"], found[peer.name]
    tests = {
        "test": rounded(statistics.mean(trained.test for trained in ours)),
        "peer_test": rounded(statistics.mean(found["test"] for found in theirs)),
    }
    notes = [f"{epochs} epochs, the held rows answered after each; bf16, the fastest of its modes"]
    notes += [f"left out: {why}" for why in left_out]
    seconds = [trained.seconds for trained in ours], [found["seconds"] for found in theirs]
    yield row("cifar10-source", "s", *seconds, peer.name, note="; ".join(notes))
    held = [trained.held for trained in ours], [found["held"] for found in theirs]
    yield row(
        "cifar10-source-accuracy",
        "accuracy on held rows",
        *held,
        peer.name,
        higher_is_better=True,
        summary=statistics.mean,
        difference=rounded(statistics.mean(held[0]) - statistics.mean(held[1])),
        **tests,
    )


WORK = Work(
    name="cifar10-source",
    summary="ResNet-18 on CIFAR-10, 10 epochs of plain SGD: seconds and accuracy, against PyTorch's fastest mode",
    runs=3,
    packages=cifar10.TORCH_PACKAGES,
    measure=measure,
)

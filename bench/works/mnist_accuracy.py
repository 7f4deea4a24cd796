"""How well the 784-128-10 network does on MNIST after ten epochs: the mean over seeds."""

import statistics

from harness.process import rounds
from harness.row import best, others, row, rounded
from harness.work import Work
from works import mnist


def measure(bench):
    torch_name, keras_name = mnist.torch_name(bench), mnist.keras_name(bench)
    # The number of the round is the seed.
    accuracies = rounds(
        bench.runs,
        {
            "strata": lambda seed: mnist.ours(bench, seed)[1],
            torch_name: lambda seed: mnist.torch(bench, seed)[1],
            keras_name: lambda seed: mnist.keras(bench, seed)[1],
        },
        bench.say,
    )
    ours = accuracies.pop("strata")
    name = best(accuracies, higher_is_better=True, summary=statistics.mean)
    difference = statistics.mean(ours) - statistics.mean(accuracies[name])
    yield row(
        "mnist-accuracy",
        "test accuracy",
        ours,
        accuracies[name],
        name,
        higher_is_better=True,
        summary=statistics.mean,
        note=f"means over seeds 1 to {bench.runs}; "
        + others(accuracies, name, "test accuracy", summary=statistics.mean),
        difference=rounded(difference),
    )


WORK = Work(
    name="mnist-accuracy",
    summary="784-128-10 on MNIST, 10 epochs: mean test accuracy over seeds, against the better of PyTorch and Keras",
    runs=5,
    packages=mnist.TORCH_PACKAGES + mnist.KERAS_PACKAGES,
    measure=measure,
)

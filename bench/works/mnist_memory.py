"""How much memory the training of the 784-128-10 network on MNIST needs."""

from harness.process import rounds
from harness.row import row
from harness.work import Work
from works import mnist


def measure(bench):
    torch_name = mnist.torch_name(bench)
    peak = rounds(
        bench.runs,
        {
            "strata": lambda _: mnist.ours(bench)[0].peak_mib,
            torch_name: lambda _: mnist.torch(bench)[0].peak_mib,
        },
        bench.say,
    )
    yield row("mnist-memory", "MiB", peak["strata"], peak[torch_name], torch_name)


WORK = Work(
    name="mnist-memory",
    summary="784-128-10 on MNIST, 10 epochs: peak resident memory of the process, against PyTorch",
    runs=3,
    packages=mnist.TORCH_PACKAGES,
    measure=measure,
)

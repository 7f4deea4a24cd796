"""How long it takes to train the 784-128-10 network on MNIST, from the start of the process to its end."""

from harness.process import rounds
from harness.row import row
from harness.work import Work
from works import mnist


def measure(bench):
    torch_name, keras_name = mnist.torch_name(bench), mnist.keras_name(bench)
    seconds = rounds(
        bench.runs,
        {
            "strata": lambda _: mnist.ours(bench)[0].seconds,
            torch_name: lambda _: mnist.torch(bench)[0].seconds,
            keras_name: lambda _: mnist.keras(bench)[0].seconds,
        },
        bench.say,
    )
    for name in (torch_name, keras_name):
        yield row("mnist-train", "s", seconds["strata"], seconds[name], name)


WORK = Work(
    name="mnist-train",
    summary="784-128-10 on MNIST, 10 epochs: seconds of the whole process, against PyTorch and Keras",
    runs=3,
    packages=mnist.TORCH_PACKAGES + mnist.KERAS_PACKAGES,
    measure=measure,
)

"""The 784-128-10 network on MNIST, ten epochs: one whole training process of each side, for the works that need it."""

import tempfile
from pathlib import Path

from harness import environment, process
from harness.errors import BenchError

# Below this a training of ten epochs went wrong, and its time means nothing.
LEAST_ACCURACY = 0.96

TORCH_PACKAGES = ("numpy", "torch")
KERAS_PACKAGES = ("keras", "numpy", "tensorflow-cpu")


def ours(bench, seed=None):
    """One training by `strata train`: the finished process and its test accuracy."""
    env = bench.env | {"STRATA_DATA": str(environment.mnist().parent)}
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        command = [bench.strata, "train", bench.recipe("mnist-mlp"), "--run", Path(folder, "run")]
        command += ["--no-package", "--quiet", "--json"]
        if seed is not None:
            command += ["--set", f"seed={seed}"]
        finished = process.run(command, env=env, cwd=folder)
    metrics = finished.last_json().get("metrics", {})
    return finished, _checked(metrics.get("test.accuracy"), "strata")


def torch(bench, seed=0):
    """The same in PyTorch."""
    return _peer(bench, "mnist_torch.py", seed)


def keras(bench, seed=0):
    """The same in Keras."""
    return _peer(bench, "mnist_keras.py", seed)


def torch_name(bench):
    """PyTorch with the version and the kind of its build; loads it once, so that the first timing is not a cold one."""
    program = "import torch; print(torch.__version__)"
    return f"PyTorch {process.run([bench.python, '-c', program]).stdout.strip()}"


def keras_name(bench):
    """Keras and TensorFlow with their versions; loads them once, as for PyTorch."""
    program = "import tensorflow as tf; print(tf.keras.__version__, tf.__version__)"
    keras_version, version = process.run([bench.python, "-c", program]).stdout.split()
    return f"Keras {keras_version} on TensorFlow {version}"


def _peer(bench, program, seed):
    finished = process.run(bench.peer(program, environment.mnist(), "--seed", seed))
    return finished, _checked(finished.last_json().get("accuracy"), program)


def _checked(accuracy, program):
    if not isinstance(accuracy, float):
        raise BenchError(f"{program} did not say its test accuracy")
    if not LEAST_ACCURACY <= accuracy <= 1:
        raise BenchError(f"{program} reached a test accuracy of {accuracy}: not the same work")
    return accuracy

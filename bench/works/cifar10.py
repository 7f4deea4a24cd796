"""Trainings on CIFAR-10: the data, one training by `strata train`, a comparison by `strata compare`, PyTorch's program."""

import io
import json
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import environment, process
from harness.errors import BenchError
from works import engine
from works.mnist import torch_name

TORCH_PACKAGES = ("numpy", "torch", "torchvision")
# A tenth of the training rows, 5,000, is held back on both sides: the published test rows may not all be there.
HELD = "data.validation={ fraction = 0.1 }"
# Rows of each file of the archive with --quick.
QUICK_ROWS = 400
ROW_BYTES = 3073


@dataclass(frozen=True)
class Data:
    """Where the rows lie, and a folder for what a work makes of them."""

    folder: Path
    archive: Path
    env: dict
    """The environment in which `strata` finds them."""


@dataclass(frozen=True)
class Trained:
    """What a training of ours left."""

    process_seconds: float
    seconds: float
    """Of learning and evaluation."""
    epochs: list
    """Seconds of each epoch, the evaluation of its end included."""
    test: float
    held: float | None
    """Accuracy on the held rows."""
    memory: dict
    """The most MiB that a step needed, by the highest of the levels that learned together."""


@contextmanager
def data(bench, quick_rows=QUICK_ROWS):
    """The rows, for as long as a work lasts; with --quick only the first of each file. MNIST is beside them."""
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        folder = Path(folder)
        archive = environment.cifar10()
        if bench.quick:
            archive = _first_rows(archive, folder / "data" / "cifar10", quick_rows)
            (folder / "data" / "mnist").symlink_to(environment.mnist())
        places = {
            "STRATA_DATA": str(archive.parent.parent),
            "STRATA_IDENTITY": str(folder / "identity"),
        }
        yield Data(folder, archive, bench.env | places)


def _first_rows(archive, folder, rows):
    """An archive with so many rows of each file."""
    folder.mkdir(parents=True)
    with tarfile.open(archive) as whole, tarfile.open(folder / archive.name, "w:gz", compresslevel=1) as part:
        for member in filter(tarfile.TarInfo.isfile, whole):
            size = rows * ROW_BYTES if member.name.endswith(".bin") else -1
            content = whole.extractfile(member).read(size)
            member.size = len(content)
            part.addfile(member, io.BytesIO(content))
    return folder / archive.name


def test_rows(archive):
    """The test rows: for each its class, and its pixels as [height, width, channels]."""
    with tarfile.open(archive) as whole:
        member = next(member for member in whole if member.name.endswith("test_batch.bin"))
        content = whole.extractfile(member).read()
    rows = [content[at : at + ROW_BYTES] for at in range(0, len(content), ROW_BYTES)]
    # Planes of red, green and blue become pixels.
    return [(row[0], b"".join(map(bytes, zip(row[1:1025], row[1025:2049], row[2049:])))) for row in rows]


def train(bench, data, recipe, *settings, run=None, store=None):
    """One training by `strata train`, packaged where there is a store."""
    with tempfile.TemporaryDirectory(dir=data.folder) as folder:
        run = run or Path(folder, "run")
        command = [bench.strata, "train", recipe, "--run", run, "--quiet", "--json"]
        command += ["--store", store] if store else ["--no-package"]
        for setting in settings:
            command += ["--set", setting]
        finished = process.run(command, env=data.env, cwd=data.folder)
        result = json.loads((run / "result.json").read_text())
        events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return Trained(
        process_seconds=finished.seconds,
        seconds=result["seconds"],
        epochs=[event["seconds"] for event in events if event["event"] == "epoch"],
        test=result["test"]["accuracy"],
        held=(result.get("validation") or {}).get("accuracy"),
        memory={each["levels"][-1]: each["bytes"] / (1 << 20) for each in result["memory"]},
    )


def torch_modes(bench, data, network, epochs, precisions=engine.PRECISIONS, layouts=("", "channels-last")):
    """PyTorch in its modes; each measures a training and gives what the program found.

    Round 0 is a trial on a few steps.
    """

    def measure(mode, number):
        most = ["--steps", 3] if number == 0 else []
        options = ["--network", network, "--epochs", epochs, "--seed", number, *mode, *most]
        command = bench.peer("cifar10_torch.py", data.archive, *options)
        found = process.run(command, env=engine.peer_env(bench)).last_json()
        if not found["losses"][0] < 100:
            raise BenchError(f"PyTorch's loss began at {found['losses'][0]}")
        return found

    modes = engine.torch_modes(torch_name(bench), measure, layouts=layouts)
    return [mode for mode in modes if mode.precision in precisions]


def torch_mode(bench, data, network, epochs, name):
    """The mode of that name."""
    modes = torch_modes(bench, data, network, epochs)
    return next(mode for mode in modes if mode.name == name)

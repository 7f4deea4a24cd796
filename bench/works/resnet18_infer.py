"""How long ResNet-18 takes to answer for one image and for eight of 224x224."""

import tempfile
from functools import partial
from pathlib import Path

from harness import environment, process
from harness.modes import Mode, compare
from harness.work import Work
from works import engine

PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino", "torch", "torchvision")
PARAMETERS = 11_689_512

# Programs of the peer by package, with the precisions that they have.
PROGRAMS = (
    ("onnxruntime", "ONNX Runtime", "", ["f32"]),
    ("openvino", "OpenVINO", "", ["f32", "bf16"]),
    ("torch", "PyTorch", " channels-last", ["f32", "bf16"]),
    ("torch-compiled", "PyTorch", " channels-last compiled", ["f32", "bf16"]),
)


def measure(precision, bench):
    isa = engine.isa(bench)
    for batch in (1, 8):
        with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
            model = Path(folder, "resnet18.onnx")
            process.run(bench.peer("resnet18_export.py", model, batch))
            modes, left_out = peers(bench, model, batch, precision)
            name = f"resnet18-infer-{precision}"
            sides = ({precision: partial(ours, bench, batch, precision)}, modes)
            yield from compare(bench, name, "ms", *sides, left_out, isa=isa, batch=batch)


def ours(bench, batch, precision, _):
    options = ("--network", "resnet18", "--size", 224, "--batch", batch, "--precision", precision)
    _, found = engine.ours(bench, "infer", *options, *counts(bench, batch))
    return engine.median_ms(engine.same_network(found, PARAMETERS))


def peers(bench, model, batch, precision):
    """Those that answer in `precision`, or in more bits; and who cannot be tried, with the reason."""
    versions = environment.installed_versions(bench.python, PACKAGES)
    modes, left_out = [], []
    for program, name, words, precisions in PROGRAMS:
        full_name = f"{name} {versions[program.partition('-')[0]]}"
        # Its f32 kernels are AVX-512's at most.
        if program == "onnxruntime" and bench.isa not in (None, "avx512"):
            left_out.append(f"{full_name}: cannot be limited to {bench.isa}")
            continue
        for own in precisions:
            if own == "bf16" and precision == "f32":
                continue
            options = (program, model, "--batch", batch, "--precision", own)
            modes.append(
                Mode(f"{full_name}, {own}{words}", own, partial(peer, bench, batch, options))
            )
    return modes, left_out


def peer(bench, batch, options, _):
    _, found = engine.peer(bench, "resnet18_infer.py", *options, *counts(bench, batch))
    return engine.median_ms(found)


def counts(bench, batch):
    runs = 5 if bench.quick else 60 // batch + 15
    return ("--runs", runs, "--warm-up", 3 if bench.quick else 10)


WORKS = [
    Work(
        name=f"resnet18-infer-{precision}",
        summary=f"ResNet-18, 3x224x224, one image and eight, ours in {precision}: one answer, against {against}",
        runs=5,
        packages=PACKAGES,
        measure=partial(measure, precision),
    )
    for precision, against in (
        ("bf16", "OpenVINO and PyTorch in bf16, and all in f32"),
        ("f32", "ONNX Runtime, OpenVINO and PyTorch in f32"),
    )
]

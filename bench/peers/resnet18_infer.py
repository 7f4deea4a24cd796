"""Answers of ResNet-18 at 224x224, one mode a process: ONNX Runtime, OpenVINO or PyTorch, in f32 or bf16.

All use as many threads as the process may use cores, and are told that what counts is the time of a single call.
"""

import argparse
import json
import os
import time

import numpy as np


def threads():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def onnxruntime_session(model, images, precision):
    import onnxruntime

    if precision != "f32":
        raise SystemExit("ONNX Runtime has no bf16 on CPUs")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": images})[0]


def openvino_request(model, images, precision):
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads(),
    }
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    return lambda: request.infer({"image": images}, share_inputs=True, share_outputs=True)["logits"]


def torch_network(compiled):
    """PyTorch in its best layout; `compiled` with batch norm folded and weights packed."""

    def start(_, images, precision):
        # Read when torch is imported.
        os.environ["TORCHINDUCTOR_FREEZING"] = "1"
        import torch
        import torchvision

        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
        network = torchvision.models.resnet18().eval()
        network = network.to(dtype, memory_format=torch.channels_last)
        images = torch.from_numpy(images).to(memory_format=torch.channels_last)
        if compiled:
            network = torch.compile(network, dynamic=False)

        @torch.no_grad()
        def run():
            return network(images.to(dtype)).float().numpy()

        return run

    return start


PROGRAMS = {
    "onnxruntime": onnxruntime_session,
    "openvino": openvino_request,
    "torch": torch_network(compiled=False),
    "torch-compiled": torch_network(compiled=True),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument(
        "model", help="what resnet18_export.py wrote for this batch; PyTorch has its own"
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--warm-up", type=int, default=10)
    arguments = parser.parse_args()

    images = np.random.default_rng(0).standard_normal(
        (arguments.batch, 3, 224, 224), dtype=np.float32
    )
    run = PROGRAMS[arguments.program](arguments.model, images, arguments.precision)
    seconds = []
    for _ in range(arguments.warm_up + arguments.runs):
        started = time.perf_counter()
        logits = run()
        seconds.append(time.perf_counter() - started)
    if logits.shape != (arguments.batch, 1000) or not np.isfinite(logits).all():
        raise SystemExit(f"expected {arguments.batch} rows of 1000 logits, found {logits}")
    print(json.dumps({"seconds": seconds[arguments.warm_up :]}))


main()

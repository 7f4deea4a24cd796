"""Training steps of torchvision's ResNet-18 in PyTorch, one mode a process: random images, SGD, default threads."""

import argparse
import json
import resource
import sys
import time

import torch
import torchvision
from torch import nn


def network(stem, classes):
    network = torchvision.models.resnet18(num_classes=classes)
    if stem == "cifar":
        network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        network.maxpool = nn.Identity()
    return network


def train(arguments):
    """Seconds of each step, and the losses before each."""
    model = network(arguments.stem, arguments.classes)
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size)
    labels = torch.randint(0, arguments.classes, (arguments.batch,))
    if arguments.channels_last:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    # The fused step is the faster one for weights in the default layout, the slower one for channels-last.
    fused = not arguments.channels_last
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, fused=fused)
    cross_entropy = nn.CrossEntropyLoss()
    bf16 = arguments.precision == "bf16"

    def loss_of(images, labels):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            return cross_entropy(model(images), labels)

    if arguments.compile:
        loss_of = torch.compile(loss_of, dynamic=False)
    seconds, losses = [], []
    for _ in range(arguments.warm_up + arguments.steps):
        started = time.perf_counter()
        optimizer.zero_grad()
        loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
        losses.append(loss.item())
    return seconds[arguments.warm_up :], losses, sum(p.numel() for p in model.parameters())


def peak_mib():
    # Kibibytes on Linux, bytes on macOS.
    units_per_mib = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_per_mib


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stem", choices=["imagenet", "cifar"], default="imagenet")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=3)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    seconds, losses, parameters = train(arguments)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "losses": [losses[0], losses[-1]],
                "parameters": parameters,
                "peak_mib": peak_mib(),
                "instructions": torch.backends.cpu.get_cpu_capability(),
            }
        )
    )


main()

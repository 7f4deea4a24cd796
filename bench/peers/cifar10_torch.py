"""Trainings on CIFAR-10 in PyTorch, one mode a process, default threads.

`strong` is the recipe `cifar10-strong` (its first layer has random weights: which they are does not change the time), `source`
the recipe `cifar10-resnet18`. All rows are in memory and batches are taken by index, without a DataLoader. A tenth of the
training rows is held back and answered after each epoch.
"""

import argparse
import json
import tarfile
import time

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
STD = torch.tensor([0.247, 0.2435, 0.2616]).view(1, 3, 1, 1)
SHIFT = 2


def load(archive):
    """Prepared images and labels of the training and of the test part."""
    train, test = [], []
    with tarfile.open(archive) as files:
        for member in files:
            if member.name.endswith(".bin"):
                rows = np.frombuffer(files.extractfile(member).read(), np.uint8).reshape(-1, 3073)
                (test if "test" in member.name else train).append(rows)
    return [prepared(np.concatenate(parts)) for parts in (train, test)]


def prepared(rows):
    images = torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32))
    return (images / 255 - MEAN) / STD, torch.from_numpy(rows[:, 0].astype(np.int64))


class Scale(nn.Module):
    def forward(self, x):
        return x / 9


def strong():
    def conv(inputs, outputs):
        return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)

    def norm(channels):
        return nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)

    layers = [nn.Conv2d(3, 24, 2).requires_grad_(False), nn.GELU()]
    inputs = 24
    for width in (64, 256, 256):
        layers += [conv(inputs, width), nn.MaxPool2d(2), norm(width), nn.GELU()]
        layers += [conv(width, width), norm(width), nn.GELU()]
        inputs = width
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(inputs, 10, bias=False), Scale())


def augmented(images):
    """Some mirrored, all moved by up to two pixels, the margin reflected."""
    count = len(images)
    padded = F.pad(images, (SHIFT,) * 4, mode="reflect")
    down, right = torch.randint(0, 2 * SHIFT + 1, (2, count, 1)) + torch.arange(32)
    row = torch.arange(count)[:, None, None]
    moved = padded[row, :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)
    is_mirrored = torch.rand(count)[:, None, None, None] < 0.5
    return torch.where(is_mirrored, moved.flip(-1), moved)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", help="cifar-10-binary.tar.gz")
    parser.add_argument("--network", choices=["strong", "source"], required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--steps", type=int, help="stop after so many: a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    (images, labels), test = load(arguments.archive)
    order = torch.randperm(len(images))
    held, learned = order[: len(images) // 10], order[len(images) // 10 :]
    layout = torch.channels_last if arguments.channels_last else torch.contiguous_format
    if arguments.network == "strong":
        model, batch, smoothing = strong(), 1024, 0.2
        rate = dict(lr=1.5, momentum=0.85, nesterov=True, weight_decay=1.33e-3)
    else:
        model, batch, smoothing = torchvision.models.resnet18(num_classes=10), 100, 0.0
        rate = dict(lr=0.001, momentum=0.9)
    model = model.to(memory_format=layout)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    # The fused step is the faster one for weights in the default layout, the slower one for channels-last.
    optimizer = torch.optim.SGD(weights, fused=not arguments.channels_last, **rate)
    cross_entropy = nn.CrossEntropyLoss(label_smoothing=smoothing)
    bf16 = arguments.precision == "bf16"
    slow = [weight.detach().clone() for weight in weights]
    taken = 0

    def loss_of(images, labels):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            return cross_entropy(model(images), labels)

    if arguments.compile:
        loss_of = torch.compile(loss_of, dynamic=False)

    def lookahead():
        # How much is held grows over a training; its cost does not.
        nonlocal taken
        taken += 1
        if taken % 5 == 0:
            with torch.no_grad():
                for held, weight in zip(slow, weights):
                    weight.copy_(held.lerp_(weight, 0.9))

    def step(rows):
        chosen = images[rows]
        if arguments.network == "strong":
            chosen = augmented(chosen)
        optimizer.zero_grad()
        loss = loss_of(chosen.contiguous(memory_format=layout), labels[rows])
        loss.backward()
        optimizer.step()
        if arguments.network == "strong":
            lookahead()
        return loss.item()

    def accuracy(images, labels):
        model.eval()
        right = 0
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            for rows in torch.arange(len(images)).split(500):
                asked = images[rows].contiguous(memory_format=layout)
                answers = model(asked)
                if arguments.network == "strong":
                    answers = answers.softmax(1) + model(asked.flip(-1)).softmax(1)
                right += (answers.argmax(1) == labels[rows]).sum().item()
        model.train()
        return right / len(images)

    # What only the first step of a size needs, such as a compiler, is over then.
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for size in {batch, len(learned) % batch} - {0}:
        step(learned[:size])
    model.load_state_dict(state)
    optimizer.state.clear()

    seconds, losses, held_accuracy = [], [], None
    for _ in range(arguments.epochs):
        started = time.perf_counter()
        epoch = learned[torch.randperm(len(learned))].split(batch)
        for rows in epoch[: arguments.steps]:
            losses.append(step(rows))
        held_accuracy = accuracy(images[held], labels[held])
        seconds.append(time.perf_counter() - started)
    print(
        json.dumps(
            {
                "epochs": seconds,
                "seconds": sum(seconds),
                "losses": [losses[0], losses[-1]],
                "held": held_accuracy,
                "test": accuracy(*test),
                "parameters": sum(weight.numel() for weight in model.parameters()),
            }
        )
    )


main()

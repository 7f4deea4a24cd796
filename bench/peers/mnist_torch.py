"""The recipe `mnist-mlp` in PyTorch: 784-128-10, Adam, batches of 128, ten epochs, default threads.

All rows are in memory and batches are taken by index, without a DataLoader: the fastest plain way to write it.
"""

import argparse
import json
import time

started = time.perf_counter()

import mnist_data
import numpy as np
import torch
from torch import nn

EPOCHS = 10
BATCH = 128


def load(folder, name):
    images = torch.from_numpy(mnist_data.images(folder, name, np.float32))
    labels = torch.from_numpy(mnist_data.labels(folder, name).astype(np.int64))
    return images, labels


def train(network, images, labels):
    optimizer = torch.optim.Adam(network.parameters())
    loss = nn.CrossEntropyLoss()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss(network(images[rows]), labels[rows]).backward()
            optimizer.step()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="folder with the four IDX files")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    train_images, train_labels = load(arguments.folder, "train")
    test_images, test_labels = load(arguments.folder, "t10k")
    torch.manual_seed(arguments.seed)
    loaded = time.perf_counter()

    network = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    train(network, train_images, train_labels)
    trained = time.perf_counter()

    right = network(test_images).argmax(1) == test_labels
    print(
        json.dumps(
            {
                "accuracy": right.double().mean().item(),
                "load_seconds": loaded - started,
                "train_seconds": trained - loaded,
            }
        )
    )


main()

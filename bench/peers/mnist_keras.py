"""The recipe `mnist-mlp` in Keras on TensorFlow, the classic program: 784-128-10, Adam, batches of 128, ten epochs."""

import argparse
import json
import os
import time

started = time.perf_counter()
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import mnist_data
import numpy as np
from tensorflow import keras

EPOCHS = 10
BATCH = 128


def load(folder, name):
    # Dividing by a Python float gives float64, as in the classic program; Keras casts when it trains.
    return mnist_data.images(folder, name, np.float64), mnist_data.labels(folder, name)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="folder with the four IDX files")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    train_images, train_labels = load(arguments.folder, "train")
    test_images, test_labels = load(arguments.folder, "t10k")
    keras.utils.set_random_seed(arguments.seed)
    loaded = time.perf_counter()

    network = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(train_images, train_labels, epochs=EPOCHS, batch_size=BATCH, verbose=0)
    trained = time.perf_counter()

    _, accuracy = network.evaluate(test_images, test_labels, verbose=0)
    print(
        json.dumps(
            {
                "accuracy": float(accuracy),
                "load_seconds": loaded - started,
                "train_seconds": trained - loaded,
            }
        )
    )


main()

"""MNIST from its four IDX files, as flat images from 0 to 1 and labels."""

import gzip
from pathlib import Path

import numpy as np


def images(folder, name, dtype):
    """Images as [rows, 784]."""
    # The header is a magic number and three sizes of four bytes each.
    pixels = _bytes(Path(folder, f"{name}-images-idx3-ubyte.gz"), header=16)
    return pixels.reshape(-1, 784) / dtype(255)


def labels(folder, name):
    """Labels as [rows]."""
    return _bytes(Path(folder, f"{name}-labels-idx1-ubyte.gz"), header=8)


def _bytes(path, header):
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)

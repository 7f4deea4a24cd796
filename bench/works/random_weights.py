"""Weights that nobody learned, as safetensors files that `strata import` takes: for works in which only time counts."""

import json
import math
import random
from array import array

# Random numbers that a tensor repeats as often as it needs to; a prime, so that no two of its rows are the same.
BANK = 65_537


def resnet18(classes):
    """Shapes of torchvision's ResNet-18 by their names."""
    found = {"conv1.weight": (64, 3, 7, 7)} | _normalization("bn1", 64)
    inputs = 64
    for stage, outputs in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            at = f"layer{stage}.{block}"
            found[f"{at}.conv1.weight"] = (outputs, inputs, 3, 3)
            found[f"{at}.conv2.weight"] = (outputs, outputs, 3, 3)
            found |= _normalization(f"{at}.bn1", outputs) | _normalization(f"{at}.bn2", outputs)
            if inputs != outputs:
                found[f"{at}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                found |= _normalization(f"{at}.downsample.1", outputs)
            inputs = outputs
    return found | {"fc.weight": (classes, 512), "fc.bias": (classes,)}


def written(shapes, path):
    """Writes a file with a tensor of each shape, kernels by He's initialization; its path."""
    chosen = random.Random(1)
    bank = [chosen.uniform(-1, 1) for _ in range(BANK)]
    head, parts, end = {}, [], 0
    for name, shape in shapes.items():
        part = _numbers(name, shape, bank)
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + len(part)]}
        end += len(part)
        parts.append(part)
    # Blanks may follow it, so that the numbers lie where a program may map them.
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.writelines([len(text).to_bytes(8, "little"), text, *parts])
    return path


def _normalization(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def _numbers(name, shape, bank):
    count = math.prod(shape)
    if len(shape) == 1:
        one = name.endswith((".weight", ".running_var"))
        return array("f", [float(one)] * count).tobytes()
    most = math.sqrt(6 / math.prod(shape[1:]))
    repeated = array("f", [number * most for number in bank]).tobytes() * (count // BANK + 1)
    return repeated[: 4 * count]

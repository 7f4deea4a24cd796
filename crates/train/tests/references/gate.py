"""Prints the figures that src/gate is checked against. Needs NumPy and scikit-learn."""

import numpy as np
from sklearn.metrics import accuracy_score

targets = np.array([row * 5 % 4 for row in range(60)])


def logits(salt, right):
    rows = [
        [(row * 29 + c * 13 + salt * 7) % 11 / 5 + right * (targets[row] == c) for c in range(4)]
        for row in range(60)
    ]
    return np.array(rows, np.float32).astype(np.float64)


def calibration_error(logits, bins=15):
    """Guo et al. 2017, equation 5, with bins (low, high]."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    confidence, right = p.max(1), p.argmax(1) == targets
    edges = np.linspace(0, 1, bins + 1)
    error = 0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return error


old, new = logits(1, 0.9), logits(2, 0.7)
was_right, now_right = (side.argmax(1) == targets for side in (old, new))
print("OLD_ACCURACY", accuracy_score(targets, old.argmax(1)))
print("NEW_ACCURACY", accuracy_score(targets, new.argmax(1)))
print("FLIPS", (was_right & ~now_right).mean())
print("OLD_ECE", calibration_error(old))
print("NEW_ECE", calibration_error(new))
print("STD", np.std([0, 1, 10, 20, 0.5, -1, 15, 12]), np.mean([0, 1, 10, 20, 0.5, -1, 15, 12]))

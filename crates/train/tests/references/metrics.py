"""Prints the metrics that src/metrics.rs is checked against. Needs NumPy and scikit-learn."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, log_loss, top_k_accuracy_score

targets = np.array([row * 7 % 6 for row in range(40)])
logits = np.array(
    [[(row * 31 + c * 17) % 13 / 6 + (1.5 if row % 3 else -3.0) * (targets[row] == c) for c in range(6)] for row in range(40)], np.float32
).astype(np.float64)
p = np.exp(logits - logits.max(1, keepdims=True))
p /= p.sum(1, keepdims=True)
predicted = p.argmax(1)
confidence = p.max(1)
edges = np.linspace(0, 1, 16)
error = 0
for low, high in zip(edges[:-1], edges[1:]):
    inside = (confidence > low) & (confidence <= high)
    if inside.any():
        error += inside.mean() * abs(confidence[inside].mean() - (predicted == targets)[inside].mean())
print("LOSS", log_loss(targets, p))
print("ACCURACY", accuracy_score(targets, predicted))
print("TOP_5", top_k_accuracy_score(targets, p, k=5))
print("MACRO_F1", f1_score(targets, predicted, average="macro"))
print("CALIBRATION_ERROR", error)

"""Prints the attributions that src/integrated_gradients.rs is checked against. Needs PyTorch and Captum."""

import torch
from captum.attr import IntegratedGradients


def tensor(salt, *shape):
    count = torch.Size(shape).numel()
    return torch.tensor([(i * 7 + salt * 3) % 11 / 5 - 1 for i in range(count)]).reshape(shape)


hidden, top = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)
with torch.no_grad():
    hidden.weight.copy_(tensor(0, 3, 4))
    hidden.bias.copy_(tensor(1, 3))
    top.weight.copy_(tensor(2, 2, 3))
    top.bias.copy_(tensor(3, 2))
network = torch.nn.Sequential(hidden, torch.nn.ReLU(), top).double()
row = torch.tensor([[0.9, -0.4, 1.5, 0.3]], dtype=torch.float64)
method = IntegratedGradients(network)
for name, pixel in [("Black", 0.0), ("White", 1.0), ("Grey", 0.5)]:
    for target in (0, 1):
        baseline = torch.full_like(row, (pixel - 0.25) / 0.5)
        values = method.attribute(row, baseline, target=target, n_steps=50, method="gausslegendre")[0]
        print(f"check(Baseline::{name}, {target}, {[round(v, 9) for v in values.tolist()]});")

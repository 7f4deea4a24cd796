"""Prints the learning-rate factors that src/schedule.rs is checked against. Needs PyTorch."""

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR


def factors(make, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = make(optimizer)
    values = []
    for step in range(steps):
        values.append(round(optimizer.param_groups[0]["lr"], 10))
        optimizer.step()
        if step + 1 < steps:
            schedule.step()
    return values


print("step", factors(lambda o: StepLR(o, step_size=2, gamma=0.1), 6))
print("cosine", factors(lambda o: CosineAnnealingLR(o, T_max=4, eta_min=0.4), 4))
print("one-cycle", factors(lambda o: OneCycleLR(o, max_lr=1.0, total_steps=10, pct_start=0.3), 10))

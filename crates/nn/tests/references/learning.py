"""Prints the weights after five steps that tests/learning.rs is checked against. Needs PyTorch."""

import torch


def tensor(salt, *shape):
    count = torch.Size(shape).numel()
    return torch.tensor([(i * 7 + salt * 3) % 11 / 9.7 - 0.47 for i in range(count)], dtype=torch.float64).reshape(shape)


def network():
    hidden, top = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)
    model = torch.nn.Sequential(hidden, torch.nn.ReLU(), top).double()
    with torch.no_grad():
        hidden.weight.copy_(tensor(0, 3, 4))
        hidden.bias.copy_(tensor(1, 3))
        top.weight.copy_(tensor(2, 2, 3))
        top.bias.copy_(tensor(3, 2))
    return model


def check(name, make, clip=None, value=None):
    model = network()
    optimizer = make(model.parameters())
    rows, targets = tensor(5, 6, 4), torch.tensor([0, 1, 1, 0, 1, 0])
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(rows), targets)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        if value:
            torch.nn.utils.clip_grad_value_(model.parameters(), value)
        optimizer.step()
        losses.append(loss.item())
    weights = [v for p in (model[0].weight, model[0].bias, model[2].weight, model[2].bias) for v in p.flatten().tolist()]
    print(f"{name}:", [round(v, 8) for v in [losses[-1]] + weights])


check("sgd", lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.9, nesterov=True, weight_decay=0.01))
check("sgd plain, clipped by norm", lambda p: torch.optim.SGD(p, lr=0.5), clip=0.1)
check("sgd with momentum, clipped by value", lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.5), value=0.02)
check("adam", lambda p: torch.optim.Adam(p, lr=0.05, eps=1e-7))
check("adamw", lambda p: torch.optim.AdamW(p, lr=0.05, eps=1e-7, weight_decay=0.1))

"""Prints what tests/convolutional.rs is checked against. Needs PyTorch and torchvision."""

import numpy
import torch
import torchvision


def numbers(salt, *shape, scale=1.0, middle=0.0):
    """The same numbers as in the test: uniform in middle -+ scale / 2."""
    index = numpy.arange(torch.Size(shape).numel(), dtype=numpy.uint64)
    bits = (index * 2654435761 + salt * 40503 + 12345) % 2**32
    bits = (bits ^ (bits >> 15)) * 2246822519 % 2**32
    values = (bits / 2**32 - 0.5) * scale + middle
    return torch.from_numpy(values.astype(numpy.float32)).reshape(shape)


def fill(model):
    """Sets every tensor, in the order in which the layers stand, by its name and shape."""
    salt = 0
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            values = numbers(salt, *tensor.shape, scale=1.0, middle=1.0)
        elif tensor.dim() == 1 and name.endswith("weight"):
            values = numbers(salt, *tensor.shape, scale=0.5, middle=1.0)
        elif tensor.dim() == 1:
            values = numbers(salt, *tensor.shape, scale=0.5)
        else:
            inputs = tensor[0].numel()
            values = numbers(salt, *tensor.shape, scale=(24 / inputs) ** 0.5)
        tensor.copy_(values)
        salt += 1
    model.load_state_dict(state)
    return model


class Block(torch.nn.Module):
    def __init__(self, below, channels, stride):
        super().__init__()
        conv = torch.nn.Conv2d
        norm = torch.nn.BatchNorm2d
        self.layers = torch.nn.Sequential(
            conv(below, channels, 3, stride, 1, bias=False), norm(channels), torch.nn.ReLU(),
            conv(channels, channels, 3, 1, 1, bias=False), norm(channels),
        )
        self.shortcut = torch.nn.Sequential()
        if stride != 1 or below != channels:
            self.shortcut = torch.nn.Sequential(conv(below, channels, 1, stride, bias=False), norm(channels))

    def forward(self, x):
        return torch.relu(self.layers(x) + self.shortcut(x))


def small():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, (3, 5), 1, (1, 2), groups=3), torch.nn.BatchNorm2d(6), torch.nn.ReLU(),
        torch.nn.MaxPool2d(3, 2, 1), Block(6, 6, 1), Block(6, 8, 2),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 3),
    )


def of(tensor):
    """Two numbers that say what is in a tensor: its sum, and a sum in which places count differently."""
    values = tensor.detach().double().flatten()
    weights = torch.arange(values.numel()) % 7 - 3
    return f"({values.sum().item():.6f}, {(values * weights).sum().item():.6f})"


torch.manual_seed(0)
model = fill(small()).double().train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
rows, targets = numbers(100, 4, 3, 9, 8, scale=2.0).double(), torch.tensor([0, 2, 1, 2])
print("// A small residual network: two steps.")
for _ in range(2):
    optimizer.zero_grad()
    logits = model(rows)
    loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()
    optimizer.step()
    print("loss", f"{loss.item():.7f}")
for name, tensor in model.state_dict().items():
    if not name.endswith("num_batches_tracked"):
        print(f"// {name}\n{of(tensor)},")
model.eval()
rows.requires_grad_()
logits = model(rows)
print("logits", [round(v, 6) for v in logits.flatten().tolist()])
logits[:, 1].sum().backward()
print("input gradient", of(rows.grad))

print("// torchvision's ResNet-18.")
model = fill(torchvision.models.resnet18(num_classes=10)).eval()
with torch.no_grad():
    print([round(v, 5) for v in model(numbers(100, 2, 3, 32, 32, scale=2.0)).flatten().tolist()])

"""Networks by name as torchvision (or their authors) define them, for tests/networks.rs. Needs PyTorch and torchvision.

    networks.py NAME FILE     writes a safetensors file: seeded random weights and running statistics under the published
                              keys, rows (`input`) and what each head gives (`logits`, `aux1` ...)
    networks.py --closed      prints references/networks.json: logits for weights that follow from a formula
"""

import json
import struct
import sys
import warnings

import numpy
import torch
import torchvision.models as published
from torch import nn

warnings.filterwarnings("ignore", category=FutureWarning)

CLASSES = 10


class SmallBlock(nn.Module):
    """A block of the residual networks for 32x32 (He et al. 2015, section 4.2), as in akamaster/pytorch_resnet_cifar10."""

    def __init__(self, below, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(below, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.added = stride, (channels - below) // 2

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, self.added, self.added))
        return torch.relu(y + shortcut)


class SmallResnet(nn.Module):
    def __init__(self, depth):
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[SmallBlock(16, 16, 1) for _ in range(blocks)])
        self.layer2 = nn.Sequential(SmallBlock(16, 32, 2), *[SmallBlock(32, 32, 1) for _ in range(blocks - 1)])
        self.layer3 = nn.Sequential(SmallBlock(32, 64, 2), *[SmallBlock(64, 64, 1) for _ in range(blocks - 1)])
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def torchvisions(name, **settings):
    return getattr(published, name)(weights=None, num_classes=CLASSES, **settings)


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 60), nn.ReLU(), nn.Linear(60, 30), nn.ReLU(), nn.Linear(30, CLASSES))


def first_convolution(channels, bias):
    return nn.Conv2d(3, channels, 3, 1, 1, bias=bias)


def with_small_stem(name):
    """The same network with a first convolution of 3x3 and stride 1, and without the pooling before the first stage."""
    model = torchvisions(name)
    if name.startswith("resnet"):
        model.conv1, model.maxpool = first_convolution(64, False), nn.Identity()
    elif name.startswith("densenet"):
        features = model.features
        features.conv0, features.pool0 = first_convolution(features.conv0.out_channels, False), nn.Identity()
    elif name == "googlenet":
        model.conv1.conv = first_convolution(64, False)
        model.maxpool1 = model.maxpool2 = nn.Identity()
    elif name.startswith("squeezenet"):
        model.features[0] = first_convolution(model.features[0].out_channels, True)
        model.features[2] = nn.Identity()
    elif name == "alexnet":
        model.features[0] = first_convolution(64, True)
        model.avgpool = nn.AdaptiveAvgPool2d((3, 3))
        model.classifier[1] = nn.Linear(256 * 9, 4096)
    return model


def make(name):
    """The network and the shape of its rows."""
    if name == "perceptron":
        return perceptron(), (1, 28, 28)
    if name in ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"):
        return SmallResnet(int(name.removeprefix("resnet"))), (3, 32, 32)
    if name.endswith("-cifar"):
        return with_small_stem(name.removesuffix("-cifar")), (3, 32, 32)
    size = 299 if name == "inception_v3" else 224
    return torchvisions(name), (3, size, size)


def randomize(model, shape):
    """Weights that keep numbers near 1, and running statistics near those of a batch."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(torch.randn(4, *shape))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                deviation = module.running_var.sqrt()
                module.running_mean += 0.3 * deviation * torch.randn_like(deviation)
                module.running_var *= 0.5 + torch.rand_like(deviation)


def heads_below_the_top(model):
    """Keeps what goes into the auxiliary heads, which only networks that learn use."""
    found = {}
    for name in ("aux1", "aux2", "AuxLogits"):
        head = getattr(model, name, None)
        below = {"aux1": "inception4a", "aux2": "inception4d", "AuxLogits": "Mixed_6e"}[name]
        if head is not None:
            keep = lambda _, __, output, name=name, head=head: found.__setitem__(name, head(output))
            getattr(model, below).register_forward_hook(keep)
    return found


def write(path, tensors):
    """A safetensors file: the length of a header, the header, the numbers."""
    header, offset = {}, 0
    for name, tensor in tensors.items():
        size = 4 * tensor.numel()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    header = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for tensor in tensors.values():
            file.write(tensor.detach().contiguous().numpy().tobytes())


def random_network(name, path):
    torch.manual_seed(7)
    model, shape = make(name)
    randomize(model, shape)
    model.eval()
    heads = heads_below_the_top(model)
    rows = torch.randn(2, *shape)
    with torch.no_grad():
        logits = model(rows)
    tensors = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    write(path, {**tensors, **heads, "input": rows, "logits": logits})


def numbers(salt, shape, scale, middle):
    """The same numbers as in the test: uniform in middle -+ scale / 2."""
    index = numpy.arange(torch.Size(shape).numel(), dtype=numpy.uint64)
    bits = (index * 2654435761 + salt * 40503 + 12345) % 2**32
    bits = (bits ^ (bits >> 15)) * 2246822519 % 2**32
    values = (bits / 2**32 - 0.5) * scale + middle
    return torch.from_numpy(values.astype(numpy.float32)).reshape(shape)


def closed(name, shape):
    """Logits where each tensor follows from its shape and the rank of its key."""
    model, _ = make(name)
    state = model.state_dict()
    keys = sorted(key for key in state if not key.endswith("num_batches_tracked"))
    for salt, key in enumerate(keys):
        tensor = state[key]
        scale, middle = 0.5, 0.0
        if key.endswith("running_var"):
            scale, middle = 1.0, 1.0
        elif tensor.dim() == 1 and key.endswith("weight"):
            middle = 1.0
        elif tensor.dim() > 1:
            scale = (24 / tensor[0].numel()) ** 0.5
        tensor.copy_(numbers(salt, tensor.shape, scale, middle))
    model.eval()
    with torch.no_grad():
        return [float(f"{value:.6g}") for value in model(numbers(100, (1, *shape), 2.0, 0.0)).flatten().tolist()]


if sys.argv[1] == "--closed":
    small = (3, 32, 32)
    names = ["resnet20", "squeezenet1_0", "squeezenet1_1", "googlenet", "densenet121"]
    print(json.dumps({name: closed(name, small) for name in names}, indent=1))
else:
    random_network(sys.argv[1], sys.argv[2])

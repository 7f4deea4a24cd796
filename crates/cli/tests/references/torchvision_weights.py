"""Weights between Strata and torchvision; tests/command/weights.rs runs it. Needs PyTorch and torchvision.

python torchvision_weights.py write NETWORK FILE.pth    random weights, as today's torch.save writes them
python torchvision_weights.py check NETWORK FILE.pth FILE.safetensors    the second loads and has the numbers of the first
"""

import json
import sys
from pathlib import Path

import torch
import torchvision


def load_file(path):
    """The tensors of a safetensors file, all F32."""
    content = Path(path).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for key, info in header.items():
        assert info["dtype"] == "F32", info
        begin, end = info["data_offsets"]
        values = torch.frombuffer(bytearray(content[start + begin : start + end]), dtype=torch.float32)
        tensors[key] = values.reshape(info["shape"])
    return tensors


def make(name):
    settings = {"init_weights": False} if name == "googlenet" else {}
    return getattr(torchvision.models, name)(**settings)


action, name, written = sys.argv[1:4]
if action == "write":
    torch.manual_seed(1)
    network = make(name)
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    torch.save(network.state_dict(), written)
else:
    network = make(name)
    network.load_state_dict(load_file(sys.argv[4]))
    expected = torch.load(written)
    found = network.state_dict()
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor) or key.endswith("num_batches_tracked"), key
    print("equal")

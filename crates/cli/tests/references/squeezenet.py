"""Prints what the published SqueezeNet sees on the photographs of the test data. Needs PyTorch and torchvision.

python squeezenet.py $STRATA_DATA
"""

import json
import sys
from pathlib import Path

import torch
from PIL import Image
from torchvision.models import squeezenet1_0
from torchvision.transforms.v2 import functional


def load_file(path):
    """The tensors of a safetensors file, all F32."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for key, info in header.items():
        begin, end = info["data_offsets"]
        values = torch.frombuffer(bytearray(content[start + begin : start + end]), dtype=torch.float32)
        tensors[key] = values.reshape(info["shape"])
    return tensors


data = Path(sys.argv[1])
network = squeezenet1_0()
network.load_state_dict(load_file(data / "models/squeezenet-v1.0/squeezenet1_0_dc.safetensors"))
network.classifier[1].padding = (1, 1)
network.eval()
for name in ["cat_720p", "hot_dog", "owl", "parrot", "zebra"]:
    image = Image.open(data / f"images/{name}.jpg").convert("RGB")
    image = functional.center_crop(functional.resize(image, [256]), [227, 227])
    row = functional.pil_to_tensor(image).float()[[2, 1, 0]] - torch.tensor([104.0, 117, 123]).view(3, 1, 1)
    with torch.no_grad():
        probabilities = network(row[None])[0].softmax(0)
    found = probabilities.topk(3)
    print(name, [(int(i), round(float(p), 4)) for i, p in zip(found.indices, found.values)])

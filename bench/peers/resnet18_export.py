"""Writes torchvision's ResNet-18 as ONNX for a fixed number of images: `resnet18_export.py FILE BATCH`."""

import sys

import torch
import torchvision

file, batch = sys.argv[1], int(sys.argv[2])
torch.manual_seed(0)
torch.onnx.export(
    torchvision.models.resnet18().eval(),
    (torch.randn(batch, 3, 224, 224),),
    file,
    input_names=["image"],
    output_names=["logits"],
    dynamo=False,
)

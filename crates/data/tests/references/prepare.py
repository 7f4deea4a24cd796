"""Prints the first pixels of images that were resized and cut as torchvision's Resize and CenterCrop do it.

Run with Pillow 13.0.0 and torchvision: python prepare.py
"""

from PIL import Image
from torchvision.transforms import v2

for (height, width), shorter, (rows, columns) in [
    ((40, 60), 16, (8, 12)),
    ((60, 40), 16, (13, 9)),
    ((9, 7), 16, (8, 8)),
    ((16, 16), 16, (16, 16)),
    ((33, 47), 33, (10, 11)),
]:
    pixels = bytes(i * 37 % 256 for i in range(height * width))
    image = Image.frombytes("L", (width, height), pixels)
    prepare = v2.Compose([v2.Resize(shorter), v2.CenterCrop((rows, columns))])
    found = list(prepare(image).tobytes()[:12])
    print(f"check([{height}, {width}], {shorter}, [{rows}, {columns}], {found});")

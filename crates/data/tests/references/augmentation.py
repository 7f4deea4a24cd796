"""Prints what torchvision makes of a small image, for the tests of `src/augment`:

    python augmentation.py > augmentation.txt

torch 2.15, torchvision 0.29, Pillow 13.0.0. A line is the name of an operation, its numbers, and the bytes of the
result in hexadecimal digits.
"""

from PIL import Image
from torchvision.transforms import InterpolationMode, RandAugment
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import _apply_op

WIDTH, HEIGHT = 7, 6


def image(channels, width=WIDTH, height=HEIGHT):
    """Colours of all kinds, dark and bright, with a black and a grey pixel."""
    values = [(i * 2654435761 >> 13) % 251 for i in range(width * height * channels)]
    values[:channels] = [0] * channels
    values[channels : 2 * channels] = [90] * channels
    return Image.frombytes("RGB" if channels == 3 else "L", (width, height), bytes(values))


def show(name, numbers, result):
    print(name, *numbers, result.tobytes().hex())


def randaugment(picture, index, magnitude, sign):
    """Operation `index` of RandAugment."""
    space = RandAugment()._augmentation_space(31, (picture.height, picture.width))
    name, (magnitudes, has_sides) = list(space.items())[index]
    sign = sign if has_sides else 1
    strength = float(magnitudes[magnitude]) if magnitudes.ndim > 0 else 0.0
    return _apply_op(picture, name, sign * strength, InterpolationMode.NEAREST, None)


for channels in (1, 3):
    picture = image(channels)
    show("image", [channels], picture)
    show("flip", [channels], F.hflip(picture))
    show("vertical-flip", [channels], F.vflip(picture))
    padded = F.pad(picture, 5, 0, "reflect")
    show("crop-reflect", [channels, 5, 10, 1], F.crop(padded, 10, 1, HEIGHT, WIDTH))
    part = F.resized_crop(picture, 1, 2, 4, 4, [5, 6], InterpolationMode.BILINEAR)
    show("resized-crop", [channels, 1, 2, 4, 4], part)
    show("contrast", [channels, 0.37], F.adjust_contrast(picture, 0.37))
    show("saturation", [channels, 0.37], F.adjust_saturation(picture, 0.37))
    show("hue", [channels, 0.2], F.adjust_hue(picture, 0.2))
    show("rand-augment", [channels, 9, 30, 1], randaugment(picture, 9, 30, 1))

for mode in ("constant", "reflect"):
    padded = F.pad(picture, 3, 0, mode)
    name = "crop-black" if mode == "constant" else "crop-reflect"
    for top, left in ((0, 0), (3, 3), (6, 1), (4, 6)):
        show(name, [3, 3, top, left], F.crop(padded, top, left, HEIGHT, WIDTH))
for top, left, height, width in ((0, 0, 6, 7), (2, 0, 3, 7), (3, 3, 1, 2), (1, 1, 5, 6)):
    part = F.resized_crop(picture, top, left, height, width, [5, 6], InterpolationMode.BILINEAR)
    show("resized-crop", [3, top, left, height, width], part)
for factor in (0.0, 0.37, 1.0, 1.9):
    show("brightness", [3, factor], F.adjust_brightness(picture, factor))
    show("contrast", [3, factor], F.adjust_contrast(picture, factor))
    show("saturation", [3, factor], F.adjust_saturation(picture, factor))
for turn in (-0.5, -0.13, 0.0, 0.41):
    show("hue", [3, turn], F.adjust_hue(picture, turn))
for index in range(13):
    for magnitude, sign in ((0, 1), (9, -1), (30, 1)):
        show("rand-augment", [3, index, magnitude, sign], randaugment(picture, index, magnitude, sign))

# Values become equally frequent only where there are enough pixels.
large = image(1, 18, 17).point(lambda value: value * value // 255)
show("large", [1], large)
show("equalize", [1], randaugment(large, 13, 9, 1))

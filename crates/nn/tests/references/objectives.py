"""One step of a level's objectives with PyTorch: prints the losses and the weights after it for tests/levels.rs.

The level is a convolution of 3 by 3 from 2 to 3 channels and a ReLU; its head is the mean of each map and a dense layer with
3 classes. `predsim` is the loss of Nøkland & Eidnes 2019 (their `LocalLossBlockConv`, with the standard deviation of each
channel's map as features); `infopro` that of Wang et al. 2021 with a squared error.
"""

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def tensor(salt, *shape):
    count = torch.Size(shape).numel()
    values = [((i * 7 + salt * 3) % 11) / 9.7 - 0.47 for i in range(count)]
    return torch.tensor(values).reshape(shape)


def parameter(salt, *shape):
    return tensor(salt, *shape).requires_grad_()


def similarities(rows):
    centred = rows - rows.mean(1, keepdim=True)
    unit = centred / (centred.square().sum(1, keepdim=True) + 1e-8).sqrt()
    return unit @ unit.T


def step(objective):
    images = tensor(5, 4, 2, 4, 4)
    targets = torch.tensor([0, 2, 1, 2])
    body, bias = parameter(0, 3, 2, 3, 3), parameter(1, 3)
    head, head_bias = parameter(2, 3, 3), parameter(3, 3)
    parameters = [body, bias, head, head_bias]
    stride = 2 if objective == "infopro" else 1
    features = F.relu(F.conv2d(images, body, bias, stride=stride, padding=1))
    logits = features.mean((2, 3)) @ head.T + head_bias
    prediction = F.cross_entropy(logits, targets)
    if objective == "predsim":
        side = parameter(4, 3, 3, 3, 3)
        parameters.append(side)
        maps = F.conv2d(features, side, padding=1)
        deviation = (maps.flatten(2).var(2) + 1e-8).sqrt()
        wanted = similarities(F.one_hot(targets, 3).double())
        similarity = (similarities(deviation) - wanted).square().mean()
        loss = 0.01 * prediction + 0.99 * similarity
    else:
        hidden, weight, shift, made = (
            parameter(4, 12, 3, 3, 3),
            parameter(5, 12),
            parameter(6, 12),
            parameter(7, 8, 12, 3, 3),
        )
        made_bias = parameter(8, 8)
        parameters += [hidden, weight, shift, made, made_bias]
        x = F.conv2d(features, hidden, padding=1)
        x = F.relu(F.batch_norm(x, None, None, weight, shift, training=True))
        x = F.conv2d(x, made, made_bias, padding=1)
        wanted = F.pixel_unshuffle(images, 2)
        loss = 0.5 * prediction + 5.0 * (x - wanted).square().mean()
    loss.backward()
    after = [p - 0.5 * p.grad for p in parameters]
    return loss.item(), [p.sum().item() for p in after], [p.square().sum().item() for p in after]


for objective in ["predsim", "infopro"]:
    loss, sums, squares = step(objective)
    print(objective, round(loss, 7))
    print([(round(a, 6), round(b, 6)) for a, b in zip(sums, squares)])

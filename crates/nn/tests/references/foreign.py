"""Writes the files of tests/files that `foreign` is tested with. Needs PyTorch 2; run in the folder tests/references.

The network: a convolution of 2 channels on images of 1x2x2, its normalization, and a dense head of 3 classes.
"""

import torch


def state(dtype=torch.float32):
    """Numbers that each of the formats holds exactly."""

    def tensor(first, *shape):
        count = torch.Size(shape).numel()
        values = torch.arange(first, first + count, dtype=torch.float32) / 4
        return values.reshape(shape).to(dtype)

    return {
        "body.layers.0.weight": tensor(-3, 2, 1, 2, 2),
        "body.layers.0.bias": tensor(5, 2),
        "body.layers.1.weight": tensor(1, 2),
        "body.layers.1.bias": tensor(-1, 2),
        "body.layers.1.running_mean": tensor(2, 2),
        "body.layers.1.running_var": tensor(3, 2),
        "body.layers.1.num_batches_tracked": torch.tensor(7),
        # Stored the other way round: a view with strides.
        "top.head.0.weight": tensor(-2, 2, 3).t(),
        "top.head.0.bias": tensor(0, 3),
    }


def save(name, content, legacy=False):
    torch.save(content, f"../files/{name}", _use_new_zipfile_serialization=not legacy)


def parallel(state):
    return {f"module.{key}": tensor for key, tensor in state.items()}


save("zip.pt", state())
save("legacy.pt", state(), legacy=True)
save("bf16.pt", state(torch.bfloat16))
save("f64.pt", state(torch.float64))
optimizer = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
save("checkpoint.pt", {"epoch": 3, "state_dict": parallel(state(torch.float16)), "optimizer": optimizer})
save("checkpoint-legacy.pt", {"best": 0.5, "state_dict": parallel(state())}, legacy=True)

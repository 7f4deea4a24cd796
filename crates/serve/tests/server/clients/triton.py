"""Asks a running server as the Triton client does: HTTP GRPC KEY IMAGE (a grey PNG of 4 x 4 pixels)."""

import asyncio
import sys

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from ml_dtypes import bfloat16
from tritonclient.utils import InferenceServerException

address, _, key, path = sys.argv[1:]
client = triton.InferenceServerClient(address)


def headers(key=key):
    """New ones each time, since the client writes into what it is given."""
    return {"authorization": f"Bearer {key}"}


def refused(status, ask):
    try:
        ask()
    except InferenceServerException as error:
        assert error.status() == status, error
        return error
    raise AssertionError(f"expected {status}")


def ask(array, datatype, binary=True, outputs=None, model="tiny", **more):
    tensor = triton.InferInput("image", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return client.infer(model, [tensor], outputs=outputs, headers=headers(), **more)


assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready("tiny", headers=headers())
assert client.is_model_ready("tiny", "2", headers=headers())
assert not client.is_model_ready("none", headers=headers())
assert not client.is_model_ready("tiny")
assert client.get_server_metadata(headers=headers())["name"] == "strata"
metadata = client.get_model_metadata("tiny", headers=headers())
assert [tensor["name"] for tensor in metadata["inputs"]] == ["image"]
assert [tensor["name"] for tensor in metadata["outputs"]] == ["probabilities", "label", "class"]

rows = np.linspace(0, 1, 48, dtype=np.float32).reshape(3, 16)
binary = ask(rows, "FP32")
probabilities = binary.as_numpy("probabilities")
assert probabilities.dtype == np.float32 and probabilities.shape == (3, 3)
assert np.allclose(probabilities.sum(axis=1), 1)
assert binary.as_numpy("class").dtype == np.int64
assert (binary.as_numpy("class") == probabilities.argmax(axis=1)).all()
labels = np.array([b"ring", b"bar", b'"dot"'], dtype=object)
assert (binary.as_numpy("label") == labels[binary.as_numpy("class")]).all()
assert binary.get_response()["parameters"]["version"] == 1

text = [triton.InferRequestedOutput(name, binary_data=False) for name in ("probabilities", "label", "class")]
json = ask(rows, "FP32", binary=False, outputs=text, request_id="7", model_version="stable", timeout=20_000_000)
assert json.get_response()["id"] == "7"
assert (json.as_numpy("probabilities") == probabilities).all()
assert (ask(rows, "FP32", priority=1, timeout=20_000_000).as_numpy("probabilities") == probabilities).all()
mixed = [triton.InferRequestedOutput("probabilities"), triton.InferRequestedOutput("class", binary_data=False)]
assert (ask(rows.reshape(3, 1, 4, 4), "FP32", outputs=mixed).as_numpy("probabilities") == probabilities).all()

pixels = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1) * 8
prepared = (pixels / np.float32(255)).astype(np.float32).reshape(2, 16)
expected = ask(prepared, "FP32").as_numpy("probabilities")
assert (ask(pixels, "UINT8").as_numpy("probabilities") == expected).all()
assert (ask(pixels, "UINT8", binary=False).as_numpy("probabilities") == expected).all()

with open(path, "rb") as file:
    image = file.read()
answer = ask(np.array([image, image], dtype=object), "BYTES").as_numpy("probabilities")
assert answer.shape == (2, 3) and (answer[0] == answer[1]).all()

# A model with exits and a second task.
metadata = client.get_model_metadata("deep", headers=headers())
of_shape, of_kind = ("probabilities", "label", "class", "exit"), ("kind.probabilities", "kind.label", "kind.class")
assert [tensor["name"] for tensor in metadata["outputs"]] == [*of_shape, *of_kind]
full = ask(rows, "FP32", model="deep", model_version="1")
assert full.as_numpy("exit").tolist() == [b"top"] * 3
assert full.as_numpy("kind.probabilities").shape == (3, 2)
low = ask(rows, "FP32", model="deep", parameters={"exit": "low"})
assert low.as_numpy("exit").tolist() == [b"low"] * 3 and low.get_response()["parameters"]["exit"] == "low"
assert not (low.as_numpy("probabilities") == full.as_numpy("probabilities")).any()
assert (low.as_numpy("kind.probabilities") == full.as_numpy("kind.probabilities")).all()
sure = ask(rows, "FP32", model="deep", parameters={"confidence": 0.0}, outputs=mixed)
assert (sure.as_numpy("probabilities") == low.as_numpy("probabilities")).all()
kind = [triton.InferRequestedOutput("kind.label")]
assert (ask(rows, "FP32", model="deep", outputs=kind).as_numpy("kind.label") == full.as_numpy("kind.label")).all()
error = refused("400", lambda: ask(rows, "FP32", model="deep", parameters={"exit": "kind"}))
assert "parameter `exit`: expected low, middle, top" in error.message(), error

# Every datatype of prepared rows; 2 bytes are not enough for all of these numbers.
for datatype, dtype in (("FP64", np.float64), ("FP16", np.float16)):
    assert np.allclose(ask(rows.astype(dtype), datatype).as_numpy("probabilities"), probabilities, atol=1e-3)
assert np.allclose(ask(rows.astype(bfloat16), "BF16").as_numpy("probabilities"), probabilities, atol=1e-2)
assert (ask(rows.astype(np.float64), "FP64", binary=False).as_numpy("probabilities") == probabilities).all()
refused("400", lambda: ask(rows.astype(np.int32), "INT32"))
# A raw tensor: the body alone, without JSON.
answer = client._post("v2/models/tiny/infer", rows.tobytes(), headers() | {"Inference-Header-Content-Length": "0"}, None)
assert answer.status_code == 200
result = client.parse_response_body(answer.read(), header_length=int(answer.get("inference-header-content-length")))
assert (result.as_numpy("probabilities") == probabilities).all()

# Statistics.
(of_tiny,) = client.get_inference_statistics("tiny", "1", headers=headers())["model_stats"]
stats = of_tiny["inference_stats"]
assert of_tiny["inference_count"] >= 10 and of_tiny["last_inference"] > 0 and stats["fail"]["count"] >= 1
assert stats["success"]["count"] >= 5 and stats["compute_infer"]["ns"] > 0
assert sum(batch["compute_infer"]["count"] for batch in of_tiny["batch_stats"]) == of_tiny["execution_count"]
assert len(client.get_inference_statistics("tiny", headers=headers())["model_stats"]) == 2
assert len(client.get_inference_statistics(headers=headers())["model_stats"]) == 6
refused("404", lambda: client.get_inference_statistics("none", headers=headers()))

# The repository.
index = client.get_model_repository_index(headers=headers())
assert {"name": "tiny", "version": "2", "state": "READY"} in index and len(index) == 6
client.unload_model("other", headers=headers())
assert not client.is_model_ready("other", headers=headers())
assert {"name": "other", "state": "UNAVAILABLE", "reason": "unloaded"} in client.get_model_repository_index(headers=headers())
client.load_model("other", headers=headers())
assert client.is_model_ready("other", headers=headers())
refused("404", lambda: client.load_model("none", headers=headers()))
refused("400", lambda: client.load_model("tiny", headers=headers(), config="{}"))
refused("401", lambda: client.unload_model("tiny"))

tensor = triton.InferInput("image", [3, 16], "FP32")
tensor.set_data_from_numpy(rows)
refused("401", lambda: client.infer("tiny", [tensor]))
refused("401", lambda: client.infer("tiny", [tensor], headers=headers(key[:-2] + ("00" if key[-2:] != "00" else "11"))))
refused("404", lambda: client.infer("none", [tensor], headers=headers()))
refused("404", lambda: client.infer("tiny", [tensor], headers=headers(), model_version="9"))
refused("400", lambda: ask(rows[:, :15].copy(), "FP32"))

# Packed on the way there, and back where the answer is long.
many = np.linspace(0, 1, 2000 * 16, dtype=np.float32).reshape(2000, 16)
expected = ask(many, "FP32").as_numpy("probabilities")
for algorithm in ("gzip", "deflate"):
    both = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    for is_binary in (True, False):
        packed = ask(rows, "FP32", binary=is_binary, **both)
        assert (packed.as_numpy("probabilities") == probabilities).all()
        assert (ask(many, "FP32", binary=is_binary, **both).as_numpy("probabilities") == expected).all()

# Beside each other: by the greenlets of the client, and by its other form.
several = triton.InferenceServerClient(address, concurrency=8)
asked = [several.async_infer("tiny", [tensor], headers=headers(), request_id=str(number)) for number in range(30)]
for number, result in enumerate(asked):
    result = result.get_result()
    assert result.get_response()["id"] == str(number) and (result.as_numpy("probabilities") == probabilities).all()
refused("404", lambda: several.async_infer("none", [tensor], headers=headers()).get_result())
several.close()


async def beside_each_other():
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready() and await client.is_model_ready("tiny", headers=headers())
        results = await asyncio.gather(*(client.infer("tiny", [tensor], headers=headers()) for _ in range(30)))
        assert all((result.as_numpy("probabilities") == probabilities).all() for result in results)
        # One who leaves harms nobody.
        given_up = asyncio.ensure_future(client.infer("wide", [tensor], headers=headers()))
        await asyncio.sleep(0)
        given_up.cancel()
        result = await client.infer("tiny", [tensor], headers=headers())
        assert (result.as_numpy("probabilities") == probabilities).all()


asyncio.run(beside_each_other())
print("all checks passed")

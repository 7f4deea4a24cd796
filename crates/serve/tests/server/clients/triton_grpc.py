"""Asks a running server over gRPC as the Triton client does: HTTP GRPC KEY IMAGE (a grey PNG of 4 x 4 pixels)."""

import asyncio
import queue
import sys
import threading

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from ml_dtypes import bfloat16
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

_, address, key, path = sys.argv[1:]
client = triton.InferenceServerClient(address)
bearer = {"authorization": f"Bearer {key}"}


def refused(code, ask):
    try:
        ask()
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{code}", error
        return error
    raise AssertionError(f"expected {code}")


def tensor(array, datatype):
    made = triton.InferInput("image", list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def ask(array, datatype, model="tiny", headers=bearer, **more):
    return client.infer(model, [tensor(array, datatype)], headers=headers, **more)


# Metadata and health.
assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready("tiny", headers=bearer) and client.is_model_ready("tiny", "2", headers=bearer)
assert not client.is_model_ready("none", headers=bearer) and not client.is_model_ready("tiny", "9", headers=bearer)
refused("UNAUTHENTICATED", lambda: client.is_model_ready("tiny"))
assert client.get_server_metadata(headers=bearer).name == "strata"
metadata = client.get_model_metadata("tiny", headers=bearer)
assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [("image", "FP32", [-1, 1, 4, 4])]
assert [t.name for t in metadata.outputs] == ["probabilities", "label", "class"]
assert list(metadata.versions) == ["1", "2"]

# Raw tensors, which is all that this client sends.
rows = np.linspace(0, 1, 48, dtype=np.float32).reshape(3, 16)
answer = ask(rows, "FP32", request_id="7")
probabilities = answer.as_numpy("probabilities")
assert probabilities.dtype == np.float32 and probabilities.shape == (3, 3) and np.allclose(probabilities.sum(axis=1), 1)
assert (answer.as_numpy("class") == probabilities.argmax(axis=1)).all()
labels = np.array([b"ring", b"bar", b'"dot"'], dtype=object)
assert (answer.as_numpy("label") == labels[answer.as_numpy("class")]).all()
response = answer.get_response()
assert response.id == "7" and response.model_version == "1" and len(response.raw_output_contents) == 3
assert response.parameters["version"].int64_param == 1
assert response.parameters["digest"].string_param.startswith("sha256:")
assert (ask(rows, "FP32", priority=1, timeout=20_000_000).as_numpy("probabilities") == probabilities).all()
only = [triton.InferRequestedOutput("class")]
assert [t.name for t in ask(rows, "FP32", outputs=only).get_response().outputs] == ["class"]
assert (ask(rows.reshape(3, 1, 4, 4), "FP32", model_version="stable").as_numpy("probabilities") == probabilities).all()
other = ask(rows, "FP32", model_version="2")
assert other.get_response().model_version == "2" and (other.as_numpy("probabilities") != probabilities).any()
for datatype, dtype in (("FP64", np.float64), ("FP16", np.float16)):
    assert np.allclose(ask(rows.astype(dtype), datatype).as_numpy("probabilities"), probabilities, atol=1e-3)
assert np.allclose(ask(rows.astype(bfloat16), "BF16").as_numpy("probabilities"), probabilities, atol=1e-2)
pixels = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1) * 8
prepared = (pixels / np.float32(255)).astype(np.float32).reshape(2, 16)
expected = ask(prepared, "FP32").as_numpy("probabilities")
assert (ask(pixels, "UINT8").as_numpy("probabilities") == expected).all()
with open(path, "rb") as file:
    image = file.read()
of_files = ask(np.array([image, image], dtype=object), "BYTES").as_numpy("probabilities")
assert of_files.shape == (2, 3) and (of_files[0] == of_files[1]).all()

# Typed contents, by the client's own messages.
stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(address))
as_metadata = tuple(bearer.items())


def typed(datatype, shape, raw=None, timeout=None, parameters=None, **contents):
    request = service_pb2.ModelInferRequest(model_name="tiny")
    made = request.inputs.add(name="image", datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(made.contents, field).extend(values)
    if raw is not None:
        request.raw_input_contents.append(raw)
    for name, value in (parameters or {}).items():
        request.parameters[name].int64_param = value
    return stub.ModelInfer(request, metadata=as_metadata, timeout=timeout)


def code_of(ask):
    try:
        ask()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


flat = rows.flatten().tolist()
response = typed("FP32", [3, 16], fp32_contents=flat)
assert not response.raw_output_contents
assert list(response.outputs[0].contents.fp32_contents) == probabilities.flatten().tolist()
assert list(response.outputs[1].contents.bytes_contents) == answer.as_numpy("label").tolist()
assert list(response.outputs[2].contents.int64_contents) == answer.as_numpy("class").tolist()
assert typed("FP64", [3, 16], fp64_contents=flat).outputs == response.outputs
of_pixels = typed("UINT8", [2, 4, 4, 1], uint_contents=pixels.flatten().tolist())
assert list(of_pixels.outputs[0].contents.fp32_contents) == expected.flatten().tolist()
of_file = typed("BYTES", [1], bytes_contents=[image])
assert list(of_file.outputs[0].contents.fp32_contents) == of_files[0].tolist()
for wrong in (
    lambda: typed("FP32", [3, 16], fp32_contents=flat, raw=rows.tobytes()),
    lambda: typed("FP32", [3, 16], fp64_contents=flat),
    lambda: typed("FP32", [3, 16]),
    lambda: typed("FP32", [3, 16], fp32_contents=flat[1:]),
    lambda: typed("FP32", [-1, 16], fp32_contents=flat),
    lambda: typed("FP32", [1, 16], fp32_contents=[float("nan")] * 16),
    lambda: typed("FP16", [1, 16], fp32_contents=[0] * 16),
    lambda: typed("INT32", [1, 16], int_contents=[0] * 16),
    lambda: typed("BOOL", [1, 16], bool_contents=[True] * 16),
    lambda: typed("UINT8", [1, 4, 4, 1], uint_contents=[256] * 16),
    lambda: typed("BYTES", [1], bytes_contents=[b"no image"]),
    lambda: typed("FP32", [3, 16], fp32_contents=flat, parameters={"timeout": -1}),
    lambda: typed("FP32", [3, 16], fp32_contents=flat, parameters={"priority": -1}),
):
    assert code_of(wrong) == "INVALID_ARGUMENT", code_of(wrong)
assert code_of(lambda: typed("FP32", [5000, 16], raw=bytes(5000 * 64))) == "RESOURCE_EXHAUSTED"
assert code_of(lambda: typed("FP32", [1, 16], raw=bytes(17 << 20))) == "RESOURCE_EXHAUSTED"
broken = grpc.insecure_channel(address).unary_unary("/inference.GRPCInferenceService/ModelInfer")
assert code_of(lambda: broken(b"\xff\xff\xff", metadata=as_metadata)) == "INVALID_ARGUMENT"
unknown = grpc.insecure_channel(address).unary_unary("/inference.GRPCInferenceService/ModelConfig")
assert code_of(lambda: unknown(b"", metadata=as_metadata)) == "UNIMPLEMENTED"
assert code_of(lambda: unknown(b"")) == "UNAUTHENTICATED"

# Exits, as parameters.
low = ask(rows, "FP32", model="deep", parameters={"exit": "low"})
assert low.as_numpy("exit").tolist() == [b"low"] * 3
error = refused("INVALID_ARGUMENT", lambda: ask(rows, "FP32", model="deep", parameters={"exit": "kind"}))
assert "parameter `exit`: expected low, middle, top" in error.message(), error

# Refusals.
refused("UNAUTHENTICATED", lambda: ask(rows, "FP32", headers=None))
wrong_key = key[:-2] + ("00" if key[-2:] != "00" else "11")
refused("UNAUTHENTICATED", lambda: ask(rows, "FP32", headers={"authorization": f"Bearer {wrong_key}"}))
refused("NOT_FOUND", lambda: ask(rows, "FP32", model="none"))
refused("NOT_FOUND", lambda: ask(rows, "FP32", model_version="9"))
refused("INVALID_ARGUMENT", lambda: ask(rows[:, :15].copy(), "FP32"))

# Packed on the way there and back.
many = np.linspace(0, 1, 4000 * 16, dtype=np.float32).reshape(4000, 16)
many_expected = ask(many, "FP32").as_numpy("probabilities")
for algorithm in ("gzip", "deflate"):
    assert (ask(rows, "FP32", compression_algorithm=algorithm).as_numpy("probabilities") == probabilities).all()
    assert (ask(many, "FP32", compression_algorithm=algorithm).as_numpy("probabilities") == many_expected).all()
packed = grpc.insecure_channel(address, compression=grpc.Compression.Gzip)
zeros = service_pb2.ModelInferRequest(model_name="tiny", raw_input_contents=[bytes(17 << 20)])
bomb = lambda: service_pb2_grpc.GRPCInferenceServiceStub(packed).ModelInfer(zeros, metadata=as_metadata)
assert code_of(bomb) == "RESOURCE_EXHAUSTED", code_of(bomb)
refused("DEADLINE_EXCEEDED", lambda: ask(np.zeros((4000, 16), np.float32), "FP32", model="wide", timeout=1))
refused("DEADLINE_EXCEEDED", lambda: ask(np.zeros((4000, 16), np.float32), "FP32", model="wide", client_timeout=0.01))

# Beside each other, and given up.
done = queue.Queue()
for _ in range(20):
    client.async_infer("wide", [tensor(rows, "FP32")], lambda result, error: done.put((result, error)), headers=bearer)
for _ in range(20):
    result, error = done.get(timeout=60)
    assert error is None and result.as_numpy("probabilities").shape == (3, 3), error
given_up = client.async_infer(
    "wide",
    [tensor(np.zeros((4000, 16), np.float32), "FP32")],
    lambda result, error: done.put((result, error)),
    headers=bearer,
)
given_up.cancel()
result, error = done.get(timeout=60)
assert result is None and error.status() == "StatusCode.CANCELLED", error
assert (ask(rows, "FP32").as_numpy("probabilities") == probabilities).all()



async def beside_each_other():
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_model_ready("tiny", headers=bearer)
        asked = (client.infer("tiny", [tensor(rows, "FP32")], headers=bearer) for _ in range(30))
        for result in await asyncio.gather(*asked):
            assert (result.as_numpy("probabilities") == probabilities).all()


asyncio.run(beside_each_other())

# A stream: answers in the order of the requests, and an error that ends nothing.
client.start_stream(lambda result, error: done.put((result, error)), headers=bearer, compression_algorithm="gzip")
for number, model in enumerate(("tiny", "none", "wide", "tiny")):
    client.async_stream_infer(model, [tensor(rows, "FP32")], request_id=str(number))
for number, is_answered in enumerate((True, False, True, True)):
    result, error = done.get(timeout=60)
    assert (error is None) == is_answered, error
    if is_answered:
        assert result.get_response().id == str(number)
    else:
        assert "no model `none`" in error.message(), error
client.stop_stream()

# Statistics.
(stats,) = client.get_inference_statistics("tiny", "1", headers=bearer).model_stats
assert stats.inference_count >= 10 and stats.last_inference > 0 and stats.inference_stats.fail.count >= 10
assert sum(batch.compute_infer.count for batch in stats.batch_stats) == stats.execution_count
assert len(client.get_inference_statistics(headers=bearer).model_stats) == 6

# The repository.
index = client.get_model_repository_index(headers=bearer).models
assert ("tiny", "2", "READY") in [(entry.name, entry.version, entry.state) for entry in index] and len(index) == 6
client.unload_model("other", headers=bearer)
assert not client.is_model_ready("other", headers=bearer)
client.load_model("other", headers=bearer)
assert client.is_model_ready("other", headers=bearer)
refused("NOT_FOUND", lambda: client.load_model("none", headers=bearer))
refused("INVALID_ARGUMENT", lambda: client.load_model("tiny", headers=bearer, config="{}"))
refused("UNAUTHENTICATED", lambda: client.unload_model("tiny"))

# `grpc.health.v1` and reflection, by their messages: field 1 is the service, and in an answer the status (1: serving).
channel = grpc.insecure_channel(address)
check = channel.unary_unary("/grpc.health.v1.Health/Check")
assert check(b"") == b"\x08\x01" and check(b"\x0a\x1einference.GRPCInferenceService"[:2] + b"inference.GRPCInferenceService") == b"\x08\x01"
assert code_of(lambda: check(b"\x0a\x01x")) == "NOT_FOUND"
watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
assert next(watch) == b"\x08\x01"
watch.cancel()
for version in ("v1", "v1alpha"):
    reflect = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
    listed = next(reflect(iter([b"\x3a\x00"]), metadata=as_metadata))
    assert b"inference.GRPCInferenceService" in listed and b"grpc.health.v1.Health" in listed
    assert code_of(lambda: next(reflect(iter([b"\x3a\x00"])))) == "UNAUTHENTICATED"
assert threading.active_count() < 50
print("all checks passed")

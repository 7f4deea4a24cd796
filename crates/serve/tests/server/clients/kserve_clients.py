"""Asks a running server as KServe's clients do: HTTP GRPC KEY IMAGE (a grey PNG of 4 x 4 pixels)."""

import asyncio
import base64
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

address, grpc_address, key, path = sys.argv[1:]
url = f"http://{address}"
rows = np.linspace(0, 1, 48, dtype=np.float32).reshape(3, 16)
with open(path, "rb") as file:
    image = file.read()


def headers():
    """New ones each time, since the client writes into what it is given."""
    return {"Authorization": f"Bearer {key}"}


async def refused(status, asked):
    try:
        await asked
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == status, error
        return str(error)
    raise AssertionError(f"expected {status}")


async def v1():
    async with InferenceRESTClient(RESTConfig(protocol="v1", retries=1)) as client:
        assert await client.is_server_live(url)
        assert await client.is_model_ready(url, "tiny", headers=headers())
        assert "no model `none`" in await refused(404, client.is_model_ready(url, "none", headers=headers()))
        await refused(401, client.is_model_ready(url, "tiny"))

        ask = lambda data, model="tiny": client.infer(url, data, model_name=model, headers=headers())
        answer = await ask({"instances": rows.tolist()})
        probabilities = np.array(answer["predictions"], dtype=np.float32)
        assert probabilities.shape == (3, 3) and np.allclose(probabilities.sum(axis=1), 1)
        assert (await ask({"inputs": rows.tolist()}))["outputs"] == answer["predictions"]
        files = {"instances": [{"b64": base64.b64encode(image).decode()}] * 2}
        of_files = (await ask(files))["predictions"]
        assert len(of_files) == 2 and of_files[0] == of_files[1]
        assert "expected FP32 of shape" in await refused(400, ask({"instances": [[1, 2]]}))
        assert "no model `none`" in await refused(404, ask({"instances": rows.tolist()}, "none"))

        explain = lambda data: client.explain(url, "tiny", data, headers=headers())
        explained = await explain({"instances": rows[:1].tolist(), "parameters": {"steps": 20}})
        (only,) = explained["explanations"]
        assert explained["predictions"] == answer["predictions"][:1]
        assert np.array(only["attribution"]).shape == (1, 4, 4) and only["steps"] == 20
        assert only["target"] == probabilities[0].argmax()
        several = await explain({"instances": rows.tolist(), "parameters": {"steps": 20}})
        assert several["predictions"] == answer["predictions"] and several["explanations"][0] == only
        assert [one["target"] for one in several["explanations"]] == probabilities.argmax(axis=1).tolist()
        assert "more than the 16" in await refused(413, explain({"instances": rows[:1].tolist() * 17}))
        return probabilities


async def v2(expected):
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=1)) as client:
        assert await client.is_server_live(url) and await client.is_server_ready(url)
        assert await client.is_model_ready(url, "tiny", headers=headers())
        assert not await client.is_model_ready(url, "none", headers=headers())

        def request(array, datatype, binary, **more):
            tensor = InferInput("image", list(array.shape), datatype)
            tensor.set_data_from_numpy(array, binary_data=binary)
            return InferRequest("tiny", [tensor], request_id="7", **more)

        ask = lambda data: client.infer(url, data, model_name="tiny", headers=headers())
        for binary in (False, True):
            answer = await ask(request(rows, "FP32", binary))
            outputs = {output.name: output for output in answer.outputs}
            assert (outputs["probabilities"].as_numpy() == expected).all() and answer.id == "7"
            assert (outputs["class"].as_numpy() == expected.argmax(axis=1)).all()
        wanted = [RequestedOutput("probabilities", {"binary_data": True})]
        (output,) = (await ask(request(rows, "FP32", True, request_outputs=wanted))).outputs
        assert output.name == "probabilities" and (output.as_numpy() == expected).all()
        half = await ask(request(rows.astype(np.float16), "FP16", True))
        assert np.allclose(half.outputs[0].as_numpy(), expected, atol=1e-3)
        files = await ask(request(np.array([image], dtype=object), "BYTES", True))
        assert files.outputs[0].as_numpy().shape == (1, 3)
        assert "found `INT32`" in await refused(400, ask(request(rows.astype(np.int32), "INT32", True)))
        await refused(401, client.infer(url, request(rows, "FP32", False), model_name="tiny"))


async def over_grpc(expected):
    bearer = (("authorization", f"Bearer {key}"),)
    async with InferenceGRPCClient(grpc_address, retries=0) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready("tiny", headers=bearer)
        assert not await client.is_model_ready("none", headers=bearer)
        raw = InferInput("image", list(rows.shape), "FP32")
        raw.set_data_from_numpy(rows, binary_data=True)
        typed = InferInput("image", list(rows.shape), "FP32", data=rows.flatten().tolist())
        for tensor in (raw, typed):
            answer = await client.infer(InferRequest("tiny", [tensor]), headers=bearer)
            assert (answer.outputs[0].as_numpy() == expected).all() and answer.model_version == "1"
        try:
            await client.infer(InferRequest("none", [raw]), headers=bearer)
            raise AssertionError("expected NOT_FOUND")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error


async def everything():
    expected = await v1()
    await v2(expected)
    await over_grpc(expected)


asyncio.run(everything())
print("all checks passed")

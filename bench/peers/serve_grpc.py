"""The network behind grpc.aio, one request at a time, with the Open Inference Protocol's messages: `serve_grpc.py PORT`."""

import asyncio
import sys

import grpc
import numpy as np
import serve_network
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse


async def infer(request, _):
    row = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(1, -1)
    answer = ModelInferResponse(model_name=request.model_name)
    answer.outputs.add(name="probabilities", datatype="FP32", shape=[1, 10])
    answer.raw_output_contents.append(serve_network.predict(row.copy()).tobytes())
    return answer


async def main():
    method = grpc.unary_unary_rpc_method_handler(
        infer, ModelInferRequest.FromString, ModelInferResponse.SerializeToString
    )
    server = grpc.aio.server()
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": method})
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())

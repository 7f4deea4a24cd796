"""Sends a message to a gRPC server and prints the numbers of the answer's first output: `grpc_ask.py ADDRESS MESSAGE NAME=VALUE…`,
the last being metadata."""

import json
import sys
from pathlib import Path

import grpc
import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferResponse

address, message, *metadata = sys.argv[1:]
with grpc.insecure_channel(address) as channel:
    call = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        response_deserializer=ModelInferResponse.FromString,
    )
    answer = call(Path(message).read_bytes(), timeout=10, metadata=[tuple(pair.split("=", 1)) for pair in metadata])
numbers = np.frombuffer(answer.raw_output_contents[0], np.float32)
print(json.dumps({"numbers": numbers.tolist()}))

"""The message of a gRPC request about one row, whose numbers a file holds: `grpc_message.py MODEL ROW MESSAGE`."""

import sys
from pathlib import Path

from tritonclient.grpc.service_pb2 import ModelInferRequest

row = Path(sys.argv[2]).read_bytes()
message = ModelInferRequest(model_name=sys.argv[1], raw_input_contents=[row])
message.inputs.add(name="image", datatype="FP32", shape=[1, len(row) // 4])
message.outputs.add(name="probabilities")
Path(sys.argv[3]).write_bytes(message.SerializeToString())

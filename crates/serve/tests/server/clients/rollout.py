"""Asks a running server by two protocols as many users: HTTP GRPC KEY IMAGE (not read)."""

import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http

http_address, grpc_address, key, _ = sys.argv[1:]
clients = [(http, http.InferenceServerClient(http_address)), (grpc, grpc.InferenceServerClient(grpc_address))]
image = np.zeros((1, 16), np.float32)


def version(protocol, client, user, model_version=""):
    tensor = protocol.InferInput("image", list(image.shape), "FP32")
    tensor.set_data_from_numpy(image)
    headers = {"authorization": f"Bearer {key}", "x-user": user}
    answer = client.infer("tiny", [tensor], model_version, headers=headers).get_response()
    return answer["model_version"] if protocol is http else answer.model_version


def versions(user, model_version=""):
    return [version(protocol, client, user, model_version) for protocol, client in clients]


found = set()
for number in range(24):
    user = f"user-{number}"
    by_http, by_grpc = versions(user)
    assert by_http == by_grpc, (user, by_http, by_grpc)
    assert versions(user) == versions(user, "stable") == [by_http, by_grpc]
    assert versions(user, "1") == ["1", "1"] and versions(user, "2") == ["2", "2"]
    found.add(by_http)
assert found == {"1", "2"}, found

# The messages of a stream have the headers of its call.
import queue

answers = queue.Queue()
client = clients[1][1]
headers = {"authorization": f"Bearer {key}", "x-user": "user-0"}
client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
for _ in range(3):
    tensor = grpc.InferInput("image", list(image.shape), "FP32")
    tensor.set_data_from_numpy(image)
    client.async_stream_infer("tiny", [tensor])
for _ in range(3):
    result, error = answers.get(timeout=20)
    assert error is None and result.get_response().model_version == versions("user-0")[1]
client.stop_stream()
print("all checks passed")

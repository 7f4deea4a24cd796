"""Asks a running server as the documents of TensorFlow Serving do: HTTP GRPC KEY IMAGE (a grey PNG of 4 x 4 pixels)."""

import base64
import json
import math
import sys

import numpy as np
import requests

address, _, key, path = sys.argv[1:]
root = f"http://{address}/v1/models"
session = requests.Session()
session.headers["Authorization"] = f"Bearer {key}"
rows = np.linspace(0, 1, 48, dtype=np.float32).reshape(3, 16)
with open(path, "rb") as file:
    image = base64.b64encode(file.read()).decode()


def post(call, body, status=200):
    """As text, since Python's `json` writes and reads bare `NaN`, and that of `requests` does not."""
    response = session.post(f"{root}/{call}", data=json.dumps(body))
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return json.loads(response.text)


status = session.get(f"{root}/tiny").json()["model_version_status"]
assert status[0] == {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
(status,) = session.get(f"{root}/tiny/versions/1").json()["model_version_status"]
assert status["version"] == "1"
assert session.get(f"{root}/none").json() == {"error": "no model `none`"}

metadata = session.get(f"{root}/tiny/metadata").json()
assert metadata["model_spec"] == {"name": "tiny", "signature_name": "", "version": "1"}
signatures = metadata["metadata"]["signature_def"]["signature_def"]
(name,) = signatures["serving_default"]["inputs"]
shape = [int(dim["size"]) for dim in signatures["serving_default"]["inputs"][name]["tensor_shape"]["dim"]]
assert (name, shape) == ("image", [-1, 4, 4, 1])

# A client that knows no more than the metadata.
predictions = np.array(post("tiny:predict", {"instances": rows.reshape(shape).tolist()})["predictions"])
assert predictions.shape == (3, 3) and np.allclose(predictions.sum(axis=1), 1)
same = [
    post("tiny:predict", {"signature_name": "serving_default", "instances": [{"image": row} for row in rows.tolist()]}),
    post("tiny/versions/1:predict", {"instances": rows.tolist()}),
    post("tiny/labels/stable:predict", {"instances": rows.tolist()}),
]
assert all(np.array_equal(answer["predictions"], predictions) for answer in same)
assert np.array_equal(post("tiny:predict", {"inputs": {"image": rows.tolist()}})["outputs"], predictions)
every = post("tiny:predict", {"inputs": rows.tolist(), "signature_name": "all"})["outputs"]
assert np.array_equal(every["probabilities"], predictions) and every["class"] == predictions.argmax(axis=1).tolist()
assert len(post("tiny:predict", {"instances": [{"b64": image}, {"b64": image}]})["predictions"]) == 2

examples = [{"image": row} for row in rows.tolist()]
results = post("tiny:classify", {"signature_name": "classify", "examples": examples})["results"]
assert [label for label, _ in results[0]] == ["ring", "bar", '"dot"']
assert np.array_equal([[score for _, score in result] for result in results], predictions)
assert "regress" in post("tiny:regress", {"examples": examples}, 400)["error"]

spoilt = rows.copy()
spoilt[1, 3] = math.nan
spoilt[2, 5] = -math.inf
answer = post("tiny:predict", {"instances": spoilt.tolist()})["predictions"]
assert np.array_equal(answer[0], predictions[0]) and np.isnan(answer[1:]).all()

for body in ({}, {"instances": []}, {"instances": rows.tolist(), "inputs": rows.tolist()}, {"instances": ["text"]}):
    assert list(post("tiny:predict", body, 400)) == ["error"]
assert list(post("none:predict", {}, 404)) == ["error"]
assert requests.post(f"{root}/tiny:predict", data="{}").status_code == 401
print("all checks passed")

"""Gives `schemathesis` rows that a model takes: what a document says of them is true of any model's."""

import itertools

import schemathesis

ROW = [0.5] * 16
ROWS = {
    "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 16], "data": ROW}],
    "instances": [ROW],
    "examples": [{"image": ROW}],
}
turns = itertools.count()


@schemathesis.hook
def map_body(context, body):
    """Two of three bodies get rows that fit; their other fields stay as they are, or are left out too."""
    path = context.operation.path
    turn = next(turns) % 3
    if not isinstance(body, dict) or turn == 0:
        return body
    field = "examples" if path.endswith(":classify") else "instances" if ":" in path else "inputs"
    if not path.endswith((":predict", ":classify", "explain", "/infer")):
        return body
    rest = body if turn == 1 else {}
    return {**{name: value for name, value in rest.items() if name not in ROWS}, field: ROWS[field]}

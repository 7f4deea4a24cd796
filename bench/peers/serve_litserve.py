"""The network behind LitServe with dynamic batching: `serve_litserve.py PORT`, then POST to /predict."""

import sys

import litserve
import numpy as np
import serve_network


class DigitApi(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return serve_network.row(request)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, rows):
        return serve_network.predict(rows)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return serve_network.answer(output)


# The worker processes import this file again.
if __name__ == "__main__":
    api = DigitApi(max_batch_size=64, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="error", generate_client_file=False
    )

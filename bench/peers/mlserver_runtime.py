"""What MLServer runs: its inputs and outputs are the Open Inference Protocol's."""

import numpy_network
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput


class Digits(MLModel):
    async def predict(self, payload):
        probabilities = numpy_network.predict(payload.inputs[0].data.root)
        data = probabilities.tolist()
        output = ResponseOutput(name="probabilities", shape=[1, 10], datatype="FP32", data=data)
        return InferenceResponse(model_name=self.name, outputs=[output])

"""The network behind FastAPI and uvicorn, one request at a time: `serve_fastapi.py PORT`, then POST to /predict, or the bytes
of the numbers to /raw."""

import sys

import numpy as np
import serve_network
import uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.post("/predict")
async def predict(request: Request):
    row = serve_network.row(await request.json())
    return serve_network.answer(serve_network.predict(row[None])[0])


@app.post("/raw")
async def raw(request: Request):
    row = np.frombuffer(await request.body(), np.float32).reshape(1, -1)
    return Response(serve_network.predict(row.copy()).tobytes())


uvicorn.run(app, port=int(sys.argv[1]), log_level="error")

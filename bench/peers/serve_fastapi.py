"""The network behind FastAPI and uvicorn, one request at a time in each process: `serve_fastapi.py PORT WORKERS`, then POST to
/predict, or the bytes of the numbers to /raw."""

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


# The worker processes import this file again.
if __name__ == "__main__":
    port, workers = map(int, sys.argv[1:])
    # One worker is this process itself, and needs no supervisor.
    served = app if workers == 1 else "serve_fastapi:app"
    uvicorn.run(served, port=port, workers=workers, log_level="error", access_log=False)

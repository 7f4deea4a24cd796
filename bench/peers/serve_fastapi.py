"""The network behind FastAPI and uvicorn, one request at a time: `serve_fastapi.py PORT`, then POST to /predict."""

import sys

import serve_network
import uvicorn
from fastapi import FastAPI, Request

app = FastAPI()


@app.post("/predict")
async def predict(request: Request):
    row = serve_network.row(await request.json())
    return serve_network.answer(serve_network.predict(row[None])[0])


uvicorn.run(app, port=int(sys.argv[1]), log_level="error")

"""The network as a runtime of MLServer, over HTTP and gRPC: `serve_mlserver.py HTTP_PORT GRPC_PORT WORKERS`, port 0 for any."""

import asyncio
import sys

from mlserver import MLServer, ModelSettings, Settings
from mlserver.utils import install_uvloop_event_loop


async def main(http_port, grpc_port, workers):
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=http_port,
        grpc_port=grpc_port,
        parallel_workers=workers,
        metrics_endpoint=None,
        gzip_enabled=False,
        load_models_at_startup=False,
    )
    await MLServer(settings).start([ModelSettings(name="mnist-mlp", implementation="mlserver_runtime.Digits")])


# The worker processes import this file again.
if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(main(*map(int, sys.argv[1:])))

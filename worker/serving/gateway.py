"""`python -m worker.serving.gateway`: owns the public port and places connections on replicas.

Life: read the last routing table from `<home>/gateway/routes.json`, listen, follow the control plane's
table (`worker.serving.routesource`), place connections (`worker.serving.placement`) until SIGTERM. It needs
the control plane for changes only; started without it, it serves the table on disk.

Exit status: 0 after SIGTERM or SIGINT, 1 when the port or the home cannot be used (the reason is logged).
"""

import argparse
import asyncio
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from worker.serving import table
from worker.serving.limits import raise_descriptor_limit
from worker.serving.log import log
from worker.serving.peers import TrustedProxies
from worker.serving.placement import Gateway
from worker.serving.routesource import RouteSource, apply_in

LISTEN_BACKLOG = 1024
TICK_SECONDS = 0.5
DRAIN_SECONDS = 8.0


def listen(host: str, port: int) -> socket.socket:
    """A non-blocking listening socket; raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=LISTEN_BACKLOG)
    listener.settimeout(0)
    return listener


async def serve(
    *,
    home: Path,
    api: str,
    token_file: Path,
    listener: socket.socket,
    trusted: TrustedProxies,
    bounds: table.Bounds,
) -> None:
    """Serve on `listener` until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    path = home / "gateway" / "routes.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    gateway = Gateway(loop, table.load(path, bounds), trusted, bounds)
    source = RouteSource(
        api=api,
        token_file=token_file,
        path=path,
        version=gateway.table.version,
        take=lambda snapshot: apply_in(loop, gateway.take, snapshot),
    )
    source.start()
    gateway.listen(listener)
    host, port = listener.getsockname()[:2]
    log("gateway ready", host=host, port=port, version=gateway.table.version)
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), TICK_SECONDS)
        except TimeoutError:
            gateway.tick(time.monotonic())
    loop.remove_reader(listener.fileno())
    listener.close()
    source.stop()
    await gateway.drain(DRAIN_SECONDS)
    gateway.close()
    log("gateway ended")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.serving.gateway", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder of the platform's data")
    parser.add_argument("--api", required=True, help="address of the control plane, http://host:port")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the gateway's bearer token")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="public port; 0 = any free one")
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        help="address or network of a proxy before this gateway",
    )
    table.add_bounds(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; answers the exit status."""
    options = _parser().parse_args(arguments)
    raise_descriptor_limit()
    try:
        trusted = TrustedProxies(options.trusted_proxy)
    except ValueError as error:
        log("gateway cannot serve", error=f"--trusted-proxy: {error}")
        return 1
    try:
        listener = listen(options.host, options.port)
        uvloop.run(
            serve(
                home=options.home,
                api=options.api,
                token_file=options.token_file,
                listener=listener,
                trusted=trusted,
                bounds=table.Bounds(options.queue_seconds, options.key_calls),
            )
        )
    except OSError as error:
        log("gateway cannot serve", host=options.host, port=options.port, error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

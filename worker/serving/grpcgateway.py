"""`python -m worker.serving.grpcgateway`: answers the Open Inference Protocol over gRPC.

How a call is answered
----------------------
A gRPC connection cannot be handed over: its HTTP/2 state lives in this process, and one connection carries the calls
of many endpoints. So this gateway keeps the connections and passes each *call* on. It reads the metadata, looks the
key up in its routing table, and refuses what it must before the message is read. Then it reads the message, finds
the endpoint of that name in the key's organization, and sends JSON and binary tensors, the same request that a REST
client would send, over a pooled socket pair to the least busy process of the endpoint's replicas
(`worker.serving.grpcpool`). The replica authenticates, routes, batches, infers and meters as ever, so a call is
counted exactly once, where it is answered; nothing is metered here.

It links to replica processes as the HTTP gateway does (`worker.serving.links`), and tells them their route (`r`), so
that either gateway may be down. The two are independent processes with a routing table on disk each
(`<home>/gateway/routes.json` and `routes-grpc.json`): with the control plane down both go on, also after a restart.

When a replica process drains it says `D`: no new call goes there, the idle connections to it are closed at once, the
others after their answer. A process that dies takes its calls with it: they are UNAVAILABLE, and are not sent again,
because they may have been answered and billed.

A call whose client has cancelled it, or whose deadline has passed, is let go of at once, and its connection to the
replica is closed. Without a deadline a call ends after 120 s.

End of life: SIGTERM makes it not ready, refuse new calls (GOAWAY), finish those under way within 10 s, and exit 0.
A call that arrives in that very moment was not begun; gRPC itself answers it CANCELLED or UNAVAILABLE.

Exit status: 0 after SIGTERM or SIGINT, 1 when the port or the home cannot be used (the reason is logged).
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio
import uvloop

from backend.core.wire import GRPC_ROLE, RouteSnapshot
from worker.serving import table
from worker.serving.grpcpool import Pool
from worker.serving.grpcservice import Service
from worker.serving.limits import raise_descriptor_limit
from worker.serving.log import log
from worker.serving.routesource import RouteSource, apply_in
from worker.serving.table import RoutingTable

TICK_SECONDS = 0.5
DRAIN_SECONDS = 10.0
MESSAGE_BYTES = 65 << 20
"""The largest body limit that an endpoint may have, and what protobuf adds; each endpoint's own is checked after."""
METADATA_BYTES = 32 * 1024
UNLIMITED = -1
OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", UNLIMITED),
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES),
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, not shared
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),  # clients' own keepalive settings never cost them the connection
    ("grpc.max_connection_idle_ms", 600_000),
]
CONCURRENT_CALLS = 4096


async def serve(*, home: Path, api: str, token_file: Path, host: str, port: int, bounds: table.Bounds) -> None:
    """Serve on `host:port` until SIGTERM or SIGINT; raises OSError where that cannot be listened on."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    path = home / "gateway" / "routes-grpc.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pool = Pool(loop)
    service = Service(pool, table.load(path, bounds))
    pool.links.apply(service.table)
    source = _source(loop, service, pool, bounds, api=api, token_file=token_file, path=path)
    server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=CONCURRENT_CALLS)
    server.add_generic_rpc_handlers((service,))
    bound = _listen(server, host, port)
    source.start()
    await server.start()
    log("grpc gateway ready", host=host, port=bound, version=service.table.version)
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), TICK_SECONDS)
        except TimeoutError:
            pool.tick(time.monotonic())
    service.draining = True
    await server.stop(DRAIN_SECONDS)
    source.stop()
    pool.close()
    log("grpc gateway ended")


def _source(
    loop: asyncio.AbstractEventLoop,
    service: Service,
    pool: Pool,
    bounds: table.Bounds,
    *,
    api: str,
    token_file: Path,
    path: Path,
) -> RouteSource:
    """Where service and pool get their routes from."""

    def take(snapshot: RouteSnapshot) -> None:
        service.table = RoutingTable(snapshot, bounds)
        pool.links.apply(service.table)
        log("routing table applied", version=snapshot.version, routes=len(snapshot.routes))

    return RouteSource(
        api=api,
        token_file=token_file,
        path=path,
        version=service.table.version,
        take=lambda snapshot: apply_in(loop, take, snapshot),
        role=GRPC_ROLE,
    )


def _listen(server: "grpc.aio.Server", host: str, port: int) -> int:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound: int = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(str(error)) from None
    if bound == 0:
        raise OSError(f"{address} cannot be listened on")
    return bound


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; answers the exit status."""
    parser = argparse.ArgumentParser(prog="python -m worker.serving.grpcgateway", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder of the platform's data")
    parser.add_argument("--api", required=True, help="address of the control plane, http://host:port")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the gateways' bearer token")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="public port; 0 = any free one")
    table.add_bounds(parser)
    options = parser.parse_args(arguments)
    raise_descriptor_limit()
    try:
        uvloop.run(
            serve(
                home=options.home,
                api=options.api,
                token_file=options.token_file,
                host=options.host,
                port=options.port,
                bounds=table.Bounds(options.queue_seconds, options.key_calls),
            )
        )
    except OSError as error:
        log("grpc gateway cannot serve", host=options.host, port=options.port, error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.grpc_price`: what a call over gRPC costs against a handed-over connection.

The plane of `benchmarks.serving` and a gRPC gateway before the same replica. Both are asked for the same binary tensors
in turn within each round. The load over gRPC comes from a process of this file (grpc.aio, one message serialized
beforehand), the one over HTTP from `wrk`, which costs far less of the machine: so rates favour HTTP by more than
the server's part, and the CPU that the server's own processes used per request is the figure that compares the two.
Needs `wrk`.
"""

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import psutil

from benchmarks.serving import PIXELS, Bench, start
from tests.serving.plane import TOKEN_A, GrpcGatewayProcess, until
from worker.serving import grpcproto

SECONDS = int(os.environ.get("SECONDS", "4"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
METHOD = "/inference.GRPCInferenceService/ModelInfer"
GOAL, STRETCH = 3.0, 2.0


def message() -> bytes:
    """One item, as raw contents."""
    request = grpcproto.ModelInferRequest(model_name="digits")
    request.inputs.add(name="input", datatype="FP32", shape=[1, 1, 28, 28])
    request.raw_input_contents.append(np.random.default_rng(1).random(PIXELS, dtype=np.float32).tobytes())
    data: bytes = request.SerializeToString()
    return data


async def ask(address: str, callers: int, seconds: float) -> dict[str, float]:
    """Call without a pause with so many at once, over up to eight connections."""
    data, taken = message(), list[float]()
    metadata = (("authorization", f"Bearer {TOKEN_A}"),)
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(min(8, callers))
    ]
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        call = channels[number % len(channels)].unary_unary(METHOD)
        while (began := time.perf_counter()) < end:
            await call(data, metadata=metadata, timeout=30)
            taken.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*[caller(number) for number in range(callers)])
    elapsed = time.perf_counter() - began
    for channel in channels:
        await channel.close()
    taken.sort()
    count = len(taken)
    return {"requests": count, "rate": count / elapsed, "p50": taken[count // 2], "p99": taken[count * 99 // 100]}


@dataclass
class GrpcBench:
    """The plane with its gRPC gateway."""

    bench: Bench
    gateway: GrpcGatewayProcess

    def cpu_seconds(self) -> float:
        """CPU that gRPC gateway and replica have used."""
        pids = [self.gateway.pid, self.bench.replica.pid, *self.bench.replica.children()]
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)

    def load(self, callers: int, seconds: int) -> dict[str, float]:
        """One run of `ask` in a process of its own, with the server's CPU seconds per request."""
        before = self.cpu_seconds()
        command = [sys.executable, "-m", "benchmarks.grpc_price", f"127.0.0.1:{self.gateway.port}", str(callers)]
        ran = subprocess.run([*command, str(seconds)], capture_output=True, text=True, check=True)
        found: dict[str, float] = json.loads(ran.stdout)
        return found | {"cpu": (self.cpu_seconds() - before) / found["requests"]}


def measure(bench: GrpcBench) -> dict[str, list[float]]:
    """Figures of every round, by name; ratios are gRPC's over the handed connection's of the same round."""
    figures: dict[str, list[float]] = {}
    bench.load(16, 1)
    bench.bench.load("binary", 16, 1)
    for _ in range(ROUNDS):
        for callers in (64, 1):
            handed, called = bench.bench.load("binary", callers, SECONDS), bench.load(callers, SECONDS)
            figures.setdefault(f"{callers} handed requests/s", []).append(handed["rate"])
            figures.setdefault(f"{callers} gRPC calls/s", []).append(called["rate"])
            for figure in ("p50", "p99", "cpu"):
                figures.setdefault(f"{callers} {figure} ratio", []).append(called[figure] / handed[figure])
            figures.setdefault(f"{callers} gRPC p50 ms", []).append(called["p50"] * 1e3)
    figures["gateway MB (USS)"] = [psutil.Process(bench.gateway.pid).memory_full_info().uss / 2**20]
    return figures


def main(arguments: list[str]) -> int:
    """Measure, print the figures, then the verdict as one line; 1 where the goal is missed."""
    if arguments:
        address, callers, seconds = arguments
        print(json.dumps(asyncio.run(ask(address, int(callers), float(seconds)))))
        return 0
    if shutil.which("wrk") is None:
        print("wrk is not installed: apt-get install wrk")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        handed = start(Path(folder))
        gateway = GrpcGatewayProcess(Path(folder) / "home", handed.routes.url)
        try:
            until(lambda: gateway.output.count('"replica process linked"') == handed.replica.spec.processes, 10)
            figures = measure(GrpcBench(handed, gateway))
        finally:
            gateway.stop()
            handed.gateway.stop()
            handed.replica.stop()
            handed.routes.close()
    for name, values in figures.items():
        print(f"{name:24} {statistics.median(values):10.3f}   rounds {[round(value, 3) for value in values]}")
    value = statistics.median(figures["64 cpu ratio"])
    found = {
        "name": "grpc: the server's CPU per call at 64 at once, binary tensors",
        "value": round(value, 3),
        "unit": "x",
        "against": "the same replica, connections handed over",
        "ratio": round(value, 3),
        "goal": GOAL,
        "stretch": STRETCH,
        "met": value <= GOAL,
    }
    print(json.dumps(found))
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

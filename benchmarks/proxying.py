"""`python -m benchmarks.proxying`: what going request by request through the gateway costs against hand-over.

The plane of `benchmarks.serving`, and a second gateway before the same replica, which takes this host for a trusted
proxy. `wrk` asks both in turn within each round, so that both meet the same machine; ratios are of one round, and
their medians are reported. Needs `wrk`.
"""

import dataclasses
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.serving import Bench, start
from tests.serving.plane import GatewayProcess, until

SECONDS = int(os.environ.get("SECONDS", "4"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))


def measure(handed: Bench, pooled: Bench) -> dict[str, list[float]]:
    """Figures of every round, by name; each pooled one as a multiple of the handed one."""
    figures: dict[str, list[float]] = {}
    for bench in (handed, pooled):
        bench.load("json", 16, 1)
    for _ in range(ROUNDS):
        for protocol, connections in (("json", 64), ("binary", 64), ("json", 1)):
            one, other = (bench.load(protocol, connections, SECONDS) for bench in (handed, pooled))
            for figure in ("rate", "p50", "p99", "cpu"):
                figures.setdefault(f"{protocol} {connections} {figure}", []).append(other[figure] / one[figure])
            figures.setdefault(f"{protocol} {connections} handed/s", []).append(one["rate"])
            figures.setdefault(f"{protocol} {connections} p50 added us", []).append(1e6 * (other["p50"] - one["p50"]))
    return figures


def main() -> int:
    """Measure, print the figures, then the verdict as one line; 1 where the goal is missed."""
    if shutil.which("wrk") is None:
        print("wrk is not installed: apt-get install wrk")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        handed = start(Path(folder))
        gateway = GatewayProcess(Path(folder) / "trusting", handed.routes.url, 0, "--trusted-proxy", "127.0.0.1")
        try:
            until(lambda: gateway.output.count('"replica process linked"') == handed.replica.spec.processes, 10)
            figures = measure(handed, dataclasses.replace(handed, gateway=gateway))
        finally:
            gateway.stop()
            handed.gateway.stop()
            handed.replica.stop()
            handed.routes.close()
    for name, values in figures.items():
        print(f"{name:24} {statistics.median(values):10.3f}   rounds {[round(value, 3) for value in values]}")
    value = statistics.median(figures["json 64 rate"])
    found = {
        "name": "proxying: throughput at 64 connections, JSON",
        "value": round(value, 3),
        "unit": "x",
        "against": "the same replica, connections handed over",
        "ratio": round(value, 3),
        "goal": 0.5,
        "stretch": 0.65,
        "met": value >= 0.5,
    }
    print(json.dumps(found))
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main())

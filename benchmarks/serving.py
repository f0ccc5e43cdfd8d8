"""`python -m benchmarks.serving`: the data plane against raw ONNX Runtime on the same cores, interleaved.

A CNN of 1.2 M parameters (two convolutions, two dense layers, 28 x 28 in) behind a real gateway and a replica
of two processes, with keys, two variants and usage segments on, under `wrk` with one item per request.
Each round measures raw ONNX Runtime (two processes, batches of 32) and then each protocol; ratios are taken
within a round and their median is reported.

Other work on the machine makes rates and latencies worthless, so the cores it used are measured too
("foreign"): above FOREIGN_LIMIT the goals on rates and latencies count as missed, whatever their figures.
CPU per request and memory stand in any case.

Then, in the same round, each peer (`benchmarks.serving_peers`): PEERS=pytriton,litserve chooses, PEERS= leaves them
out. Needs `wrk`.
"""

import json
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort
import psutil
from onnx import TensorProto, helper, numpy_helper

from backend.core.wire import VariantSpec
from benchmarks import wrk
from benchmarks.serving_peers import PEERS, pss_mb, running
from tests.serving import models
from tests.serving.plane import TOKEN_A, GatewayProcess, Replica, RouteServer, infer_body, key, route, until

SECONDS = int(os.environ.get("SECONDS", "5"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
PIXELS = 28 * 28
FOREIGN_LIMIT = 0.3
CHOSEN = os.environ.get("PEERS", ",".join(peer.name.lower() for peer in PEERS)).split(",")
PYTRITON = "PyTriton"
UNDISTURBED = {"json cpu ratio", "pss MB"}


def cnn(path: Path) -> None:
    """Conv 32, conv 64, max pool, dense 128, dense 10 on [n, 1, 28, 28], seeded random weights."""
    random = np.random.default_rng(0)
    shapes = {"k1": (32, 1, 3, 3), "k2": (64, 32, 3, 3), "d1": (9216, 128), "d2": (128, 10)}
    weights = [
        numpy_helper.from_array(random.normal(0, 0.05, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    steps = [("Conv", ["input", "k1"]), ("Relu", []), ("Conv", ["", "k2"]), ("Relu", [])]
    steps += [("MaxPool", []), ("Flatten", []), ("MatMul", ["", "d1"]), ("Relu", []), ("MatMul", ["", "d2"])]
    nodes, last = [], "input"
    for index, (kind, inputs) in enumerate(steps):
        output = "logits" if index == len(steps) - 1 else f"t{index}"
        node = helper.make_node(kind, [last, *inputs[1:]], [output])
        if kind == "MaxPool":
            node.attribute.append(helper.make_attribute("kernel_shape", [2, 2]))
            node.attribute.append(helper.make_attribute("strides", [2, 2]))
        nodes.append(node)
        last = output
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "cnn",
        [info("input", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [info("logits", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    models.save(graph, path)


def raw_process(path: str, seconds: float, batch: int, queue: "multiprocessing.Queue[list[float]]") -> None:
    """Run batches for `seconds`; answers [items/s, median seconds of a batch, CPU seconds per item]."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {"input": np.random.default_rng(0).random((batch, 1, 28, 28), dtype=np.float32)}
    session.run(None, feeds)
    taken: list[float] = []
    cpu, began = time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        at = time.perf_counter()
        session.run(None, feeds)
        taken.append(time.perf_counter() - at)
    items = batch * len(taken)
    elapsed = time.perf_counter() - began
    queue.put([items / elapsed, statistics.median(taken), (time.process_time() - cpu) / items])


def raw(path: Path, *, seconds: float, batch: int, processes: int) -> tuple[float, float, float]:
    """Items/s of all processes, and means of their median batch seconds and CPU seconds per item."""
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[list[float]] = context.Queue()
    started = [context.Process(target=raw_process, args=(str(path), seconds, batch, answers)) for _ in range(processes)]
    for process in started:
        process.start()
    found = [answers.get() for _ in started]
    for process in started:
        process.join()
    rates, medians, cpu = zip(*found, strict=True)
    return sum(rates), statistics.mean(medians), statistics.mean(cpu)


class Machine:
    """The machine from now on."""

    def __init__(self) -> None:
        self._at, self._busy, self._children = self._look()

    def _look(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        busy = sum(times[:3]) + times.irq + times.softirq
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.monotonic(), busy, children.ru_utime + children.ru_stime

    def foreign(self, own_seconds: float = 0.0) -> float:
        """Cores used by others; `own_seconds`: CPU of processes of ours that are still running."""
        at, busy, children = self._look()
        return (busy - self._busy - (children - self._children) - own_seconds) / (at - self._at)


@dataclass
class Bench:
    """A running data plane and the requests sent to it."""

    folder: Path
    routes: RouteServer
    gateway: GatewayProcess
    replica: Replica
    headers: dict[str, list[str]] = field(default_factory=dict)

    def pids(self) -> list[int]:
        """All processes of the plane."""
        return [self.gateway.pid, self.replica.pid, *self.replica.children()]

    def cpu_seconds(self) -> float:
        """CPU they have used."""
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in self.pids())

    def pss_mb(self) -> float:
        """Memory they hold, shared pages divided, in MB (2**20)."""
        return pss_mb(psutil.Process(pid) for pid in self.pids())

    @property
    def pixels(self) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """What every request asks about, rounded to four places."""
        return np.round(np.random.default_rng(1).random(PIXELS), 4)

    @property
    def model(self) -> Path:
        """The model file."""
        return self.folder / "replica" / "models" / "a" / "model.onnx"

    def write_requests(self) -> None:
        """`json` and `binary` request bodies of one item."""
        pixels = self.pixels
        body = infer_body([pixels.tolist()])
        body["inputs"][0]["shape"] = [1, 1, 28, 28]
        (self.folder / "json").write_text(json.dumps(body, separators=(",", ":")))
        data = pixels.astype(np.float32).tobytes()
        del body["inputs"][0]["data"]
        body["inputs"][0]["parameters"] = {"binary_data_size": len(data)}
        body["parameters"] = {"binary_data_output": True}
        head = json.dumps(body, separators=(",", ":")).encode()
        (self.folder / "binary").write_bytes(head + data)
        key_header = f"Authorization: Bearer {TOKEN_A}"
        self.headers = {
            "json": [key_header, "Content-Type: application/json"],
            "binary": [key_header, f"Inference-Header-Content-Length: {len(head)}"],
        }

    def load(self, protocol: str, connections: int, seconds: int) -> dict[str, float]:
        """One wrk run: rate, p50 and p99 in seconds, CPU seconds per request; any error ends it all."""
        url = f"http://127.0.0.1:{self.gateway.port}/v2/models/digits/infer"
        before, machine = self.cpu_seconds(), Machine()
        found = wrk.post(url, self.folder / protocol, self.headers[protocol], connections=connections, seconds=seconds)
        used = self.cpu_seconds() - before
        return found | {"cpu": used / found["requests"], "foreign": machine.foreign(used)}


def start(folder: Path) -> Bench:
    """The plane: endpoint `digits`, variants a and b (the same CNN) at 70/30, two processes."""
    root = folder / "replica"
    signature = {
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 1, 28, 28]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
    }
    for name in ("a", "b"):
        cnn(root / "models" / name / "model.onnx")
        (root / "models" / name / "signature.json").write_text(json.dumps(signature))
    variants = [VariantSpec(name=name, model_version_id=name, files=[]) for name in ("a", "b")]
    spec = models.replica_spec(variants, processes=2)
    models.replica_folder(root, spec)
    routes = RouteServer()
    routes.publish([route(spec, root, {"a": 70, "b": 30})], [key("org-a", TOKEN_A)])
    bench = Bench(folder, routes, GatewayProcess(folder / "home", routes.url), Replica(root, spec))
    bench.replica.wait_ready()
    until(lambda: bench.gateway.output.count('"replica process linked"') == spec.processes, 10)
    bench.write_requests()
    return bench


Note = Callable[[str, float], None]


def measure(bench: Bench) -> dict[str, list[float]]:
    """Figures of every round, by name; ratios are taken within the round."""
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    bench.load("json", 16, 2)
    for _ in range(ROUNDS):
        ours = measure_ours(bench, note)
        measure_peers(bench, ours, note)
    note("pss MB", bench.pss_mb())
    return figures


def measure_ours(bench: Bench, note: Note) -> dict[str, float]:
    """Raw ONNX Runtime and then the plane; answers the figures that peers are held against."""
    machine = Machine()
    rate, _, cpu = raw(bench.model, seconds=SECONDS, batch=32, processes=2)
    note("foreign cores", machine.foreign())
    _, latency, _ = raw(bench.model, seconds=1, batch=1, processes=1)
    note("raw items/s", rate)
    rates = {}
    for protocol in ("json", "binary"):
        found = bench.load(protocol, 64, SECONDS)
        rates[protocol] = found["rate"]
        note("foreign cores", found["foreign"])
        note(f"{protocol} requests/s", found["rate"])
        note(f"{protocol} rate ratio", found["rate"] / rate)
        note(f"{protocol} cpu ratio", found["cpu"] / cpu)
    note("p50 ratio", bench.load("json", 1, SECONDS)["p50"] / latency)
    p99 = bench.load("json", 16, SECONDS)["p99"]
    note("p99 ms at 16", p99 * 1e3)
    return {"rate": rates["json"], "p99": p99}


def measure_peers(bench: Bench, ours: Mapping[str, float], note: Note) -> None:
    """Each chosen peer alone on the machine, as the plane idles."""
    rates: dict[str, float] = {}
    tails: dict[str, float] = {}
    pixels = bench.pixels
    session = ort.InferenceSession(bench.model, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"input": pixels.astype(np.float32).reshape(1, 1, 28, 28)})[0][0]
    for peer in (peer for peer in PEERS if peer.name.lower() in CHOSEN):
        with running(peer, bench.model, pixels, expected, bench.folder) as started:
            started.load(16, 2)
            rates[peer.name] = started.load(64, SECONDS)["rate"]
            tails[peer.name] = started.load(16, SECONDS)["p99"]
            note(f"{peer.name} pss MB", started.pss_mb())
        note(f"{peer.name} requests/s", rates[peer.name])
        note(f"{peer.name} p99 ms at 16", tails[peer.name] * 1e3)
    if PYTRITON in rates:
        note("against PyTriton", ours["rate"] / rates[PYTRITON])
    others = [rate for name, rate in rates.items() if name != PYTRITON]
    if others:
        note("against the best other", ours["rate"] / max(others))
    if tails:
        note("p99 ratio", ours["p99"] / min(tails.values()))


def verdicts(figures: dict[str, list[float]]) -> list[dict[str, object]]:
    """One object per goal of the design's table, but of those whose peers were left out."""
    goals = [
        ("json throughput", "json rate ratio", "x", "raw ONNX Runtime", 0.55, 0.70, 1),
        ("binary throughput", "binary rate ratio", "x", "raw ONNX Runtime", 0.65, 0.77, 1),
        ("json throughput", "against PyTriton", "x", "PyTriton", 2.5, 3.0, 1),
        ("json throughput", "against the best other", "x", "best of the other peers", 4.5, 6.0, 1),
        ("p50 at one connection", "p50 ratio", "x", "ONNX Runtime batch-1 latency", 2.5, 1.9, -1),
        ("p99 at 16 connections", "p99 ratio", "x", "best peer's", 0.4, 0.25, -1),
        ("cpu per request", "json cpu ratio", "x", "raw ONNX Runtime per item", 1.8, 1.4, -1),
        ("memory", "pss MB", "MB", "limit", 180, 120, -1),
    ]
    quiet = max(figures["foreign cores"]) <= FOREIGN_LIMIT
    found: list[dict[str, object]] = []
    for name, figure, unit, against, goal, stretch, sign in goals:
        if figure not in figures:
            continue
        value = statistics.median(figures[figure])
        ratio = value / goal if unit == "MB" else value
        found.append(
            {
                "name": f"serving: {name}",
                "value": round(value, 3),
                "unit": unit,
                "against": against,
                "ratio": round(ratio, 3),
                "goal": goal,
                "stretch": stretch,
                "met": sign * value >= sign * goal and (quiet or figure in UNDISTURBED),
            }
        )
    return found


def main() -> int:
    """Measure, print the figures, then the verdicts as one line; 1 where a goal is missed."""
    if shutil.which("wrk") is None:
        print("wrk is not installed: apt-get install wrk")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        bench = start(Path(folder))
        try:
            figures = measure(bench)
        finally:
            bench.gateway.stop()
            bench.replica.stop()
            bench.routes.close()
    for name, values in figures.items():
        print(f"{name:22} {statistics.median(values):10.3f}   rounds {[round(value, 3) for value in values]}")
    found = verdicts(figures)
    if max(figures["foreign cores"]) > FOREIGN_LIMIT:
        print("other work disturbed this run: its rates and latencies mean nothing")
    print(json.dumps(found))
    return 0 if all(each["met"] for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())

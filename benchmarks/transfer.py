"""Upload and download of a large dataset archive through the client, against `cp` of the same file to the same disk.

Run `python -m benchmarks.transfer [--short]`; the last line is a JSON list. A ZIP of 512 noise images of about 1 MiB
(PNG stores them uncompressed: nothing can be squeezed) goes up in resumable parts of 8 MiB to a real API process; the
clock stops when the upload is *completed*: joined, its digest checked, every image decoded and stored under its own
digest. Then it is frozen and every file is read back one by one and compared by digest. `cp` is `shutil.copyfile` and
fsync of the copy. Rounds in turn, medians. CPU seconds of API and client per GiB are told too: they say where the time
goes on a machine that is not quiet.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.stack import ApiProcess, BenchTenant, Stack
from modelyard import Client

IMAGES, ROUNDS = 512, 3
SIDE = 592
"""Pixels; three bytes each make a MiB."""
UP_GOAL, UP_STRETCH = 0.05, 0.2
DOWN_GOAL, DOWN_STRETCH = 0.05, 0.2


@dataclass(frozen=True)
class Round:
    """Seconds of one round, and CPU seconds of API and client while uploading."""

    copy: float
    up: float
    down: float
    api_cpu: float
    client_cpu: float


def write_archive(path: Path, images: int, seed: int) -> dict[str, str]:
    """Noise images in two classes; their SHA-256 by path."""
    random = np.random.default_rng(seed)
    digests: dict[str, str] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(images):
            pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "PNG", compress_level=0)
            name = f"{'even' if number % 2 == 0 else 'odd'}/{number:05}.png"
            archive.writestr(name, content.getvalue())
            digests[name] = hashlib.sha256(content.getvalue()).hexdigest()
    return digests


def copy(path: Path) -> float:
    """Seconds of a copy that is on the disk."""
    target = path.with_suffix(".copy")
    began = time.perf_counter()
    shutil.copyfile(path, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    taken = time.perf_counter() - began
    target.unlink()
    return taken


def measure(api: ApiProcess, client: Client, tenant: BenchTenant, path: Path, images: int, number: int) -> Round:
    """One round with fresh images: nothing that is stored already is sent again."""
    digests = write_archive(path, images, number)
    copied = copy(path)
    dataset = client.datasets.create(str(tenant.project_id), f"noise-{number}")
    api_cpu, client_cpu, began = api.cpu_seconds(), time.process_time(), time.perf_counter()
    upload = client.datasets.upload(dataset.id, path)
    up = time.perf_counter() - began
    api_cpu, client_cpu = api.cpu_seconds() - api_cpu, time.process_time() - client_cpu
    if upload.status != "completed":
        raise RuntimeError(f"the upload is {upload.status}: {upload.status_reason}")
    version = client.datasets.freeze(dataset.id, splits={"train": 0.5, "test": 0.5})
    files = list(client.datasets.files(version.id))
    began = time.perf_counter()
    found = {file.path: hashlib.sha256(client.datasets.read(version.id, file.sha256)).hexdigest() for file in files}
    down = time.perf_counter() - began
    if found != digests:
        raise RuntimeError("what was read is not what was uploaded")
    return Round(copied, up, down, api_cpu, client_cpu)


def run(images: int, rounds: int) -> tuple[list[Round], int]:
    """All rounds, and the size of the archive in bytes."""
    found: list[Round] = []
    with Stack() as stack:
        site = stack.site("transfer")
        tenant = site.tenant("acme")
        path = stack.base / "noise.zip"
        with site.api() as api, Client(api.url, tenant.key, timeout_seconds=600) as client:
            for number in range(rounds):
                found.append(measure(api, client, tenant, path, images, number))
                one = found[-1]
                print(f"cp {one.copy:.2f} s, up {one.up:.2f} s, down {one.down:.2f} s", flush=True)
        return found, path.stat().st_size


def lines(found: Sequence[Round], size: int) -> list[dict[str, Any]]:
    """The results as JSON objects."""
    mib = size / 2**20
    results = []
    for name, seconds, goal, stretch in (
        ("upload", [one.up for one in found], UP_GOAL, UP_STRETCH),
        ("download", [one.down for one in found], DOWN_GOAL, DOWN_STRETCH),
    ):
        ratio = median(one.copy / taken for one, taken in zip(found, seconds, strict=True))
        results.append(
            {
                "name": name,
                "value": round(mib / median(seconds), 1),
                "unit": f"MiB/s, {mib:.0f} MiB in {'parts of 8 MiB, checked' if name == 'upload' else 'single files'}",
                "against": f"cp and fsync, {mib / median(one.copy for one in found):.0f} MiB/s",
                "ratio": round(ratio, 3),
                "goal": goal,
                "stretch": stretch,
                "met": ratio >= goal,
            }
        )
    results[0]["api_cpu_seconds_per_gib"] = round(median(one.api_cpu for one in found) / mib * 1024, 1)
    results[0]["client_cpu_seconds_per_gib"] = round(median(one.client_cpu for one in found) / mib * 1024, 1)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small sizes: shows that it runs, measures little")
    short = parser.parse_args(arguments).short
    found = lines(*(run(24, 1) if short else run(IMAGES, ROUNDS)))
    print(json.dumps(found))
    return 0 if all(one["met"] for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())

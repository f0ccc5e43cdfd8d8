"""A job that uses torch in the sandbox, with worker processes over shared memory, and reads a dataset channel."""

import os
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from worker.jobprocess import JobProcess

if __name__ == "__main__":
    process = JobProcess.open()
    folder = process.input_folder("dataset")
    blobs = sorted(folder.glob("blobs/*/*"))
    try:
        blobs[0].write_bytes(b"changed")
        writable = "writable"
    except OSError:
        writable = "read-only"
    data = TensorDataset(torch.arange(64, dtype=torch.float32).reshape(32, 2))
    total = sum(float(batch.sum()) for (batch,) in DataLoader(data, batch_size=8, num_workers=1))
    product = (torch.ones(64, 64) @ torch.ones(64, 64)).sum().item()
    result = process.work_folder / "result"
    result.mkdir()
    torch.save(torch.ones(3), result / "tensor.pt")
    summary = {
        "total": total,
        "product": product,
        "threads": torch.get_num_threads(),
        "blobs": [path.read_text() for path in blobs],
        "manifest": (folder / "manifest.parquet").exists(),
        "writable": writable,
        "cwd": str(Path.cwd()),
        "home": os.environ["HOME"],
    }
    process.result_written(result, summary)
    sys.exit(0)

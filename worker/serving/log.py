"""One JSON object per line on standard output: `at` (Unix seconds), `event`, and plain fields."""

import os
import time

import msgspec

_encoder = msgspec.json.Encoder()
STDOUT = 1


def log(event: str, **fields: str | float | None) -> None:
    """Write one line. A closed or full standard output never stops the data plane."""
    line = _encoder.encode({"at": round(time.time(), 3), "event": event, **fields}) + b"\n"
    try:
        os.write(STDOUT, line)
    except OSError:
        return

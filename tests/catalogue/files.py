"""Files that causes send."""

import hashlib

from tests.datasets.files import png

FILES = {
    "zero.png": png(0),
    "letter.txt": b"This is no archive.",
    "2049.bin": b"x" * 2049,
    "3-MiB.jsonl": b"x" * (3 * 1024 * 1024),
    "9-MiB.json": b" " * (9 * 1024 * 1024),
    "part.bin": b"y" * 2048,
}


def opened(name: str) -> dict[str, object]:
    """What opens an upload of a file in one part."""
    data = FILES[name]
    return {"file_name": name, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

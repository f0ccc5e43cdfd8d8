"""Inputs of an assignment, through a cache by digest on the instance.

`DIR/cache/blobs/<aa>/<sha256>` holds each blob once, read-only. A dataset version is prepared once as a folder
(`manifest.parquet`, `blobs/<aa>/<sha256>`, hard links into the cache) and *lent*: the folder moves into the job's
own, which the sandbox sees read-only, and moves back to `DIR/cache/datasets/<manifest digest>/` when the job is gone.
So a cached dataset costs a job one rename, whatever its size, and reaches a sandbox that is up already (`standby`)
without a mount. Who comes while it is lent gets links of its own; one that never comes back (the agent was killed) is
made again from the blobs. Files of models and checkpoints are hard-linked under their names. Every byte's digest
is checked before it gets its name, so what is in the cache is whole; after a reboot, when unflushed bytes may be
lost, the cache starts anew.
"""

import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from backend.core.wire import Channel, FileRef
from worker.agent.control import AssignmentKey, ControlPlane
from worker.agent.state import boot_id, make_private

BATCH_BLOBS = 1000
MANIFEST_SECONDS = 300.0
_DIGEST = re.compile(r"[0-9a-f]{64}")


class InputNotUsable(Exception):
    """An input is not what its digest or name promises; the message says which and how."""


def safe_name(name: str) -> PurePosixPath:
    """A file name that stays below its folder. Raises InputNotUsable."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or any(part in {"..", "."} or "\x00" in part for part in path.parts):
        raise InputNotUsable(f"the file name {name!r} does not stay in its folder")
    return path


class InputCache:
    """The cache of one agent. Several assignments may fetch at once."""

    def __init__(self, folder: Path, control: ControlPlane) -> None:
        self._folder = make_private(folder)
        self._control = control
        self._names = itertools.count()
        self._datasets_lock = threading.Lock()
        marker = folder / "boot"
        if not marker.exists() or marker.read_text() != boot_id():
            shutil.rmtree(folder)
            make_private(folder)
            marker.write_text(boot_id())
        shutil.rmtree(folder / "partial", ignore_errors=True)
        for name in ("blobs", "datasets", "partial"):
            (folder / name).mkdir(exist_ok=True)

    def link_files(self, key: AssignmentKey, files: list[FileRef], folder: Path) -> None:
        """Put files under their names into `folder`. Raises ControlError, InputNotUsable."""
        self._fetch(key, [file.sha256 for file in files])
        for file in files:
            target = folder / safe_name(file.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(self._blob(file.sha256), target)

    def fill_channel(self, key: AssignmentKey, channel: Channel, folder: Path) -> None:
        """Put a channel's content into `folder`, which is there and empty. A dataset is lent: see `take_back`.

        Raises ControlError, InputNotUsable.
        """
        if channel.kind == "model":
            self.link_files(key, channel.files, folder)
            return
        manifest = _manifest_of(channel)
        with self._datasets_lock:
            prepared = self._folder / "datasets" / manifest
            (prepared if prepared.exists() else self._prepare(key, manifest)).rename(folder)

    def take_back(self, channel: Channel, folder: Path) -> None:
        """After the job: keep a lent dataset for the next one, unless another came back before."""
        if channel.kind == "model" or not (folder / "manifest.parquet").exists():
            return
        with self._datasets_lock:
            prepared = self._folder / "datasets" / _manifest_of(channel)
            if not prepared.exists():
                folder.rename(prepared)

    def _prepare(self, key: AssignmentKey, manifest: str) -> Path:
        self._fetch(key, [manifest])
        digests = _digests_of(self._blob(manifest))
        self._fetch(key, digests)
        partial = self._partial()
        (partial / "blobs").mkdir(parents=True)
        os.link(self._blob(manifest), partial / "manifest.parquet")
        for prefix in {digest[:2] for digest in digests}:
            (partial / "blobs" / prefix).mkdir()
        for digest in digests:
            os.link(self._blob(digest), partial / "blobs" / digest[:2] / digest)
        return partial

    def _fetch(self, key: AssignmentKey, digests: Iterable[str]) -> None:
        """Bring the blobs that are not here yet."""
        missing = []
        for digest in dict.fromkeys(digests):
            _check_digest(digest)
            if not self._blob(digest).exists():
                missing.append(digest)
        if len(missing) == 1:
            self._store(missing[0], self._control.read_blob(key, missing[0]))
            return
        for start in range(0, len(missing), BATCH_BLOBS):
            batch = missing[start : start + BATCH_BLOBS]
            for digest, blocks in self._control.read_blobs(key, batch):
                _check_digest(digest)
                self._store(digest, blocks)
        for digest in missing:
            if not self._blob(digest).exists():
                raise InputNotUsable(f"the control plane did not send blob {digest}")

    def _store(self, digest: str, blocks: Iterator[bytes]) -> None:
        partial = self._partial()
        found = hashlib.sha256()
        with partial.open("wb") as file:
            for block in blocks:
                found.update(block)
                file.write(block)
            os.fchmod(file.fileno(), 0o444)
        if found.hexdigest() != digest:
            partial.unlink()
            raise InputNotUsable(f"blob {digest} arrived with the digest {found.hexdigest()}")
        target = self._blob(digest)
        target.parent.mkdir(exist_ok=True)
        partial.rename(target)

    def _partial(self) -> Path:
        return self._folder / "partial" / str(next(self._names))

    def _blob(self, digest: str) -> Path:
        return self._folder / "blobs" / digest[:2] / digest


def _manifest_of(channel: Channel) -> str:
    """The digest of a dataset channel's manifest. Raises InputNotUsable."""
    if [file.name for file in channel.files] != ["manifest.parquet"]:
        raise InputNotUsable(f"the dataset channel {channel.name!r} must hold manifest.parquet alone")
    _check_digest(channel.files[0].sha256)
    return channel.files[0].sha256


def _check_digest(digest: str) -> None:
    if _DIGEST.fullmatch(digest) is None:
        raise InputNotUsable(f"{digest[:80]!r} is not a SHA-256 digest")


def _digests_of(manifest: Path) -> list[str]:
    """Every digest that a manifest names, each once."""
    done = subprocess.run(
        [sys.executable, "-m", "worker.agent.manifest", str(manifest)],
        capture_output=True,
        timeout=MANIFEST_SECONDS,
        check=False,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise InputNotUsable(f"the dataset manifest cannot be read: {''.join(said)}")
    return done.stdout.decode().split()

"""A platform is backed up while it works, restored elsewhere, and is the same platform; an old home is upgraded."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import pytest

from modelyard import Client, InferenceClient
from modelyard.errors import ModelyardError
from modelyard.images import write_archive
from modelyard.pilot import tensor
from tests.chaos.story import check_billed_once, completed, has_checkpoint, machines_gone
from tests.fixtures.digits import digits
from tests.fixtures.platform import ON_PLATFORM, ROOT, RunningPlatform, wait_for

pytestmark = ON_PLATFORM


def modelyard(platform: RunningPlatform, *words: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """`modelyard … --home HOME --output json`, as a person's shell runs it."""
    command = [sys.executable, "-m", "backend.cli", "--output", "json", *words, "--home", str(home)]
    return subprocess.run(
        command, cwd=ROOT, env=platform.environment(), capture_output=True, text=True, check=False, timeout=120
    )


def ok(told: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert told.returncode == 0, told.stderr
    content: dict[str, Any] = json.loads(told.stdout)
    return content


@pytest.fixture(scope="module")
def backup(platform: RunningPlatform) -> Path:
    """Of the session's platform, taken while it runs."""
    platform.client().projects.ensure("backed-up")
    target = platform.home.parent / "backup"
    taken = ok(modelyard(platform, "backup", str(target), home=platform.home))
    assert taken["files"] > 5
    assert (
        taken["bytes"]
        == sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        - (target / "SHA256SUMS").stat().st_size
    )
    return target


@pytest.fixture
def copy(backup: Path, tmp_path: Path) -> Path:
    """A backup to damage."""
    return Path(shutil.copytree(backup, tmp_path / "copy"))


def test_a_backup_is_for_its_owner_only_and_checks_with_sha256sum(backup: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in [backup, *backup.rglob("*")]}
    assert all(mode in {0o600, 0o700} for mode in modes.values()), modes
    subprocess.run(["/usr/bin/sha256sum", "--quiet", "--check", "SHA256SUMS"], cwd=backup, check=True)
    assert not backup.with_name("backup.partial").exists()


def test_a_backup_never_replaces_anything(platform: RunningPlatform, backup: Path) -> None:
    before = (backup / "backup.json").read_bytes()
    told = modelyard(platform, "backup", str(backup), home=platform.home)
    assert told.returncode == 1
    assert "exists, and a backup never replaces anything" in told.stderr
    assert (backup / "backup.json").read_bytes() == before
    inside = modelyard(platform, "backup", str(platform.home / "backup"), home=platform.home)
    assert "lies in the home" in inside.stderr
    nothing = modelyard(platform, "backup", str(backup.with_name("b2")), home=backup.with_name("no-home"))
    assert "has no database of its own" in nothing.stderr
    assert not backup.with_name("b2.partial").exists()


def test_a_backup_that_broke_off_is_gone_on_with(platform: RunningPlatform, backup: Path) -> None:
    objects = platform.home / "objects" / "blobs" / "of-nobody"
    content = b"kept by hand"
    blob = objects / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    target = backup.with_name("second")
    partial = backup.with_name("second.partial")
    (partial / "objects").mkdir(parents=True)
    shutil.copytree(platform.home / "objects", partial / "objects", dirs_exist_ok=True)
    (partial / "database").mkdir()
    (partial / "database" / "base.tar.gz").write_bytes(b"half")
    (partial / "objects" / "deleted-meanwhile").write_bytes(b"nobody's")
    taken = ok(modelyard(platform, "backup", str(target), home=platform.home))
    assert taken["kept"] >= 1
    assert not (target / "objects" / "deleted-meanwhile").exists()
    assert (target / "database" / "base.tar.gz").stat().st_size > 100_000
    # A blob whose content is not what its name says would be found out too late.
    blob.write_bytes(b"rotten")
    refused = modelyard(platform, "backup", str(backup.with_name("third")), home=platform.home)
    blob.unlink()
    assert refused.returncode == 1
    assert "is damaged" in refused.stderr
    assert not backup.with_name("third").exists()


def test_a_restore_replaces_nothing(platform: RunningPlatform, backup: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    told = modelyard(platform, "restore", str(backup), home=tmp_path)
    assert told.returncode == 1
    assert "is not empty" in told.stderr
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda backup: (backup / "owner.json").write_text("{}"), "owner.json is damaged"),
        (lambda backup: (backup / "database" / "pg_wal.tar.gz").unlink(), "lacks 1 of its"),
        (lambda backup: (backup / "SHA256SUMS").unlink(), "is not a backup"),
        (lambda backup: (backup / "SHA256SUMS").write_text(f"{'0' * 64}  ../../etc/passwd\n"), "names no file of it"),
        (lambda backup: _change(backup, schema="9999"), "taken by a newer Modelyard"),
        (lambda backup: _change(backup, postgres="19.1"), "taken from PostgreSQL 19.1"),
        (lambda backup: _change(backup, format=2), "format 2"),
    ],
    ids=["changed", "missing", "no sums", "path outside", "newer schema", "newer PostgreSQL", "newer format"],
)
def test_a_damaged_backup_is_refused(
    platform: RunningPlatform, copy: Path, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(copy)
    told = modelyard(platform, "restore", str(copy), home=tmp_path / "home")
    assert told.returncode == 1
    assert said in json.loads(told.stderr.splitlines()[-1])["error"]
    assert not (tmp_path / "home").exists()


def _change(backup: Path, **facts: object) -> None:
    path = backup / "backup.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


@pytest.mark.slow
@pytest.mark.timeout(600)  # a platform starts three times, trains, and serves
def test_a_restored_platform_is_the_same_platform(new_platform: Callable[[], RunningPlatform], tmp_path: Path) -> None:
    old = new_platform()
    old.up()
    client = old.client()
    project = client.projects.ensure("survivors").id
    version = _dataset(client, project, tmp_path)
    trained = client.training_jobs.create(
        project, "trained", dataset_version_id=version, model_name="digits", hyperparameters={"epochs": 2}
    )
    trained = client.jobs.wait(trained.id, timeout_seconds=120)
    wait_for("the job's machine to be gone", lambda: machines_gone(old, trained))
    check_billed_once(old, client, trained)
    running = client.jobs.sleep(project, "running", seconds=15.0)
    wait_for("the job to write a checkpoint", lambda: has_checkpoint(old, running))
    before = _known(client, trained.id, version)
    ok(modelyard(old, "backup", str(tmp_path / "backup"), home=old.home))
    old.down()

    new = new_platform()
    ok(modelyard(new, "restore", str(tmp_path / "backup"), home=new.home))
    new.up()
    client = new.client()
    assert _known(client, trained.id, version) == before
    assert new.owner["api_key"] == old.owner["api_key"]
    assert new.owner["api_url"] == new.api_url
    chain = client.transport.get("/api/v1/audit-events/chain", dict[str, Any])
    assert chain["checked"] > 0
    assert chain["broken_at"] is None
    # What ran on machines of the old home was interrupted, and goes on here.
    ended = completed(client, running)
    statuses = [attempt.status for attempt in sorted(client.jobs.attempts(ended.id), key=lambda each: each.number)]
    assert statuses == ["interrupted", "completed"]
    assert (new.home / "localhost" / "log-before-restore.jsonl").exists()
    # And its model answers.
    model = trained.output["model_version_id"]
    variant = {"name": "only", "model_version_id": model, "weight": 1}
    client.endpoints.wait(client.endpoints.create(project, "digits", variants=[variant]).id)
    with InferenceClient(new.gateway_url, new.owner["api_key"]) as inference:
        answer = inference.infer("digits", **tensor(client.models.version(model).signature, bytes(64)))
    assert answer.body["outputs"][0]["shape"] == [1, 10]
    new.down()
    _rotate_secrets(new.home)
    new.home = new.home.rename(new.home.with_name("moved"))
    new.up()
    assert _known(client, trained.id, version) == before
    client.jobs.wait(client.jobs.sleep(project, "after-all-that", seconds=0.1).id, timeout_seconds=120)
    wait_for("the endpoint to answer under its new token", lambda: _answers(new, "digits"))
    new.down()


def _rotate_secrets(home: Path) -> None:
    """As the page about the home tells an operator to."""
    path = home / "secrets.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({name: known[name] if name == "master_key" else token_urlsafe(32) for name in known}))
    (home / "valkey" / "admin.password").unlink()


def _answers(platform: RunningPlatform, endpoint: str) -> bool:
    with InferenceClient(platform.gateway_url, platform.owner["api_key"]) as inference:
        try:
            inference.wait_ready(endpoint, timeout_seconds=1.0)
        except ModelyardError:
            return False
    return True


def _dataset(client: Client, project: str, folder: Path) -> str:
    archive = folder / "digits.zip"
    write_archive(archive, digits())
    dataset = client.datasets.create(project, "digits")
    client.datasets.upload(dataset.id, archive)
    return client.datasets.freeze(dataset.id, splits={"train": 0.6, "validation": 0.2, "test": 0.2}).id


def _known(client: Client, job_id: str, version_id: str) -> list[object]:
    """Data, models, logs, curves and bill, as the API tells them."""
    file = next(client.datasets.files(version_id))
    return [
        client.me()["organization"],
        client.jobs.get(job_id),
        [list(client.models.versions(model.id)) for model in client.models.list()],
        client.datasets.read(version_id, file.sha256),
        client.jobs.metrics(job_id),
        [line.text for line in client.jobs.logs(job_id)],
        list(client.costs.charges(resource_id=job_id)),
    ]

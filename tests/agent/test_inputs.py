"""Datasets through the cache of an instance into the sandbox, and torch at work there."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from backend.core.wire import Channel, FileRef, ResultSaved
from tests.agent.conftest import Agents, attempt
from tests.agent.control_server import ControlServer

pytestmark = pytest.mark.integration


def dataset(control: ControlServer, contents: list[str]) -> Channel:
    digests = [control.add_blob(content.encode()) for content in contents]
    count = len(contents)
    table = pa.table(
        {
            "path": [f"{number}.txt" for number in range(count)],
            "sha256": digests,
            "size_bytes": [len(content) for content in contents],
            "label": ["x"] * count,
            "split": ["train"] * count,
        }
    )
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    digest = control.add_blob(buffer.getvalue())
    file = FileRef(name="manifest.parquet", sha256=digest, size_bytes=len(buffer.getvalue()))
    return Channel(name="dataset", kind="dataset", files=[file])


def test_torch_trains_on_a_cached_dataset(control: ControlServer, agents: Agents) -> None:
    channel = dataset(control, ["one", "two", "two", "three"])
    agents.start()
    big: dict[str, Any] = {"memory_limit_bytes": 2 << 30, "process_limit": 128, "cpu_count": 1.0, "channels": [channel]}
    first = attempt("agent_torch", **big)
    control.want(first)
    ended = control.wait_ended(first.id, timeout_seconds=90)
    assert ended.outcome == "completed", ended
    (result,) = control.bodies(first.id, ResultSaved)
    blobs = sorted(["one", "two", "three"])
    assert sorted(result.summary.pop("blobs")) == blobs
    assert result.summary == {
        "total": float(sum(range(64))),
        "product": 64.0**3,
        "threads": 1,
        "manifest": True,
        "writable": "read-only",
        "cwd": "/job",
        "home": "/tmp",  # noqa: S108 # the sandbox's own
    }
    for digest in [digest for digest in control.blobs if digest not in {file.sha256 for file in result.files}]:
        del control.blobs[digest]  # the second job must live from the cache
    second = attempt("agent_torch", **big)
    control.want(second)
    assert control.wait_ended(second.id, timeout_seconds=90).outcome == "completed"


def test_a_manifest_that_is_none(control: ControlServer, agents: Agents) -> None:
    digest = control.add_blob(b"no parquet")
    file = FileRef(name="manifest.parquet", sha256=digest, size_bytes=10)
    wanted = attempt("agent_sleeper", {"steps": 1}, channels=[Channel(name="d", kind="dataset", files=[file])])
    control.want(wanted)
    agents.start()
    ended = control.wait_ended(wanted.id)
    assert ended.failure is not None
    assert ended.failure.failure_class == "platform"
    assert "manifest cannot be read" in ended.failure.reason


@pytest.mark.parametrize("name", ["../escape", "/etc/x", "a/../../x"])
def test_a_file_name_that_escapes(control: ControlServer, agents: Agents, name: str) -> None:
    file = FileRef(name=name, sha256=control.add_blob(b"x"), size_bytes=1)
    wanted = attempt("agent_sleeper", {"steps": 1}, channels=[Channel(name="m", kind="model", files=[file])])
    control.want(wanted)
    agents.start()
    ended = control.wait_ended(wanted.id)
    assert ended.failure is not None
    assert "does not stay in its folder" in ended.failure.reason

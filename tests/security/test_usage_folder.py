"""A replica owns its usage folder; the agent, which may be root, reads and writes there without being led out of it."""

import os
import uuid
from pathlib import Path

import pytest

from tests.fixtures.disks import Disks, can_mount
from worker.agent.control import AssignmentKey, ControlPlane, Refused
from worker.agent.usage import REFUSED_BYTES, SegmentShipper

pytestmark = pytest.mark.unit
KEY = AssignmentKey(id=str(uuid.uuid4()), epoch=1)


class RefusingControl(ControlPlane):
    """A control plane that takes no segment, as the real one does with one that is too large."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", "token")

    def write_usage(self, key: AssignmentKey, segment_id: str, lines: bytes) -> None:
        raise Refused(413, f"{segment_id} of {key.id}: {len(lines)} bytes")


def shipper(tmp_path: Path) -> tuple[SegmentShipper, Path]:
    usage = tmp_path / "usage"
    usage.mkdir()
    return SegmentShipper(RefusingControl(), KEY, usage, tmp_path / "refused"), usage


def test_sealing_writes_through_no_link(tmp_path: Path) -> None:
    ships, usage = shipper(tmp_path)
    victim = tmp_path / "authorized_keys"
    victim.write_text("mine\n")
    segment = str(uuid.uuid4())
    (usage / f"open-{segment}.jsonl").write_text("theirs\ntheirs\n")
    (usage / f".sealing-{segment}").symlink_to(victim)
    ships.seal_left_open()
    assert victim.read_text() == "mine\n"
    sealed = usage / f"sealed-{segment}.jsonl"
    assert sealed.read_text() == "theirs\ntheirs\n"
    assert not sealed.is_symlink()


def test_what_lies_in_the_way_of_sealing_is_only_that_segments_loss(tmp_path: Path) -> None:
    ships, usage = shipper(tmp_path)
    blocked, whole = str(uuid.uuid4()), str(uuid.uuid4())
    for segment in (blocked, whole):
        (usage / f"open-{segment}.jsonl").write_text("header\nline\n")
    (usage / f".sealing-{blocked}").mkdir()
    ships.seal_left_open()
    assert [path.name for path in ships.pending()] == [f"sealed-{whole}.jsonl"]


def test_links_pipes_and_giants_are_not_read(tmp_path: Path) -> None:
    ships, usage = shipper(tmp_path)
    (tmp_path / "secret").write_text("secret")
    (usage / f"sealed-{uuid.uuid4()}.jsonl").symlink_to(tmp_path / "secret")
    os.mkfifo(usage / f"sealed-{uuid.uuid4()}.jsonl")
    with (usage / f"sealed-{uuid.uuid4()}.jsonl").open("wb") as file:
        file.truncate(1 << 40)
    ships.ship()
    assert ships.pending() == []
    assert not (tmp_path / "refused").exists()


def test_refused_segments_do_not_fill_the_disk(tmp_path: Path) -> None:
    ships, usage = shipper(tmp_path)
    for _ in range(3):
        with (usage / f"sealed-{uuid.uuid4()}.jsonl").open("wb") as file:
            file.truncate(REFUSED_BYTES // 2)
    ships.ship()
    assert ships.pending() == []
    kept = list((tmp_path / "refused").iterdir())
    assert len(kept) == 2


@pytest.mark.skipif(not can_mount(), reason="mounting takes root")
def test_usage_that_finds_no_room_to_be_sealed_waits(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    disks.mount()
    try:
        usage = disks.folder("instances") / "usage"
        usage.mkdir()
        ships = SegmentShipper(RefusingControl(), KEY, usage, tmp_path / "refused")
        segment = str(uuid.uuid4())
        (usage / f"open-{segment}.jsonl").write_text("header\nline\ntorn")
        with disks.full("instances"):
            ships.seal_left_open()
            assert [path.name for path in ships.left()] == [f"open-{segment}.jsonl"]
            assert ships.pending() == []
        ships.seal_left_open()
        assert [path.name for path in ships.left()] == [f"sealed-{segment}.jsonl"]
        assert (usage / f"sealed-{segment}.jsonl").read_text() == "header\nline\n"
    finally:
        disks.unmount()

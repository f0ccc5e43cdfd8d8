"""Uploads into one dataset: parts in any order, again, wrong, given up, expired, completed by two at once, swept.

The model knows for each upload which content of which part was accepted last. What must hold after each move: the
storage has exactly the parts of open uploads, and the blobs that rows account for; the dataset has exactly the files
of completed uploads, byte for byte.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select, update
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.core.storage import ObjectStore
from backend.datasets.models import Blob, DatasetFile, Upload, UploadPart
from backend.datasets.sweep import expire_uploads, remove_orphans
from tests.datasets.files import Uploader, archive, png, sha256
from tests.fixtures.database import Tenant

PART = 1024
WHICH = st.integers(0, 99)


@dataclass
class Sent:
    """One upload as the model knows it. `parts`: content by number, as accepted last."""

    opened: dict[str, Any]
    data: bytes
    images: dict[str, bytes]
    parts: dict[int, bytes] = field(default_factory=dict)
    status: str = "open"

    @property
    def part_count(self) -> int:
        return -(-len(self.data) // PART)

    def part(self, number: int) -> bytes:
        return self.data[(number - 1) * PART : number * PART]


class UploadMachine(RuleBasedStateMachine):
    """A client, an operator's sweep, and crashes in between."""

    database: Database
    storage: ObjectStore
    make_tenant: Callable[[], Tenant]
    make_client: Callable[..., TestClient]

    def __init__(self) -> None:
        super().__init__()
        self.tenant = self.make_tenant()
        self.client = self.make_client(self.tenant)
        body = {"project_id": str(self.tenant.project_id), "name": "digits", "kind": "image"}
        self.uploader = Uploader(self.client, self.client.post("/api/v1/datasets", json=body).json()["id"])
        self.sent: list[Sent] = []
        self.files: dict[str, bytes] = {}
        self.leftovers: set[str] = set()

    @initialize()
    def swept(self) -> None:
        """Other tests' leavings are not this game's."""
        expire_uploads(self.database, self.storage)
        remove_orphans(self.database, self.storage)

    @rule(
        shades=st.lists(st.integers(0, 40), min_size=4, max_size=14, unique=True), labels=st.sampled_from(["ab", "ba"])
    )
    def open(self, shades: list[int], labels: str) -> None:
        """An archive of a few images; some paths of two archives meet, with the same content or another."""
        images = {f"{labels[n % 2]}/{shade // 2}.png": png(shade) for n, shade in enumerate(shades)}
        data = archive(images)
        opened = self.uploader.open(data, part_size_bytes=PART)
        self.sent.append(Sent(opened, data, images))

    def _pick(self, which: int) -> Sent:
        return self.sent[which % len(self.sent)]

    def _put(self, one: Sent, number: int, content: bytes) -> Any:
        return self.client.put(f"/api/v1/uploads/{one.opened['id']}/parts/{number}", content=content)

    @rule(which=WHICH, number=st.integers(1, 4), good=st.booleans())
    @precondition(lambda self: self.sent)
    def put(self, which: int, number: int, good: bool) -> None:  # noqa: FBT001 - drawn
        """A part, right or of the right size only; again replaces it."""
        one = self._pick(which)
        content = one.part(number) if good else b"\x00" * len(one.part(number))
        answer = self._put(one, number, content)
        if one.status != "open":
            assert (answer.status_code, answer.json()["code"]) == (409, "upload_not_open")
        elif number > one.part_count:
            assert (answer.status_code, answer.json()["code"]) == (422, "part_number_unknown")
        else:
            assert answer.status_code == 200, answer.text
            assert answer.json()["sha256"] == sha256(content)
            one.parts[number] = content

    @rule(which=WHICH, extra=st.sampled_from([-1, 1, 5000]))
    @precondition(lambda self: self.sent)
    def put_of_a_wrong_size(self, which: int, extra: int) -> None:
        one = self._pick(which)
        content = one.part(1)[:extra] if extra < 0 else one.part(1) + b"x" * extra
        assert self._put(one, 1, content).status_code == (422 if one.status == "open" else 409)

    @rule(which=WHICH)
    @precondition(lambda self: self.sent)
    def put_the_rest(self, which: int) -> None:
        """A client that comes back asks what is there, and sends what is missing or not what it has."""
        one = self._pick(which)
        if one.status != "open":
            return
        stored = self.client.get(f"/api/v1/uploads/{one.opened['id']}").json()["parts"]
        assert {part["number"]: part["sha256"] for part in stored} == {
            number: sha256(content) for number, content in one.parts.items()
        }
        right = {part["number"] for part in stored if part["sha256"] == sha256(one.part(part["number"]))}
        for number in sorted(set(range(1, one.part_count + 1)) - right, reverse=True):
            assert self._put(one, number, one.part(number)).status_code == 200
            one.parts[number] = one.part(number)

    @rule(which=WHICH, callers=st.sampled_from([1, 1, 2]))
    @precondition(lambda self: self.sent)
    def complete(self, which: int, callers: int) -> None:
        one = self._pick(which)
        with ThreadPoolExecutor(callers) as pool:
            answers = list(pool.map(lambda _: self.uploader.complete(one.opened), range(callers)))
        told = {(answer.status_code, answer.json().get("code")) for answer in answers}
        expected, status = self._verdict(one)
        # The second of two may find it ended already, and so the reason why it was; or its parts gone.
        allowed = {expected} if callers == 1 or status == one.status else {expected, (409, "upload_not_open")}
        assert expected in told
        assert told <= allowed
        if one.status == "open" and status == "completed":
            self.files |= one.images
        if status != "open":
            one.parts.clear()
        one.status = status

    def _verdict(self, one: Sent) -> tuple[tuple[int, str | None], str]:
        """What completing it must answer, and what it is then."""
        if one.status == "completed":
            return (200, None), "completed"
        if one.status != "open":
            return (409, "upload_not_open"), one.status
        if len(one.parts) < one.part_count:
            return (409, "upload_incomplete"), "open"
        if b"".join(one.parts[number] for number in sorted(one.parts)) != one.data:
            return (422, "checksum_mismatch"), "failed"
        if any(self.files.get(path, content) != content for path, content in one.images.items()):
            return (422, "invalid_files"), "failed"
        return (200, None), "completed"

    @rule(which=WHICH)
    @precondition(lambda self: self.sent)
    def give_up(self, which: int) -> None:
        one = self._pick(which)
        answer = self.client.delete(f"/api/v1/uploads/{one.opened['id']}")
        if one.status in ("open", "aborted"):
            assert answer.status_code < 300, answer.text
            one.status = "aborted"
            one.parts.clear()
        else:
            assert (answer.status_code, answer.json()["code"]) == (409, "upload_not_open")

    @rule(which=WHICH)
    @precondition(lambda self: self.sent)
    def its_time_is_over(self, which: int) -> None:
        one = self._pick(which)
        if one.status != "open":
            return
        with self.database.unit_of_work() as session:
            mine = Upload.id == one.opened["id"]
            session.execute(update(Upload).where(mine).values(expires_at=Upload.created_at))
        assert self._put(one, 1, one.part(1)).status_code == 409
        expire_uploads(self.database, self.storage)
        one.status = "aborted"
        one.parts.clear()

    @rule(which=WHICH)
    @precondition(lambda self: any(one.status != "open" for one in self.sent))
    def a_crash_leaves_a_part(self, which: int) -> None:
        """A process died between storing a part and finding that its upload had ended."""
        ended = [one for one in self.sent if one.status != "open"]
        key = f"uploads/{self.tenant.organization_id}/{ended[which % len(ended)].opened['id']}/00001"
        self.storage.put(key, b"left by a crash")
        self.leftovers.add(key)

    @rule()
    def sweep(self) -> None:
        remove_orphans(self.database, self.storage)
        self.leftovers.clear()

    @invariant()
    def storage_holds_what_rows_account_for(self) -> None:
        organization = self.tenant.organization_id
        with self.database.unit_of_work() as session:
            blobs = session.scalars(select(Blob.sha256).where(Blob.organization_id == organization)).all()
            rows = session.execute(
                select(UploadPart.upload_id, UploadPart.number).where(UploadPart.organization_id == organization)
            ).all()
        prefix = f"uploads/{organization}/"
        open_parts = {f"{prefix}{one.opened['id']}/{number:05d}" for one in self.sent for number in one.parts}
        assert {f"{prefix}{row.upload_id}/{row.number:05d}" for row in rows} == open_parts
        assert set(self.storage.keys(prefix)) == open_parts | self.leftovers
        assert {key.rpartition("/")[2] for key in self.storage.keys(f"blobs/{organization}/")} == set(blobs)
        assert set(blobs) == {sha256(content) for content in self.files.values()}

    @invariant()
    def the_dataset_has_what_was_sent(self) -> None:
        organization = self.tenant.organization_id
        with self.database.unit_of_work() as session:
            mine = DatasetFile.organization_id == organization
            files = {row.path: row.sha256 for row in session.scalars(select(DatasetFile).where(mine))}
            statuses = {
                str(row.id): row.status
                for row in session.scalars(select(Upload).where(Upload.organization_id == organization))
            }
        assert files == {path: sha256(content) for path, content in self.files.items()}
        assert statuses == {one.opened["id"]: one.status for one in self.sent}

    def teardown(self) -> None:
        for path, content in self.files.items():
            assert self.storage.get_blob(self.tenant.organization_id, sha256(content)) == content, path
        for one in self.sent:
            self.client.delete(f"/api/v1/uploads/{one.opened['id']}")

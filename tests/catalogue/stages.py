"""What has to hold before a call is answered as its cause says, where calls alone cannot bring it about.

A stage is a context manager over the `House`; its docstring is what the documentation says. It yields the application
to ask and more ids.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import delete
from starlette.testclient import TestClient

from backend.app import create_app
from backend.billing.models import SpendingHold
from backend.core.crypto import hash_token
from backend.core.db import Database
from backend.core.idempotency import KeyedWork
from backend.core.ids import new_id
from backend.core.settings import Settings
from backend.events.models import EventSubscription
from backend.events.service import MOST_SUBSCRIPTIONS
from backend.fleet.models import Instance
from backend.identity.errors import Busy
from backend.identity.service import authenticate_api_key
from backend.projects.models import Project
from tests.catalogue.cause import NOBODY
from tests.endpoints.conftest import World
from tests.fixtures.disks import Disks, can_mount
from tests.security.estate import API, Estate


@dataclass
class House:
    """One organization with one of everything, and what may act on it."""

    app: FastAPI
    settings: Settings
    controller: Database
    world: World
    estate: Estate
    ids: dict[str, str]
    tokens: dict[str, str]

    def client(self, caller: str, app: FastAPI | None = None) -> TestClient:
        """A client with the credential of a caller."""
        headers = {}
        if caller in {"cookie", "operator"}:
            headers["Cookie"] = f"modelyard_session={self.tokens[caller]}"
            headers |= {"X-Requested-With": "fetch"} if caller == "operator" else {}
        elif caller != "nobody":
            headers["Authorization"] = f"Bearer {self.tokens[caller]}"
        return TestClient(app or self.app, headers=headers, raise_server_exceptions=False)


@dataclass
class Scene:
    """Whom to ask, and the ids of this stage."""

    app: FastAPI
    ids: dict[str, str]


Stage = Callable[[House], AbstractContextManager[Scene]]
STAGES: dict[str, Stage] = {}


def stage(play: Callable[[House], Iterator[Scene]]) -> Callable[[House], Iterator[Scene]]:
    """Register a stage under its name."""
    made = contextmanager(play)
    made.__doc__ = play.__doc__
    STAGES[play.__name__] = made
    return play


@contextmanager
def _changed(house: House, **update: object) -> Iterator[FastAPI]:
    app = create_app(house.settings.model_copy(update=update))
    try:
        yield app
    finally:
        app.state.database.dispose()


@stage
def plain(house: House) -> Iterator[Scene]:
    """Nothing more."""
    yield Scene(house.app, {})


@stage
def database_down(house: House) -> Iterator[Scene]:
    """The database does not answer."""
    nowhere = SecretStr("postgresql+psycopg://modelyard_app:x@127.0.0.1:1/modelyard")
    database = house.settings.database.model_copy(update={"app_url": nowhere})
    with _changed(house, database=database) as app:
        yield Scene(app, {})


@stage
def other_schema(house: House) -> Iterator[Scene]:
    """The database was migrated by another version of Modelyard."""
    database = house.settings.database.model_copy(update={"app_url": house.settings.database.admin_url})
    with _changed(house, database=database) as app:
        yield Scene(app, {})


@stage
def other_master_key(house: House) -> Iterator[Scene]:
    """The platform was started with another master key than its secrets were written with."""
    security = house.settings.security.model_copy(update={"master_key": SecretStr("B" * 43 + "=")})
    with _changed(house, security=security) as app:
        yield Scene(app, {})


@stage
def one_request_a_minute(house: House) -> Iterator[Scene]:
    """The operator lets a credential send one request a minute."""
    api = house.settings.api.model_copy(update={"requests_per_minute": 1})
    with _changed(house, api=api) as app:
        yield Scene(app, {})


@stage
def fifty_subscriptions(house: House) -> Iterator[Scene]:
    """The organization has fifty event subscriptions."""
    with house.controller.unit_of_work() as session:
        mine = [_email_subscription(house) for _ in range(MOST_SUBSCRIPTIONS)]
        session.add_all(mine)
    try:
        yield Scene(house.app, {})
    finally:
        with house.controller.unit_of_work() as session:
            session.execute(delete(EventSubscription).where(EventSubscription.id.in_([each.id for each in mine])))


def _email_subscription(house: House) -> EventSubscription:
    return EventSubscription(
        id=new_id(),
        organization_id=house.world.tenant.organization_id,
        channel="email",
        target="ada@example.com",
        description="",
        event_types=["endpoint.failed"],
        created_by="test",
    )


@stage
def storage_full(house: House) -> Iterator[Scene]:
    """The file system of the object storage is full."""
    with _full_disk() as folder, _changed(house, storage_url=f"file://{folder}") as app:
        yield Scene(app, {})


@stage
def host_full(house: House) -> Iterator[Scene]:
    """The file system for temporary files of the API's host is full."""
    before = tempfile.tempdir
    with _full_disk() as folder:
        tempfile.tempdir = str(folder)
        try:
            yield Scene(house.app, {})
        finally:
            tempfile.tempdir = before


@contextmanager
def _full_disk() -> Iterator[Path]:
    if not can_mount():
        pytest.skip("mounting takes root")
    home = Path(tempfile.mkdtemp(prefix="mydisk-"))
    disks = Disks(home)
    disks.mount()
    try:
        with disks.full("objects"):
            yield disks.folder("objects")
    finally:
        disks.unmount()
        shutil.rmtree(home, ignore_errors=True)


@stage
def storage_broken(house: House) -> Iterator[Scene]:
    """The object storage cannot be written."""
    folder = house.settings.home / f"broken-{uuid4()}"
    with _changed(house, storage_url=f"file://{folder}") as app:
        shutil.rmtree(folder)
        folder.write_text("a file where a folder was")
        yield Scene(app, {})


@stage
def project_going(house: House) -> Iterator[Scene]:
    """Somebody else deletes the project in the same moment."""
    project_id = new_id()
    organization_id = house.estate.tenant.organization_id
    with house.controller.unit_of_work() as session:
        session.add(Project(id=project_id, organization_id=organization_id, name=f"going-{project_id}", description=""))
    deleted = threading.Event()

    def remove() -> None:
        with house.controller.unit_of_work() as session:
            session.execute(delete(Project).where(Project.id == project_id))
            deleted.set()
            time.sleep(1.0)  # the other request reads the project meanwhile, and waits for its row

    other = threading.Thread(target=remove)
    other.start()
    deleted.wait(10)
    yield Scene(house.app, {"going_id": str(project_id)})
    other.join()


@stage
def key_in_use(house: House) -> Iterator[Scene]:
    """The first request with this key is still being carried out."""
    key = f"in-use-{uuid4()}"
    database: Database = house.app.state.database
    with database.unit_of_work() as session:
        principal = authenticate_api_key(session, house.tokens["owner"])
    first = KeyedWork(database, house.app.state.security.vault, principal, key, b"first")
    first.begin()
    yield Scene(house.app, {"key": key})
    first.drop()


@stage
def hashing_busy(house: House) -> Iterator[Scene]:
    """So many people log in at this moment that no turn is free for two seconds."""
    with ExitStack() as turns:
        while True:
            try:
                turns.enter_context(house.app.state.security.passwords.turn())
            except Busy:
                break
        yield Scene(house.app, {})


@stage
def ten_attempts(house: House) -> Iterator[Scene]:
    """Ten attempts for this account from this address have failed within five minutes."""
    email = f"guessed-{uuid4()}@example.org"
    client = house.client("nobody")
    for _ in range(10):
        assert client.post(f"{API}/session", json={"email": email, "password": "x"}).status_code == 401
    yield Scene(house.app, {"stranger_email": email})


@stage
def spending_held(house: House) -> Iterator[Scene]:
    """A budget holds new spending."""
    hold_id = new_id()
    with house.controller.unit_of_work() as session:
        organization_id = house.estate.tenant.organization_id
        session.add(SpendingHold(id=hold_id, organization_id=organization_id, project_id=None, reason="budget used"))
    yield Scene(house.app, {})
    with house.controller.unit_of_work() as session:
        session.execute(delete(SpendingHold).where(SpendingHold.id == hold_id))


@stage
def suspended(house: House) -> Iterator[Scene]:
    """An operator of the platform stopped the organization's spending."""
    hold_id, organization_id = new_id(), house.estate.tenant.organization_id
    hold = SpendingHold(
        id=hold_id, organization_id=organization_id, project_id=None, reason="suspended", placed_by=f"operator:{NOBODY}"
    )
    with house.controller.unit_of_work() as session:
        session.add(hold)
    yield Scene(house.app, {"hold_id": str(hold_id)})
    with house.controller.unit_of_work() as session:
        session.execute(delete(SpendingHold).where(SpendingHold.id == hold_id))


@stage
def job_ended(house: House) -> Iterator[Scene]:
    """The job has ended."""
    from backend.jobs.models import Job

    client = house.client("owner")
    body = {
        "project_id": house.ids["project_id"],
        "name": f"ended-{uuid4()}",
        "instance_type": house.ids["instance_type"],
    }
    job_id = client.post(f"{API}/sleep-jobs", json=body).json()["id"]
    with house.controller.unit_of_work() as session:
        job = session.get_one(Job, UUID(job_id))
        job.status, job.due_at = "stopped", None
    yield Scene(house.app, {"ended_id": job_id})


@stage
def import_ended(house: House) -> Iterator[Scene]:
    """The import has ended."""
    from backend.datasets.models import DatasetImport

    address = f"{API}/datasets/{house.ids['dataset_id']}/imports"
    import_id = house.client("owner").post(address, json={"source": "https://files.invalid/a.zip"}).json()["id"]
    with house.controller.unit_of_work() as session:
        row = session.get_one(DatasetImport, UUID(import_id))
        row.status, row.due_at = "failed", None
    yield Scene(house.app, {"ended_import_id": import_id})


@stage
def versions(house: House) -> Iterator[Scene]:
    """Model versions: one rejected, one nobody approved, one with other inputs, one whose file the storage has lost."""
    text = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]}
    made = {
        "rejected_id": house.world.make_version(approval="rejected"),
        "pending_id": house.world.make_version(approval="pending"),
        "other_signature_id": house.world.make_version(text),
        "lost_id": house.world.make_version(),
    }
    yield Scene(house.app, {name: str(value) for name, value in made.items()})


def agent_of(house: House) -> tuple[str, dict[str, str]]:
    """The token of an instance with a replica on it, and the ids around that."""
    (replica,) = house.world.bring_up(house.ids["endpoint_id"])
    token = f"myi_{uuid4()}"
    with house.controller.unit_of_work() as session:
        session.get_one(Instance, replica.instance_id).token_hash = hash_token(token)
    header = (
        f'{{"segment_id": "{NOBODY[:-1]}1", "replica_id": "{replica.id}",'
        f' "endpoint_id": "{house.ids["endpoint_id"]}", "opened_at": 1.0}}'
    )
    return token, {"assignment_id": str(replica.assignment_id), "segment_header": header}

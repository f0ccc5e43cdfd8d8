"""The control worker's sweep: expired uploads end, parts without an open upload go, everything else stays."""

from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from backend.core.db import Database
from backend.core.lifecycle import Event
from backend.core.settings import Settings
from backend.core.storage import ObjectStore
from backend.datasets.models import Upload
from backend.datasets.sweep import expire_uploads, remove_orphans
from tests.datasets.files import Uploader, archive, digits
from tests.fixtures.database import Tenant
from worker.context import ControlContext

pytestmark = pytest.mark.integration


def test_an_expired_upload_ends_and_its_parts_go(
    uploader: Uploader,
    controller_database: Database,
    storage: ObjectStore,
    leftovers: Callable[[], dict[str, int]],
) -> None:
    expire_uploads(controller_database, storage)
    data = archive(digits())
    expired, waiting = uploader.open(data), uploader.open(data)
    for upload in (expired, waiting):
        uploader.put(upload, 1, data)
    with controller_database.unit_of_work() as session:
        session.execute(update(Upload).where(Upload.id == expired["id"]).values(expires_at=expired["created_at"]))
    assert expire_uploads(controller_database, storage) == 1
    assert expire_uploads(controller_database, storage) == 0
    state = uploader.client.get(f"/api/v1/uploads/{expired['id']}").json()
    assert (state["status"], state["status_reason"], state["parts"]) == ("aborted", "not completed in time", [])
    assert uploader.client.get(f"/api/v1/uploads/{waiting['id']}").json()["status"] == "open"
    assert leftovers() == {"upload_parts": 1, "dataset_files": 0, "blobs": 0, "objects": 1}
    with controller_database.unit_of_work() as session:
        actors = session.scalars(
            select(Event.actor).where(Event.resource_id == expired["id"], Event.to_status == "aborted")
        )
        assert actors.all() == ["system:datasets"]


def test_parts_that_a_crash_left_are_removed(
    uploader: Uploader, controller_database: Database, storage: ObjectStore, tenant: Tenant
) -> None:
    remove_orphans(controller_database, storage)
    data = archive(digits())
    ended, waiting = uploader.open(data), uploader.open(data)
    uploader.client.delete(f"/api/v1/uploads/{ended['id']}")
    uploader.put(waiting, 1, data)
    left = f"uploads/{tenant.organization_id}/{ended['id']}/00001"
    storage.put(left, b"left by a crash")
    assert remove_orphans(controller_database, storage) == 1
    assert not storage.exists(left)
    assert len(storage.keys(f"uploads/{tenant.organization_id}/{waiting['id']}/")) == 1


def test_the_control_sweeps_once_a_minute(
    uploader: Uploader,
    controller_database: Database,
    storage: ObjectStore,
    api_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from worker.app import controls
    from worker.tasks import datasets as tasks

    monkeypatch.setattr(tasks, "_expiry", tasks.Rhythm(60.0))
    context = ControlContext(database=controller_database, settings=api_settings, storage=storage, ring=None)
    expire_uploads(controller_database, storage)
    for handled in (1, 0):
        upload = uploader.open(archive(digits()))
        with controller_database.unit_of_work() as session:
            session.execute(update(Upload).where(Upload.id == upload["id"]).values(expires_at=upload["created_at"]))
        remove_orphans(controller_database, storage)
        assert controls.by_name["datasets.control"](context) == handled

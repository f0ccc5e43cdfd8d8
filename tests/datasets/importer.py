"""What a client and the control worker do for an import."""

from datetime import timedelta
from typing import Any

from sqlalchemy import func, update
from starlette.testclient import TestClient

from backend.core import queue
from backend.datasets.models import DatasetImport
from worker.context import ControlContext
from worker.tasks import imports as tasks


class Importer:
    """What a client and the control worker do."""

    def __init__(self, client: TestClient, dataset_id: str, context: ControlContext) -> None:
        self.client, self.dataset_id, self.context = client, dataset_id, context

    def start(self, url: str, **other: Any) -> dict[str, Any]:
        answer = self.client.post(f"/api/v1/datasets/{self.dataset_id}/imports", json={"source": url, **other})
        assert answer.status_code == 201, answer.text
        row: dict[str, Any] = answer.json()
        return row

    def read(self, row: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/v1/imports/{row['id']}").json()
        return found

    def claim(self, row: dict[str, Any]) -> queue.Lease:
        with self.context.database.unit_of_work() as session:
            session.execute(
                update(DatasetImport).where(DatasetImport.id == row["id"]).values(due_at=func.clock_timestamp())
            )
        with self.context.database.unit_of_work() as session:
            leases = queue.claim(session, DatasetImport, lease_seconds=30, limit=1, where=DatasetImport.id == row["id"])
        return leases[0]

    def expire(self, row: dict[str, Any]) -> None:
        """The lease is over: whoever had it is dead."""
        with self.context.database.unit_of_work() as session:
            session.execute(
                update(DatasetImport)
                .where(DatasetImport.id == row["id"])
                .values(lease_expires_at=func.clock_timestamp() - timedelta(seconds=1))
            )

    def work(self, row: dict[str, Any]) -> dict[str, Any]:
        """One step of the control worker; how the import is afterwards."""
        tasks.step(self.context, self.claim(row))
        return self.read(row)

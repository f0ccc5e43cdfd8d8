"""An endpoint's life as a subject: created, called, its weights or variants changed, deleted, every call billed."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from modelyard.errors import ApiError
from tests.chaos.matrix.load import Load, Tally
from tests.chaos.matrix.patience import Red, eventually, must, patiently
from tests.chaos.matrix.rows import Rows
from tests.chaos.matrix.subjects import ENDS_SECONDS, Subject

CALM_ANSWERS = 5
"""So many answers in a row of calls prove, after a fault, that the endpoint serves again."""
ENDPOINT_TAGS = """
    SELECT tag FROM instances
    WHERE requested_for IN (SELECT replicas.id FROM replicas JOIN endpoints ON endpoints.id = endpoint_id
                            WHERE endpoints.name = %s)
       OR id IN (SELECT instance_id FROM replicas JOIN endpoints ON endpoints.id = endpoint_id
                 WHERE endpoints.name = %s)
    ORDER BY requested_at
"""


class EndpointSubject(Subject):
    """One endpoint from its creation to its end. `tally`: what its own client got."""

    tally: Tally | None = None
    calm_tally: Tally | None = None

    def tell(self) -> None:
        patiently(self._create, taken=lambda _: None)
        self._in_service()
        load = Load(self.home.platform.gateway_url, self.home.api_key, self.name, self.home.entry)
        try:
            self.tally = load.resume()
            self._change()
            if self.case.phase != "deleting":
                self.calm.wait()
                self._in_service()
                eventually("answers after the fault", lambda: self._answers(load.tally), seconds=90)
            load.pause()
        finally:
            load.end()
        patiently(self._delete)
        eventually("the endpoint to be deleted", self._deleted, seconds=ENDS_SECONDS)

    def _answers(self, tally: Tally) -> bool:
        before = tally.answered
        time.sleep(1.0)
        return tally.answered >= before + CALM_ANSWERS

    def _create(self) -> object:
        return self.client.endpoints.create(self.home.project_id, self.name, variants=self._variants("a", "b"))

    def _variants(self, *names: str) -> list[dict[str, Any]]:
        ids = self.home.model_version_ids
        return [{"name": each, "model_version_id": id_, "weight": 50} for each, id_ in zip(names, ids, strict=True)]

    def _change(self) -> None:
        """What the case's phase asks for, after a second of answers."""
        eventually("the first answers", lambda: self.tally is not None and self.tally.answered >= CALM_ANSWERS)
        address = f"/api/v1/endpoints/{self._id()}"
        if self.case.phase == "weights":
            weights = {"weights": {"a": 90, "b": 10}}
            patiently(lambda: self.client.transport.patch(f"{address}/weights", weights, dict))
        elif self.case.phase == "variants":
            wanted = {"instance_type": "local.cpu", "variants": self._variants("b", "c")}
            patiently(lambda: self.client.transport._write("PUT", f"{address}/config", wanted, dict))  # noqa: SLF001 - the client has no word for it yet

    def _id(self) -> str:
        return str(self.rows.one("SELECT id FROM endpoints WHERE name = %s", self.name))

    def _delete(self) -> None:
        try:
            self.client.endpoints.delete(self._id())
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    def _in_service(self) -> None:
        def look() -> bool:
            status, settled = self.rows.all(
                "SELECT status, live_config_id = wanted_config_id FROM endpoints WHERE name = %s", self.name
            )[0]
            if status == "failed":
                raise Red("the endpoint failed")
            return status == "in_service" and bool(settled)

        eventually("the endpoint to be in service", look, seconds=ENDS_SECONDS)

    def _deleted(self) -> bool:
        return bool(self.rows.one("SELECT status = 'deleted' FROM endpoints WHERE name = %s", self.name))

    def tags(self, rows: Rows) -> Sequence[str]:
        return [tag for (tag,) in rows.all(ENDPOINT_TAGS, self.name, self.name)]


def check_calls(rows: Rows, endpoint: str, tally: Tally) -> None:
    """Calls answered = billed; one whose answer was lost may have been served or not. Raises Red."""
    billed = 0

    def look() -> bool:
        nonlocal billed
        billed = billed_calls(rows, endpoint)
        return billed >= tally.answered

    with contextlib.suppress(Red):
        eventually("every call to be billed", look, seconds=45)
    most = tally.answered + tally.lost
    must(
        tally.answered <= billed <= most,
        f"{billed} calls of {endpoint} are billed, {tally.answered} were answered and {tally.lost} lost: {tally.told}",
    )


def billed_calls(rows: Rows, endpoint: str) -> int:
    """Calls on the bill of an endpoint, by its name."""
    found = rows.one(
        "SELECT coalesce(sum(quantity), 0) FROM charges WHERE resource_name = %s AND unit = 'call'", endpoint
    )
    return int(found)

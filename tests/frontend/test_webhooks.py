"""The pages of webhooks over the platform's own rows, told to a real receiver."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import delete, select

from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.settings import EventSettings, SecuritySettings, Settings
from backend.core.storage import ObjectStore
from backend.events.models import EventDelivery, EventSubscription
from backend.identity.security import Security
from frontend.backstage import Backstage
from frontend.pages.jobs import STOP_POLLING
from tests.events.receiver import Receiver, receiving
from tests.frontend.conftest import Member
from tests.frontend.test_dashboard import enter
from tests.frontend.test_pages import parse
from worker.context import ControlContext
from worker.tasks import events as task

pytestmark = pytest.mark.integration
HTML = {"Accept": "text/html"}
HOME = "/settings/webhooks"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def event_settings(tmp_path: Path) -> Settings:
    return Settings(
        environment="test",
        home=tmp_path / "home",
        events=EventSettings(allowed_hosts=("127.0.0.1",)),
        security=SecuritySettings(master_key=SecretStr("A" * 43 + "=")),
    )


@pytest.fixture
def backstage(
    app_database: Database,
    controller_database: Database,
    storage: ObjectStore,
    cheap_security: Security,
    event_settings: Settings,
) -> Iterator[Backstage]:
    yield Backstage(app_database, storage, cheap_security, event_settings)
    with controller_database.unit_of_work() as session:
        session.execute(delete(EventSubscription))


@pytest.fixture
def control(controller_database: Database, storage: ObjectStore, event_settings: Settings) -> Callable[[], None]:
    context = ControlContext(controller_database, event_settings, storage, None)

    def run() -> None:
        task.control(context)
        assert task.courier_of(context).wait(20)

    return run


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


@pytest.fixture
def visitor(site: FastAPI, member: Member) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        enter(client, member)
        yield client


def send(visitor: TestClient, page: str, action: str, **fields: str) -> tuple[int, str, str]:
    """Fill in a form of `page`: status, where to, and the page that answers."""
    token = parse(visitor.get(page).text).fields["csrf_token"]
    answer = visitor.post(action, data={"csrf_token": token} | fields)
    return answer.status_code, answer.headers.get("location", ""), answer.text


def create(visitor: TestClient, target: str) -> UUID:
    status, _, page = send(visitor, f"{HOME}/new", HOME, target=target, **{"event_types.1": "job.*"})
    assert status == 201, page
    assert "whsec_" in page
    return UUID(page.split(f'action="{HOME}/', 1)[1].split("/", 1)[0])


def test_a_webhook_from_the_form_to_its_log(
    visitor: TestClient, receiver: Receiver, control: Callable[[], None]
) -> None:
    assert "Nobody is told yet" in visitor.get(HOME).text
    made = create(visitor, receiver.url)
    assert receiver.url in visitor.get(HOME).text
    page = f"{HOME}/{made}"
    assert "whsec_" not in visitor.get(page).text
    status, where, _ = send(visitor, page, f"{page}/test")
    assert status == 303
    assert "It is sent in a moment." in visitor.get(where).text
    control()
    shown = visitor.get(where)
    assert "The receiver took it." in shown.text
    assert "test.sent" in shown.text
    polled = visitor.get(where, headers={"HX-Request": "true"})
    assert (polled.status_code, "<html" in polled.text) == (STOP_POLLING, False)
    status, again, _ = send(visitor, where, f"{where}/replay")
    assert (status, again != where) == (303, True)
    control()
    assert [got.json["type"] for got in receiver.got] == ["test.sent", "test.sent"]
    log = visitor.get(f"{HOME}/deliveries")
    assert log.text.count("delivery-") == 2
    part = visitor.get(f"{HOME}/deliveries?state=failed", headers={"HX-Request": "true"})
    assert "No delivery matches these filters" in part.text
    assert part.headers["HX-Push-Url"] == f"{HOME}/deliveries?state=failed"


def test_bad_input_stands_beside_its_field_and_nothing_typed_is_lost(visitor: TestClient) -> None:
    status, _, page = send(visitor, f"{HOME}/new", HOME, target="http://example.com/a", description="ours")
    assert (status, "Choose at least one event." in page, "ours" in page) == (422, True, True)
    status, _, page = send(visitor, f"{HOME}/new", HOME, target="https://10.0.0.1/a", **{"event_types.1": "job.failed"})
    assert status == 422
    assert "10.0.0.1 is not a public address." in page
    assert 'value="https://10.0.0.1/a"' in page
    status, _, page = send(visitor, f"{HOME}/new", HOME, target="", **{"event_types.1": "job.failed"})
    assert (status, "This is needed." in page) == (422, True)
    status, _, page = send(
        visitor, f"{HOME}/new", HOME, target="https://example.com/", **{"event_types.1": "job.burnt"}
    )
    assert status == 422


def test_it_is_changed_disabled_enabled_given_a_secret_and_deleted(visitor: TestClient, receiver: Receiver) -> None:
    page = f"{HOME}/{create(visitor, receiver.url)}"
    status, _, text = send(visitor, page, page, target="https://example.com/new", **{"event_types.1": "job.failed"})
    assert (status, text) == (303, "")
    assert "https://example.com/new" in visitor.get(page).text
    status, _, text = send(visitor, page, page, target="https://localhost/", **{"event_types.1": "job.failed"})
    assert (status, "localhost is not a public host" in text.lower()) == (422, True)
    status, _, text = send(visitor, page, page, target="https://example.com/new")
    assert (status, "Choose at least one event." in text) == (422, True)
    assert send(visitor, page, f"{page}/disable")[0] == 303
    assert "disabled by hand" in visitor.get(page).text
    assert send(visitor, page, f"{page}/test")[0] == 409
    assert send(visitor, page, f"{page}/enable")[0] == 303
    status, _, text = send(visitor, page, f"{page}/secret")
    assert (status, "whsec_" in text) == (201, True)
    assert send(visitor, page, f"{page}/delete")[:2] == (303, HOME)
    assert visitor.get(page).status_code == 404


def test_anothers_webhook_and_delivery_are_not_found(
    site: FastAPI,
    visitor: TestClient,
    receiver: Receiver,
    make_member: Callable[..., Member],
    app_database: Database,
    member: Member,
) -> None:
    page = f"{HOME}/{create(visitor, receiver.url)}"
    assert send(visitor, page, f"{page}/test")[0] == 303
    with app_database.unit_of_work(member.tenant.scope) as session:
        delivery = f"{HOME}/deliveries/{session.scalars(select(EventDelivery.id)).one()}"
    with TestClient(site, headers=HTML, follow_redirects=False) as stranger:
        enter(stranger, make_member())
        for path in (page, delivery, f"{HOME}/{new_id()}", f"{HOME}/nonsense", f"{HOME}/deliveries/nonsense"):
            assert stranger.get(path).status_code == 404
        assert stranger.get(f"{HOME}/deliveries?subscription={page.rsplit('/', 1)[1]}").status_code == 404
        for act in ("test", "enable", "disable", "secret", "delete"):
            assert send(stranger, f"{HOME}/new", f"{page}/{act}")[0] == 404
        assert send(stranger, f"{HOME}/new", f"{delivery}/replay")[0] == 404


def test_a_developer_may_look_and_not_change(site: FastAPI, make_member: Callable[..., Member]) -> None:
    with TestClient(site, headers=HTML, follow_redirects=False) as developer:
        enter(developer, make_member("developer"))
        page = developer.get(HOME)
        assert page.status_code == 200
        assert "New webhook" not in page.text
        assert developer.get(f"{HOME}/new").status_code == 403
        token = page.text.split('X-CSRF-Token": "', 1)[1].split('"', 1)[0]
        assert developer.post(HOME, data={"csrf_token": token}).status_code == 403
        assert developer.post(f"{HOME}/{new_id()}/delete", data={"csrf_token": token}).status_code == 403


def test_a_form_of_another_page_is_refused(visitor: TestClient) -> None:
    assert visitor.post(HOME, data={"target": "https://example.com/"}).status_code == 403

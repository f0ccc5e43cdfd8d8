"""Starting a training from its form, over the platform's own rows; a job as the beginning of the next."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from html import unescape
from urllib.parse import unquote
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from backend.billing import service as billing
from backend.core.db import Database
from backend.jobs import service as jobs
from backend.jobs import states
from backend.jobs.models import Job
from frontend import flash
from frontend.views import launch
from tests.frontend.conftest import Member
from tests.frontend.test_pages import parse
from tests.frontend.training_room import (  # noqa: F401 - fixtures
    SHAPE,
    enter,
    freeze,
    known_kinds,
    member,
    ran,
    version,
    visitor,
)

# ruff: noqa: F811 - parameters named as the fixtures that are imported

pytestmark = pytest.mark.integration


def filled(member: Member, version: UUID, **changes: str) -> dict[str, str]:
    return {
        "project_id": str(member.tenant.project_id),
        "name": "first",
        "dataset_version_id": str(version),
        "model_name": "digits",
        "instance_type": SHAPE,
        "hyperparameters.epochs": "3",
        "hyperparameters.augmentation.enabled:flag": "false",
        "tags:lines": "team=vision",
    } | changes


def only_job(database: Database, member: Member) -> Job:
    with database.unit_of_work(member.tenant.scope) as session:
        return session.scalars(select(Job).where(Job.organization_id == member.tenant.organization_id)).one()


def test_the_form_offers_what_there_is_and_starts_what_was_typed(
    visitor: TestClient, member: Member, version: UUID, app_database: Database
) -> None:
    token = enter(visitor, member)
    page = visitor.get("/training/new")
    assert page.status_code == 200
    assert "digits v1 · 40 files" in page.text
    assert parse(page.text).refused == []
    fields = parse(page.text).fields
    assert (fields["hyperparameters.batch_size"], fields["name"], fields["model_name"]) == ("64", "digits-1", "digits")
    answer = visitor.post("/training/new", data=filled(member, version) | token)
    job = only_job(app_database, member)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/training/{job.id}")
    assert "first is queued." in unquote(answer.cookies[flash.COOKIE])
    assert job.parameters["hyperparameters"]["epochs"] == 3
    assert job.parameters["hyperparameters"]["augmentation"]["enabled"] is False
    assert job.parameters["hyperparameters"]["batch_size"] == 64
    assert (job.tags, job.output) == ({"team": "vision"}, {"model_name": "digits"})


def test_texts_have_a_form_of_their_own(
    visitor: TestClient, member: Member, freeze: Callable[..., UUID], app_database: Database
) -> None:
    version = freeze(member.tenant, kind="text")
    token = enter(visitor, member)
    assert "No dataset version yet" in visitor.get("/training/new").text
    page = parse(visitor.get("/training/new?algorithm=text-classification").text)
    assert page.refused == []
    assert (page.fields["algorithm"], page.fields["text_hyperparameters.max_length"]) == ("text-classification", "128")
    assert not [name for name in page.fields if name.startswith("hyperparameters.")]
    own = {"algorithm": page.fields["algorithm"], "text_hyperparameters.epochs": "4"}
    given = {name: value for name, value in filled(member, version).items() if "hyperparameters." not in name}
    typed = given | own | token
    told = visitor.post("/training/new/estimate", data=typed).text
    assert "--algorithm text-classification" in told
    assert "--set epochs=4" in told
    answer = visitor.post("/training/new", data=typed)
    job = only_job(app_database, member)
    assert (answer.status_code, job.parameters["algorithm"]) == (303, "text-classification")
    assert job.parameters["hyperparameters"]["epochs"] == 4
    again = parse(visitor.get(f"/training/new?from={job.id}").text).fields
    assert (again["algorithm"], again["text_hyperparameters.epochs"]) == ("text-classification", "4")
    assert visitor.post(f"/training/{job.id}/again", data={"name": "second"} | token).status_code == 303


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("name", "no spaces", "Some characters here are not allowed."),
        ("name", "", "This is needed."),
        ("hyperparameters.epochs", "0", "It must be at least 1."),
        ("hyperparameters.learning_rate", "much", "Write a number."),
        ("dataset_version_id", "00000000-0000-7000-8000-000000000000", "There is no dataset version"),
        ("instance_type", "ml.none", "There is no instance type"),
        ("max_runtime_seconds", "1e99", "whole number"),
        ("tags:lines", "vision", "Write one key=value per line."),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_and_nothing_typed_is_lost(
    visitor: TestClient, member: Member, version: UUID, app_database: Database, field: str, typed: str, said: str
) -> None:
    token = enter(visitor, member)
    answer = visitor.post("/training/new", data=filled(member, version, **{field: typed}) | token)
    assert answer.status_code == 422
    near = unescape(answer.text).partition(f'name="{field}"')[2]
    assert said in near[: near.find("<label", 1) if field != "dataset_version_id" else None]
    assert parse(answer.text).fields["model_name"] == "digits"
    with app_database.unit_of_work(member.tenant.scope) as session:
        assert session.scalars(select(Job).where(Job.organization_id == member.tenant.organization_id)).all() == []


def test_a_name_that_is_taken_is_said_beside_the_name(visitor: TestClient, member: Member, version: UUID) -> None:
    token = enter(visitor, member)
    assert visitor.post("/training/new", data=filled(member, version) | token).status_code == 303
    answer = visitor.post("/training/new", data=filled(member, version) | token)
    assert answer.status_code == 422
    assert "A job named 'first' exists." in unescape(answer.text)


def test_the_price_and_the_same_call_follow_what_is_typed(
    visitor: TestClient, member: Member, version: UUID, controller_database: Database, ran: Callable[..., None]
) -> None:
    token = enter(visitor, member)

    def ask(**changes: str) -> str:
        answer = visitor.post("/training/new/estimate", data=filled(member, version, **changes) | token)
        assert answer.status_code == 200
        return " ".join(unescape(answer.text).split())

    assert "No like job yet" in ask()
    sku = f"instance:{SHAPE}:on-demand"
    with controller_database.unit_of_work() as session:
        if billing.price_in_force(session, sku) is None:
            billing.set_price(session, sku, Decimal("0.001"), datetime(2026, 1, 1, tzinfo=UTC))
    assert "Start training · at most $259.20" in ask()
    ran(member, version, seconds=60, epochs=3)
    assert "Start training · about $0.0600" in ask()
    text = ask(**{"hyperparameters.epochs": "6", "market": "spot"})
    assert "About 1 min 00 s to 2 min 00 s." in text
    assert "no price yet" in text
    assert '"epochs": 6' in text
    assert "--set epochs=6 \\ --set augmentation.enabled=false" in text
    assert "--market spot" in text
    assert "batch_size" not in text
    wrong = ask(instance_type="ml.none")
    assert "The price appears here" in wrong
    assert "curl" not in ask(dataset_version_id="")


def test_a_clone_is_filled_with_the_jobs_own_values(visitor: TestClient, member: Member, version: UUID) -> None:
    token = enter(visitor, member)
    typed = filled(member, version, **{"hyperparameters.width": "48", "max_attempts": "7"})
    address = visitor.post("/training/new", data=typed | token).headers["location"]
    page = visitor.get(f"/training/new?from={address.rpartition('/')[2]}")
    fields = parse(page.text).fields
    assert (fields["name"], fields["hyperparameters.width"], fields["max_attempts"]) == ("first-2", "48", "7")
    assert "<details open" in page.text
    again = visitor.post(f"{address}/again", data={"name": "first-2"} | token)
    assert again.status_code == 303
    second = visitor.get(again.headers["location"]).text
    assert "first-2" in second
    assert 'value="first-3"' in second
    taken = visitor.post(f"{address}/again", data={"name": "first"} | token, headers={"HX-Request": "true"})
    assert (taken.status_code, "exists" in unquote(taken.headers["X-Error-Message"])) == (409, True)
    assert visitor.post(f"{address}/again", data={"name": "no spaces"} | token).status_code == 422


def test_a_sleep_job_runs_again_but_cannot_be_changed_into_a_training(
    visitor: TestClient, member: Member, version: UUID, make_job: Callable[..., UUID], app_database: Database
) -> None:
    assert version
    job = make_job(member.tenant, "nap", states.COMPLETED)
    with app_database.unit_of_work(member.tenant.scope) as session:
        session.get_one(Job, job).instance_type = SHAPE
    token = enter(visitor, member)
    again = visitor.post(f"/training/{job}/again", data={"name": "nap-2"} | token)
    assert again.status_code == 303
    assert "30" in visitor.get(again.headers["location"]).text
    assert visitor.get(f"/training/new?from={job}").status_code == 404


def test_without_a_version_the_form_says_what_comes_first(visitor: TestClient, member: Member) -> None:
    enter(visitor, member)
    text = visitor.get("/training/new").text
    assert "No dataset version yet" in text
    assert 'href="/data"' in text


def test_names_count_on_from_the_one_that_was_taken(
    member: Member, make_job: Callable[..., UUID], app_database: Database
) -> None:
    for name in ("digits", "digits-2", "digits-9", "a" * 63):
        make_job(member.tenant, name)
    with app_database.unit_of_work(member.tenant.scope) as session:
        found = [jobs.next_name(session, member.tenant.scope, name) for name in ("digits", "digits-9", "a" * 63)]
    assert found == ["digits-3", "digits-10", "a" * 56 + "-2"]


def test_limits_are_those_of_the_schema() -> None:
    found = launch.limits()
    assert found["hyperparameters.batch_size"] == launch.Limit(
        default="64", minimum="2", maximum="65536", step="1", options=[]
    )
    assert found["hyperparameters.dropout"].maximum == "1"
    assert found["hyperparameters.checkpoint_every_seconds"].default == "15.0"
    assert found["hyperparameters.optimizer"].options == ["adamw", "sgd"]
    assert found["hyperparameters.early_stopping.enabled"].on
    assert found["market"].options == ["on-demand", "spot"]

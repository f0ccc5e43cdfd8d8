"""The models room over the platform's own rows: lists, versions, evaluations, reviews, compression."""

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend import kinds
from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.storage import ObjectStore
from backend.fleet.models import InstanceType
from backend.jobs import service as jobs
from backend.registry import service as registry
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.registered import REPORT, Registered, Registry, evaluation
from tests.frontend.test_pages import parse

pytestmark = pytest.mark.integration
HTML = {"Accept": "text/html"}
SHAPE = "test.models"
SQUEEZE = {
    "name": "squeeze",
    "instance_type": SHAPE,
    "parameters.max_accuracy_loss_points": "1.5",
    "tags:lines": "team=vision",
}
Makes = Callable[[Member], Registry]


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        yield client


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


@pytest.fixture
def registry_of(app_database: Database, controller_database: Database, storage: ObjectStore) -> Makes:
    kinds.install()
    with controller_database.unit_of_work() as session:
        session.merge(InstanceType(name=SHAPE, provider="local", vcpus=2.0, memory_bytes=2**32, description="test"))
    return lambda member: Registry(app_database, storage, member.tenant)


@pytest.fixture
def made(registry_of: Makes, member: Member) -> Registered:
    return registry_of(member).digits()


def enter(visitor: TestClient, member: Member) -> dict[str, str]:
    """Log in; returns what every form must send."""
    form = parse(visitor.get("/login").text).fields
    assert visitor.post("/login", data=form | {"email": member.email, "password": PASSWORD}).status_code == 303
    return {"csrf_token": parse(visitor.get("/models").text).fields.get("csrf_token", "")}


def test_without_a_model_the_list_offers_the_first_step(visitor: TestClient, member: Member) -> None:
    enter(visitor, member)
    text = visitor.get("/models").text
    assert "No models yet" in text
    assert 'href="/training/new"' in text
    assert "modelyard train" in text


def test_the_list_says_what_is_newest_and_where_it_answers(
    visitor: TestClient, member: Member, registry_of: Makes
) -> None:
    yard = registry_of(member)
    made = yard.digits()
    endpoint = yard.deploy("read-digits", made.trained, SHAPE)
    with yard.database.unit_of_work(member.tenant.scope) as session:
        yard.version(session, "faces", {"model.onnx": b"f"})
    enter(visitor, member)
    text = visitor.get("/models").text
    accuracy = evaluation()["accuracy"]
    for said in ("Version 2", "int8", f"{accuracy:.2%}", "115.2 KiB", "0.061 ms", "Not reviewed", "faces"):
        assert said in text, said
    assert f'<a href="/endpoints/{endpoint}">read-digits</a>' in text
    found = visitor.get("/models", params={"text": "DIG"}, headers={"HX-Request": "true"})
    assert "digits" in found.text
    assert "faces" not in found.text
    assert "<html" not in found.text
    assert found.headers["HX-Push-Url"] == "/models?text=DIG"
    assert "No model has this name" in visitor.get("/models?text=%25").text
    assert "No models yet" in visitor.get(f"/models?project={new_id()}").text
    assert f"project={member.tenant.project_id}" in visitor.get(f"/models?project={member.tenant.project_id}").text
    assert visitor.get("/models?cursor=x").status_code == 422


def test_a_model_compares_its_versions(visitor: TestClient, member: Member, made: Registered) -> None:
    enter(visitor, member)
    text = visitor.get(f"/models/{made.model_id}").text
    assert "compressed from version 1" in text
    assert "0.142 ms" in text, "the original's latency is the one its compression measured"
    sizes = visitor.get(f"/models/{made.model_id}/pareto?by=size").json()
    points = {point["label"]: point for series in sizes["series"] for point in series["points"]}
    assert (sizes["kind"], sizes["x_unit"], sizes["unit"]) == ("scatter", "bytes", "share")
    assert {label: point["x"] for label, point in points.items()} == {
        "Version 1": 432_000,
        "Version 2 (static-int8)": 118_000,
    }
    assert points["Version 2 (static-int8)"]["marked"], "nothing is smaller"
    assert not points["Version 1"]["marked"], "the other is as accurate and smaller"
    times = visitor.get(f"/models/{made.model_id}/pareto?by=latency").json()
    assert sorted(point["x"] for series in times["series"] for point in series["points"]) == [0.061, 0.142]
    rates = visitor.get(f"/models/{made.model_id}/pareto?by=throughput").json()
    (best,), (other,) = [series["points"] for series in rates["series"]]
    assert (best["x"], other["x"]) == (20_450.0, 9_120.0), "more is better"


def test_a_model_is_described(visitor: TestClient, member: Member, made: Registered) -> None:
    token = enter(visitor, member)
    address = f"/models/{made.model_id}"
    done = visitor.post(f"{address}/edit", data=token | {"description": "Reads <digits>.", "tags:lines": "team=vision"})
    assert (done.status_code, done.headers["location"]) == (303, address)
    text = visitor.get(address).text
    assert "Reads &lt;digits&gt;." in text
    assert "vision" in text
    wrong = visitor.post(f"{address}/edit", data=token | {"description": "kept", "tags:lines": "no pair"})
    assert wrong.status_code == 422
    assert "Write one key=value per line." in wrong.text
    assert "kept</textarea>" in wrong.text
    visitor.post(f"{address}/edit", data=token | {"description": "", "tags:lines": ""})
    assert "Reads" not in visitor.get(address).text


def test_a_version_says_what_it_takes_and_where_it_comes_from(
    visitor: TestClient, member: Member, made: Registered
) -> None:
    enter(visitor, member)
    text = visitor.get(f"/models/versions/{made.compressed}").text
    for said in (
        "digits, version 2",
        "Nobody has approved or rejected it yet",
        "N \N{MULTIPLICATION SIGN} 1 \N{MULTIPLICATION SIGN} 8",
        f'Compressed from <a href="/models/versions/{made.trained}">digits v1</a>',
        f'Calibrated and measured on <a href="/data/versions/{made.dataset_version_id}">digits v1</a>',
        f"/endpoints/new?version={made.compressed}",
    ):
        assert said in text, said
    assert f"/models/versions/{made.compressed}/compress" not in text, "it is int8 already"
    parent = visitor.get(f"/models/versions/{made.trained}").text
    assert f'<a href="/models/versions/{made.compressed}">digits v2</a> was compressed from it.' in parent
    assert f"/models/versions/{made.trained}/compress" in parent
    assert "epochs_run" in parent


def test_an_evaluation_shows_its_matrix_and_the_mistakes(
    visitor: TestClient, member: Member, registry_of: Makes
) -> None:
    yard = registry_of(member)
    made = yard.digits()
    told = evaluation()
    enter(visitor, member)
    address = f"/models/versions/{made.trained}"
    text = visitor.get(f"{address}/evaluation").text
    worst = told["mistakes"][0]
    assert f"{told['accuracy']:.2%}" in text
    assert f'alt="{worst["truth"]}, taken for {worst["prediction"]}"' in text
    assert f"{worst['confidence']:.2%}" in text
    source = f"/data/versions/{made.dataset_version_id}/files/{worst['sha256']}"
    assert f'<img src="{source}"' in text
    picture = visitor.get(source)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    assert picture.content.startswith(b"\x89PNG")
    matrix = visitor.get(f"{address}/confusion").json()
    assert matrix["x"] == told["classes"]
    assert [series["values"] for series in matrix["series"]] == told["matrix"]


def test_a_version_without_evaluation_or_report_says_so(
    visitor: TestClient, member: Member, registry_of: Makes
) -> None:
    yard = registry_of(member)
    with yard.database.unit_of_work(member.tenant.scope) as session:
        bare = yard.version(session, "bare", {"model.onnx": b"x"}, report={"latency_ms": 1.5, "accepted": "perhaps"}).id
        spoilt = yard.version(session, "bare", {"model.onnx": b"x", "evaluation.json": b"[]"}).id
    enter(visitor, member)
    for version in (bare, spoilt):
        address = f"/models/versions/{version}"
        assert "No evaluation" in visitor.get(f"{address}/evaluation").text
        assert visitor.get(f"{address}/confusion").json()["series"] == []
        assert "Not compressed" in visitor.get(f"{address}/report").text
        assert visitor.get(address).status_code == 200


def test_a_report_shows_what_the_gate_measured(visitor: TestClient, member: Member, made: Registered) -> None:
    enter(visitor, member)
    text = visitor.get(f"/models/versions/{made.compressed}/report").text
    for said in ("The gate opened", "0.142 ms", "0.061 ms", "9,120", "20,450", "98.33%", "node_linear", "int8"):
        assert said in text, said
    assert f"{REPORT['speedup']:.3g} \N{MULTIPLICATION SIGN} as fast" in text


def test_files_are_downloaded(visitor: TestClient, member: Member, made: Registered) -> None:
    enter(visitor, member)
    address = f"/models/versions/{made.trained}/files"
    text = visitor.get(address).text
    assert "modelyard models download digits:1" in text
    answer = visitor.get(f"{address}/model.onnx")
    assert answer.content == b"o" * 432_000
    assert answer.headers["content-disposition"].startswith("attachment")
    assert visitor.get(f"{address}/none.bin").status_code == 404


def test_a_review_has_a_reason_and_is_remembered(
    visitor: TestClient, member: Member, made: Registered, app_database: Database
) -> None:
    token = enter(visitor, member)
    address = f"/models/versions/{made.trained}"
    done = visitor.post(f"{address}/approve", data=token | {"reason": "better than last week"})
    assert (done.status_code, done.headers["location"]) == (303, address)
    text = visitor.get(address).text
    assert "digits v1 was approved." in text
    assert text.count("better than last week") == 2, "in the status line and among the events"
    again = visitor.post(f"{address}/approve", data=token | {"reason": "once more"})
    assert again.status_code == 422
    assert "This version is approved." in again.text
    assert "once more</textarea>" in again.text
    long = visitor.post(f"{address}/reject", data=token | {"reason": "x" * 4001})
    assert long.status_code == 422
    assert "At most 4000 characters." in long.text
    assert visitor.post(f"{address}/reject", data=token | {"reason": "drifts"}).status_code == 303
    text = visitor.get(address).text
    assert "drifts" in text
    assert f"/endpoints/new?version={made.trained}" not in text, "a rejected version is not deployed"
    with app_database.unit_of_work(member.tenant.scope) as session:
        assert registry.get_version(session, member.tenant.scope, made.trained).approval_status == "rejected"


def test_tags_change_and_go(visitor: TestClient, member: Member, made: Registered) -> None:
    token = enter(visitor, member)
    address = f"/models/versions/{made.trained}"
    assert visitor.post(f"{address}/tags", data=token | {"tags:lines": "stage=canary"}).status_code == 303
    assert "stage = canary" in visitor.get(address).text
    wrong = visitor.post(f"{address}/tags", data=token | {"tags:lines": "nothing"})
    assert wrong.status_code == 422
    assert "nothing</textarea>" in wrong.text
    assert visitor.post(f"{address}/tags", data=token | {"tags:lines": " "}).status_code == 303
    assert "No tags." in visitor.get(address).text


def test_a_compression_is_started_with_its_price(
    visitor: TestClient, member: Member, made: Registered, app_database: Database
) -> None:
    form = enter(visitor, member) | SQUEEZE | {"project_id": str(new_id())}
    address = f"/models/versions/{made.trained}/compress"
    page = visitor.get(address)
    assert page.status_code == 200
    assert "digits-int8-1" in page.text
    told = visitor.post(f"{address}/estimate", data=form, headers={"HX-Request": "true"}).text
    assert "modelyard compression-jobs create squeeze" in told
    assert "--set max_accuracy_loss_points=1.5" in told
    assert f"&#34;model_version_id&#34;: &#34;{made.trained}&#34;" in told
    assert "it has no price yet" in told
    done = visitor.post(address, data=form)
    assert done.status_code == 303, done.text
    job_id = UUID(done.headers["location"].removeprefix("/training/"))
    with app_database.unit_of_work(member.tenant.scope) as session:
        job = jobs.get_job(session, member.tenant.scope, job_id)
    assert (job.kind, job.project_id, job.tags) == ("compression", member.tenant.project_id, {"team": "vision"})
    assert job.inputs["model"]["id"] == str(made.trained)
    assert job.inputs["dataset"]["id"] == str(made.dataset_version_id)
    taken = visitor.post(address, data=form)
    assert taken.status_code == 422
    assert "squeeze" in taken.text


def test_a_compression_that_cannot_be_says_why_beside_its_field(
    visitor: TestClient, member: Member, made: Registered
) -> None:
    form = enter(visitor, member) | SQUEEZE
    address = f"/models/versions/{made.trained}/compress"
    for field, value, said in (
        ("name", "", "This is needed."),
        ("name", "no spaces", 'id="field-name-error"'),
        ("parameters.max_accuracy_loss_points", "101", "It must be at most 100"),
        ("parameters.minimum_speedup", "fast", "Write a number."),
        ("instance_type", "test.none", "There is no instance type"),
        ("dataset_version_id", str(new_id()), "There is no dataset version"),
        ("max_attempts", "0", "It must be at least 1."),
    ):
        wrong = visitor.post(address, data=form | {field: value})
        assert wrong.status_code == 422, field
        assert said in wrong.text, (field, said)
        assert "squeeze" in wrong.text or field == "name"


def test_another_organization_sees_nothing(
    visitor: TestClient, member: Member, registry_of: Makes, make_member: Callable[..., Member]
) -> None:
    yard = registry_of(make_member())
    theirs = yard.digits()
    token = enter(visitor, member)
    assert str(theirs.model_id) not in visitor.get("/models").text
    version = f"/models/versions/{theirs.trained}"
    reads = (f"/models/{theirs.model_id}", f"/models/{theirs.model_id}/pareto", version, *(
        f"{version}/{part}"
        for part in ("evaluation", "confusion", "report", "files", "files/model.onnx", "compress")
    ))  # fmt: skip
    for path in (*reads, "/models/nonsense", f"/models/{new_id()}", "/models/versions/nonsense"):
        assert visitor.get(path).status_code == 404, path
    writes = (f"/models/{theirs.model_id}/edit", *(
        f"{version}/{part}" for part in ("approve", "reject", "tags", "compress", "compress/estimate")
    ))  # fmt: skip
    for path in writes:
        assert visitor.post(path, data=token).status_code == 404, path


def test_a_viewer_reads_and_changes_nothing(
    visitor: TestClient, registry_of: Makes, make_member: Callable[..., Member]
) -> None:
    viewer = make_member("viewer")
    made = registry_of(viewer).digits()
    token = enter(visitor, viewer)
    version = f"/models/versions/{made.trained}"
    text = visitor.get(version).text
    for offered in ("approve-dialog", "reject-dialog", "/compress", "/endpoints/new", "Change the tags"):
        assert offered not in text, offered
    assert visitor.get(f"{version}/compress").status_code == 403
    for path in ("approve", "reject", "tags", "compress", "compress/estimate"):
        assert visitor.post(f"{version}/{path}", data=token | {"reason": ""}).status_code == 403, path
    assert visitor.post(f"/models/{made.model_id}/edit", data=token).status_code == 403
    for path in ("approve", "reject", "tags", "compress", "compress/estimate"):
        assert visitor.post(f"{version}/{path}").status_code == 403, "without the page's token too"


@pytest.mark.parametrize("language", ["en", "zh-CN,zh;q=0.9"])
def test_pages_hold_no_inline_code_and_label_every_field(
    visitor: TestClient, member: Member, made: Registered, language: str
) -> None:
    enter(visitor, member)
    version = f"/models/versions/{made.trained}"
    paths = ["/models", f"/models/{made.model_id}", version, f"/models/versions/{made.compressed}/report"]
    for path in [*paths, *(f"{version}/{part}" for part in ("evaluation", "report", "files", "compress"))]:
        answer = visitor.get(path, headers={"Accept-Language": language})
        assert answer.status_code == 200, path
        page = parse(answer.text)
        assert page.refused == [], path
        assert {str(each.get("id")) for each in page.inputs} <= page.labels, path

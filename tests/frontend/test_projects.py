"""The rooms of projects, over the real API and database."""

from collections.abc import Callable

import pytest
from fastapi import FastAPI

from tests.frontend.conftest import Member
from tests.frontend.rooms import Visitor

pytestmark = pytest.mark.integration


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


@pytest.fixture
def visitor(app: FastAPI, member: Member) -> Visitor:
    return Visitor(app, member)


def test_a_project_is_made_changed_found_and_deleted(visitor: Visitor) -> None:
    assert "Create the project" in visitor.page("/projects/new")
    made = visitor.send("/projects/new", {"name": "vision", "description": "Eyes", "tags:lines": "team=a\ncost=b"})
    assert made.status_code == 303
    here = made.headers["location"]
    page = visitor.page(here)
    assert "Project vision was created." in page
    assert "Eyes" in page
    assert "cost=b" in page
    assert visitor.send(here, {"description": "Ears", "tags:lines": ""}).status_code == 303
    changed = visitor.page(here)
    assert "Ears" in changed
    assert "cost=b" not in changed
    assert "vision" in visitor.page("/projects?text=ISIO")
    assert "No project has this in its name" in visitor.page("/projects?text=100%25")
    assert visitor.send(f"{here}/delete", {"typed": "visio"}).status_code == 422
    gone = visitor.send(f"{here}/delete", {"typed": "vision"})
    assert (gone.status_code, gone.headers["location"]) == (303, "/projects")
    assert visitor.get(here).status_code == 404


def test_what_was_typed_stays_beside_what_is_wrong(visitor: Visitor) -> None:
    answer = visitor.send("/projects/new", {"name": "no spaces", "description": "kept", "tags:lines": "nothing"})
    assert answer.status_code == 422
    assert "kept" in answer.text
    assert "Write one key=value per line." in answer.text
    assert "field-name-error" in visitor.send("/projects/new", {"name": "no spaces"}).text
    taken = visitor.send("/projects/new", {"name": "digits"})
    assert taken.status_code == 422
    assert "already a project named" in taken.text
    assert visitor.client.post("/projects/new", data={"name": "forged"}).status_code == 403
    assert "forged" not in visitor.page("/projects")


def test_a_project_that_holds_something_stays(visitor: Visitor, member: Member) -> None:
    project = str(member.tenant.project_id)
    assert visitor.send("/data/new", {"name": "mine", "project_id": project, "kind": "image"}).status_code == 303
    page = visitor.page(f"/projects/{project}")
    assert "Only an empty project can be deleted" in page
    assert f'href="/data?project={project}"' in page
    refused = visitor.send(f"/projects/{project}/delete", {"typed": "digits"})
    assert refused.status_code == 422
    assert "still holds datasets: 1" in refused.text


def test_projects_of_others_are_not_there(visitor: Visitor, make_member: Callable[..., Member]) -> None:
    theirs = make_member().tenant.project_id
    assert visitor.get(f"/projects/{theirs}").status_code == 404
    assert visitor.send(f"/projects/{theirs}", {"description": "mine now"}).status_code == 404
    assert visitor.send(f"/projects/{theirs}/delete", {"typed": "digits"}).status_code == 404
    assert visitor.get("/projects/nothing").status_code == 404


def test_a_viewer_sees_and_changes_nothing(app: FastAPI, make_member: Callable[..., Member]) -> None:
    member = make_member("viewer")
    visitor = Visitor(app, member)
    here = f"/projects/{member.tenant.project_id}"
    assert "New project" not in visitor.page("/projects")
    assert "Save" not in visitor.page(here)
    assert visitor.get("/projects/new").status_code == 403
    for path in ("/projects/new", here, f"{here}/delete"):
        assert visitor.send(path, {"name": "x", "typed": "digits"}).status_code == 403


def test_a_long_list_has_pages(visitor: Visitor) -> None:
    for number in range(51):
        assert visitor.send("/projects/new", {"name": f"many-{number:02d}"}).status_code == 303
    first = visitor.page("/projects?text=many")
    assert first.count('class="name"') == 50
    older = first.partition("cursor=")[2].partition('"')[0]
    assert "many-00" in visitor.page(f"/projects?text=many&cursor={older}")
    assert visitor.get("/projects?cursor=made-up").status_code == 422
    part = visitor.get("/projects?text=many-07", headers={"HX-Request": "true"})
    assert part.headers["hx-push-url"] == "/projects?text=many-07"
    assert part.text.count('class="name"') == 1

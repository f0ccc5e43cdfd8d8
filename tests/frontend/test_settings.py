"""The settings room over a real database: who one is, members, API keys, tags; the API's own rules."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.core.auth import Principal
from backend.core.db import Database
from backend.core.errors import Unauthorized
from backend.core.pagination import PageRequest
from backend.identity import keys, members
from backend.identity import service as identity
from backend.identity.models import ApiKey
from backend.projects import service as projects
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.test_costs import enter, page
from tests.frontend.test_pages import parse

pytestmark = pytest.mark.integration
HTML = {"Accept": "text/html"}
ROOM = ("/settings", "/settings/members", "/settings/keys", "/settings/tags")


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        yield client


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


def token(visitor: TestClient) -> dict[str, str]:
    return {"csrf_token": parse(visitor.get("/settings").text).fields["csrf_token"]}


def owner_of(member: Member) -> Principal:
    return Principal("user", member.user_id, "Ada", member.tenant.organization_id, "123456789012", "owner")


def add(visitor: TestClient, email: str, role: str = "developer") -> tuple[str, str]:
    """Add a member through the form: its id and its initial password."""
    form = token(visitor) | {"email": email, "full_name": "Grace Hopper", "role": role}
    answer = visitor.post("/settings/members", data=form)
    assert answer.status_code == 200
    password = re.search(r'id="initial-password"[^>]*>([^<]+)<', answer.text)
    assert password is not None
    link = re.search(r'href="/settings/members/([0-9a-f-]{36})">Grace Hopper', page(visitor, "/settings/members"))
    assert link is not None
    return link[1], password[1]


def test_settings_say_who_and_where_in_both_languages(visitor: TestClient, member: Member) -> None:
    enter(visitor, member)
    text = page(visitor, "/settings")
    assert member.email in text
    assert str(member.tenant.organization_id) in text
    for path in ROOM:
        page(visitor, path)
        assert visitor.get(path, headers={"Accept-Language": "zh-CN"}).status_code == 200
    assert "No key yet" in page(visitor, "/settings/keys")
    assert "No tag in use" in page(visitor, "/settings/tags")


def test_a_password_is_changed_by_who_knows_it(visitor: TestClient, member: Member) -> None:
    enter(visitor, member)
    form = token(visitor) | {"current_password": "another one", "new_password": "a sentence to remember"}
    wrong = visitor.post("/settings/password", data=form)
    assert (wrong.status_code, "The current password is another." in wrong.text) == (422, True)
    assert "a sentence to remember" not in wrong.text
    short = visitor.post("/settings/password", data=form | {"current_password": PASSWORD, "new_password": "short"})
    assert "At least 10 characters." in short.text
    done = visitor.post("/settings/password", data=form | {"current_password": PASSWORD})
    assert done.headers["location"] == "/settings"
    assert "Your password was changed" in page(visitor, "/settings")
    fresh = TestClient(visitor.app, headers=HTML, follow_redirects=False)
    login = parse(fresh.get("/login").text).fields
    old = fresh.post("/login", data=login | {"email": member.email, "password": PASSWORD})
    new = fresh.post("/login", data=login | {"email": member.email, "password": "a sentence to remember"})
    assert (old.status_code, new.status_code) == (422, 303)


def test_a_member_is_added_changed_and_removed(visitor: TestClient, member: Member, app_database: Database) -> None:
    enter(visitor, member)
    email = f"grace-{uuid4()}@example.com"
    bad = token(visitor) | {"email": "nobody", "full_name": "Grace", "role": "queen"}
    wrong = visitor.post("/settings/members", data=bad)
    assert wrong.status_code == 422
    assert wrong.text.count('class="field-error"') == 2
    assert 'value="Grace"' in wrong.text
    grace, password = add(visitor, email)
    again = visitor.post("/settings/members", data=bad | {"email": email, "role": "viewer"})
    assert (again.status_code, "already a member" in again.text) == (422, True)
    assert visitor.post("/login", data=token(visitor) | {"email": email, "password": password}).status_code == 303
    enter(visitor, member)
    path = f"/settings/members/{grace}"
    assert visitor.post(f"{path}/role", data=token(visitor) | {"role": "none"}).status_code == 422
    assert visitor.post(f"{path}/role", data=token(visitor) | {"role": "viewer"}).status_code == 303
    assert "Viewer" in page(visitor, path)
    last = visitor.post(f"/settings/members/{member.user_id}/role", data=token(visitor) | {"role": "viewer"})
    assert (last.status_code, "This is the last owner" in last.text) == (422, True)
    assert visitor.post(f"/settings/members/{member.user_id}/remove", data=token(visitor)).status_code == 422
    assert visitor.post(f"{path}/remove", data=token(visitor)).headers["location"] == "/settings/members"
    with app_database.unit_of_work(member.tenant.scope) as session:
        rows, _ = members.list_members(session, owner_of(member), PageRequest())
    assert [user.email for _, user in rows] == [member.email]
    assert visitor.get(path).status_code == 404


def test_a_key_is_shown_once_works_and_is_revoked(visitor: TestClient, member: Member, app_database: Database) -> None:
    enter(visitor, member)
    bad = token(visitor) | {"name": " ", "scopes.0": "read", "expires_at": "tomorrow", "tags:lines": ""}
    wrong = visitor.post("/settings/keys", data=bad)
    assert wrong.status_code == 422
    assert wrong.text.count('class="field-error"') == 2
    assert 'value="read" checked' in wrong.text
    past = visitor.post("/settings/keys", data=bad | {"name": "late", "expires_at": "2020-01-01T00:00:00Z"})
    assert (past.status_code, "in the past" in past.text) == (422, True)
    expires = (datetime.now(UTC) + timedelta(days=7)).isoformat()
    good = bad | {"name": "website", "scopes.0": "", "scopes.2": "invoke", "expires_at": expires, "role": ""}
    made = visitor.post("/settings/keys", data=good)
    assert made.status_code == 200
    assert parse(made.text).refused == []
    secret = re.search(r'id="key-token"[^>]*>([^<]+)<', made.text)
    assert secret is not None
    listed = page(visitor, "/settings/keys")
    assert "website" in listed
    assert "only invoke" in listed
    assert secret[1] not in listed
    with app_database.unit_of_work() as session:
        caller = identity.authenticate_api_key(session, secret[1])
    assert caller.scopes == {"invoke"}
    assert visitor.post(f"/settings/keys/{caller.id}/revoke", data=token(visitor)).status_code == 303
    assert "No key yet" in page(visitor, "/settings/keys")
    assert "Revoked" in page(visitor, "/settings/keys?revoked=yes")
    with pytest.raises(Unauthorized), app_database.unit_of_work() as session:
        identity.authenticate_api_key(session, secret[1])


def a_key(database: Database, backstage_vault: object, member: Member) -> ApiKey:
    with database.unit_of_work(member.tenant.scope) as session:
        return keys.create_key(session, backstage_vault, owner_of(member), name="theirs").key  # type: ignore[arg-type] # the fixture's vault


def test_nobody_reaches_beyond_role_and_organization(
    visitor: TestClient, make_member: Callable[..., Member], app_database: Database, site: FastAPI
) -> None:
    boss = make_member()
    vault = site.router.routes[-1].app.state.backstage.security.vault  # type: ignore[attr-defined] # the mounted dashboard
    key = a_key(app_database, vault, boss)
    for role, code in (("owner", 404), ("viewer", 403), ("developer", 403)):
        enter(visitor, make_member(role))
        given = token(visitor)
        assert visitor.get(f"/settings/members/{boss.user_id}").status_code == 404
        for post in (f"members/{boss.user_id}/role", f"members/{boss.user_id}/remove"):
            assert visitor.post(f"/settings/{post}", data=given | {"role": "viewer"}).status_code == code
        revoke = visitor.post(f"/settings/keys/{key.id}/revoke", data=given)
        assert revoke.status_code == (403 if role == "viewer" else 404)
        assert "theirs" not in page(visitor, "/settings/keys")
        assert visitor.get("/settings/members/new").status_code == (200 if code == 404 else 403)
        assert visitor.get("/settings/keys/new").status_code == (403 if role == "viewer" else 200)
        assert visitor.post("/settings/keys", data={"name": "x"}).status_code == 403
    exceeds = token(visitor) | {"name": "more", "role": "owner"}
    refused = visitor.post("/settings/keys", data=exceeds)
    assert (refused.status_code, "may do more" in refused.text) == (422, True)
    with app_database.unit_of_work(boss.tenant.scope) as session:
        assert session.get_one(ApiKey, key.id).revoked_at is None


def test_tags_in_use_and_what_carries_them(
    visitor: TestClient, member: Member, make_member: Callable[..., Member], app_database: Database
) -> None:
    theirs = make_member()
    for one, tags in ((member, {"team": "vision", "a&b": "c=d"}), (theirs, {"team": "secret"})):
        with app_database.unit_of_work(one.tenant.scope) as session:
            projects.update_project(session, owner_of(one), one.tenant.project_id, tags=tags)
            projects.create_project(session, owner_of(one), name="second", description="", tags=tags)
    enter(visitor, member)
    text = page(visitor, "/settings/tags")
    assert "team=vision" in text
    assert "\N{MULTIPLICATION SIGN} 2" in text
    assert "secret" not in text
    assert "/settings/tags?key=a%26b&amp;value=c%3Dd" in text
    carriers = page(visitor, "/settings/tags?key=a%26b&value=c%3Dd")
    assert f'href="/projects/{member.tenant.project_id}">digits</a>' in carriers
    assert "Nothing carries this tag." in page(visitor, "/settings/tags?key=team&value=secret")
    assert visitor.get("/settings/tags", params={"key": "x" * 600}).status_code == 422
    for what in ("\x00", "\ud800"):
        assert visitor.get(f"/settings/tags?key={quote(what, errors='surrogatepass')}").status_code in {200, 422}
        assert visitor.get(f"/costs?kind={quote(what, errors='surrogatepass')}").status_code in {200, 422}

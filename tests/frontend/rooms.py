"""A visitor of the dashboard beside the API, logged in, and the forms that it fills."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.test_pages import parse

HTML = {"Accept": "text/html"}


class Visitor:
    """A member in a browser without scripts."""

    def __init__(self, app: FastAPI, member: Member) -> None:
        self.client = TestClient(app, headers=HTML, follow_redirects=False, raise_server_exceptions=False)
        form = parse(self.client.get("/login").text).fields
        answer = self.client.post("/login", data=form | {"email": member.email, "password": PASSWORD})
        assert answer.status_code == 303
        self.token = parse(self.client.get("/projects").text).fields["csrf_token"]

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path, **more)

    def send(self, path: str, fields: Mapping[str, str]) -> Any:
        """POST a form, with the token that our pages carry."""
        return self.client.post(path, data={"csrf_token": self.token, **fields})

    def page(self, path: str) -> str:
        """A page that must be there, and free of code that the browser would refuse."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        assert parse(answer.text).refused == []
        text: str = answer.text
        return text

"""What was typed, as the API's request; what is wrong with it, beside its field."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from backend.core.errors import Conflict
from backend.core.fields import Flag, Tags
from frontend.forms import parse

pytestmark = pytest.mark.unit


class Inner(BaseModel):
    epochs: Annotated[int, Field(ge=1, le=100)] = 15
    enabled: Flag = True


class Part(BaseModel):
    weight: float


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    tags: Tags = Field(default_factory=dict)
    inner: Inner = Inner()
    parts: list[Part] = Field(default_factory=list)


class NameTaken(Conflict):
    code = "test_name_taken"
    title = "Taken"
    remedy = "choose another name"


def test_dotted_names_become_the_request() -> None:
    typed = {
        "name": " digits ",
        "tags:lines": "team=vision\n\nowner = ada=1",
        "inner.epochs": "7",
        "inner.enabled:flag": "false",
        "parts.0.weight": "70",
        "parts.1.weight": "30",
    }
    form = parse(Wanted, typed)
    assert form.errors == {}
    assert form.request == Wanted(
        name="digits",
        tags={"team": "vision", "owner": "ada=1"},
        inner=Inner(epochs=7, enabled=False),
        parts=[Part(weight=70), Part(weight=30)],
    )


def test_an_empty_field_keeps_the_default() -> None:
    form = parse(Wanted, {"name": "a", "inner.epochs": "", "tags:lines": " "})
    assert form.request == Wanted(name="a")


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("name", "", "This is needed."),
        ("inner.epochs", "0", "It must be at least 1."),
        ("inner.epochs", "many", "Write a whole number."),
        ("tags:lines", "no pair", "Write one key=value per line."),
        ("parts.0.weight", "half", "Write a number."),
    ],
)
def test_an_error_stands_beside_its_field_and_what_was_typed_stays(field: str, text: str, said: str) -> None:
    typed = {"name": "a", field: text}
    form = parse(Wanted, typed)
    assert form.request is None
    assert form.errors == {field: said}
    assert form.values == typed


def test_a_field_that_the_form_does_not_have_is_said_above_it() -> None:
    assert parse(Wanted, {"name": "a", "colour": "red"}).errors == {"colour": "There is no such field."}
    assert parse(Wanted, {}).errors == {"": "name: This is needed."}


def test_names_that_contradict_each_other_are_an_error() -> None:
    assert "inner.epochs" in parse(Wanted, {"name": "a", "inner": "x", "inner.epochs": "1"}).errors
    assert "a.b.c.d.e.f.g" in parse(Wanted, {"name": "a", "a.b.c.d.e.f.g": "1"}).errors


def test_a_refusal_of_the_platform_is_shown_with_its_way_out() -> None:
    form = parse(Wanted, {"name": "a"})
    form.refuse(NameTaken("there is a thing of this name", field="name"))
    assert form.errors == {"name": "There is a thing of this name. Choose another name."}
    form.refuse(NameTaken("there is no room"))
    assert form.errors[""] == "There is no room. Choose another name."

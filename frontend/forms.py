"""What a person typed, as the request that the API takes: one schema for both, and the same refusals.

A form's fields bear the dotted names of the API's body: `name`, `hyperparameters.epochs`, `variants.0.weight`. An empty
field means "not given". A suffix says how a field is read: `tags:lines`, `enabled:flag`, `schema:json`.

Nothing typed is lost: a form with an error is shown again with every value, the error beside its field, and what
belongs to no field above them all (`errors[""]`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from backend.core.errors import DomainError

T = TypeVar("T", bound=BaseModel)
MAX_FIELDS = 500
MAX_DEPTH = 6
OUR_OWN = {"csrf_token", "next"}
MESSAGES = {
    "missing": "This is needed.",
    "string_too_short": "This is needed.",
    "int_parsing": "Write a whole number.",
    "int_from_float": "Write a whole number.",
    "float_parsing": "Write a number.",
    "decimal_parsing": "Write a number.",
    "greater_than": "It must be more than {gt}.",
    "greater_than_equal": "It must be at least {ge}.",
    "less_than": "It must be less than {lt}.",
    "less_than_equal": "It must be at most {le}.",
    "string_pattern_mismatch": "Some characters here are not allowed.",
    "string_too_long": "At most {max_length} characters.",
    "uuid_parsing": "Choose one of the list.",
    "literal_error": "Choose one of the list.",
    "enum": "Choose one of the list.",
    "too_short": "Give more of these: at least {min_length}.",
    "too_long": "Give fewer of these: at most {max_length}.",
    "extra_forbidden": "There is no such field.",
    "bool_parsing": "Say yes or no.",
    "finite_number": "It must be a finite number.",
    "decimal_max_digits": "It has too many digits.",
    "decimal_max_places": "It has too many digits.",
    "decimal_whole_digits": "It has too many digits.",
    "int_parsing_size": "It has too many digits.",
    "int_type": "Write a whole number.",
    "float_type": "Write a number.",
    "decimal_type": "Write a number.",
    "string_type": "This is no text.",
    "string_unicode": "This cannot be read as text.",
    "list_type": "This is no list.",
    "dict_type": "This is no object with fields.",
    "model_type": "This is no object with fields.",
    "model_attributes_type": "This is no object with fields.",
    "datetime_parsing": "This is no date and time.",
    "datetime_from_date_parsing": "This is no date and time.",
    "timezone_aware": "The time needs its zone.",
    "url_parsing": "This is no address on the web.",
    "multiple_of": "It must be a multiple of {multiple_of}.",
}
"""By pydantic's type of error; other types keep pydantic's own sentence. Translated in `locale/*/phrases/forms.po`."""


async def read_typed(request: Request) -> dict[str, str]:
    """A dependency: the form's text fields by name; of fields of one name, the last."""
    form = await request.form(max_files=0, max_fields=MAX_FIELDS)
    return {name: value for name, value in form.multi_items() if isinstance(value, str) and name not in OUR_OWN}


Typed = Annotated[dict[str, str], Depends(read_typed)]


@dataclass
class Form(Generic[T]):
    """A form as it stands on the page. `request` is None while something is wrong with it."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    request: T | None = None

    def refuse(self, error: DomainError) -> None:
        """Show why the platform did not take it, beside the field that `error` names or above them all."""
        named = _field_of(str(error.extra.get("field", "")).split("."), self.values)
        hint = f" {error.hint[:1].upper()}{error.hint[1:]}." if error.hint else ""
        self.errors[named] = f"{error.detail[:1].upper()}{error.detail[1:]}.{hint}"


def parse(schema: type[T], typed: Mapping[str, str]) -> Form[T]:
    """What was typed as a request of the API, or what is wrong with it, field by field."""
    form: Form[T] = Form(values=typed)
    try:
        form.request = schema.model_validate(nested(typed))
    except FieldError as error:
        form.errors[error.name] = str(error)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            name = _field_of([str(part) for part in one["loc"]], typed)
            where = "" if name else f"{'.'.join(str(part) for part in one['loc'])}: "
            form.errors.setdefault(name, where + sentence(one))
    return form


def sentence(error: ErrorDetails) -> str:
    """One of pydantic's errors as a sentence for people."""
    if error["type"] == "string_too_short" and error.get("ctx", {}).get("min_length", 1) > 1:
        return f"At least {error['ctx']['min_length']} characters."
    if error["type"] in MESSAGES:
        return MESSAGES[error["type"]].format(**error.get("ctx", {}))
    said = error["msg"].removeprefix("Value error, ")
    return f"{said[:1].upper()}{said[1:]}" + ("" if said.endswith(".") else ".")


class FieldError(ValueError):
    """What was typed into a field cannot be read."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def nested(typed: Mapping[str, str]) -> dict[str, Any]:
    """Dotted names as nested objects, numbered ones as lists; without what is empty. Raises FieldError."""
    found: dict[str, Any] = {}
    for full, text in typed.items():
        name, _, kind = full.partition(":")
        if not text.strip():
            continue
        path = name.split(".")
        if len(path) > MAX_DEPTH:
            raise FieldError(full, f"there is no field {name}")
        place = found
        for part in path[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise FieldError(full, f"there is no field {name}")
        place[path[-1]] = _value(full, kind, text)
    return {name: _lists(value) for name, value in found.items()}


def _value(name: str, kind: str, text: str) -> object:
    """`:flag` is true or false, `:lines` one `key=value` per line, `:json` any JSON; everything else is text."""
    if kind == "flag":
        return text == "true"
    if kind == "lines":
        pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
        if any(not key.strip() or not equals for key, equals, _ in pairs):
            raise FieldError(name, "Write one key=value per line.")
        return {key.strip(): value.strip() for key, _, value in pairs}
    if kind == "json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FieldError(name, f"This is no JSON: {error}") from error
    return text.strip()


def typed_lines(pairs: Mapping[str, str]) -> str:
    """What stands in a `:lines` field for these pairs."""
    return "\n".join(f"{key}={value}" for key, value in pairs.items())


def _lists(value: object) -> object:
    """Objects whose names are all numbers become lists, in the order of the numbers."""
    if not isinstance(value, dict):
        return value
    inner = {name: _lists(one) for name, one in value.items()}
    if inner and all(name.isascii() and name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


def _field_of(path: Sequence[str], typed: Mapping[str, str]) -> str:
    """The form's field that a place in the request came from; "" where the form has none."""
    fields = {name.partition(":")[0]: name for name in typed}
    for end in range(len(path), 0, -1):
        if (name := fields.get(".".join(path[:end]))) is not None:
            return name
    return ""

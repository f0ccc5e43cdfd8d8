"""Field types that several domains' schemas share: resource names, tags, sizes within the database's types."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints, WithJsonSchema

MAX_TAGS = 50
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")
_YEARS = range(1970, 9999)
_IN_YEARS = r"^(19[7-9]\d|[2-8]\d{3}|9[0-8]\d{2}|99[0-8]\d|999[0-8])-"
_KEY_CHARACTERS, _VALUE_CHARACTERS = 128, 256


def _printable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold a NUL character")
    return text


def _check_tags(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > MAX_TAGS:
        raise ValueError(f"at most {MAX_TAGS} tags")
    for key, value in tags.items():
        if not 1 <= len(key) <= _KEY_CHARACTERS or len(value) > _VALUE_CHARACTERS:
            raise ValueError("a tag has a key of 1 to 128 characters and a value of up to 256")
        _printable(key)
        _printable(value)
    return tags


def _written_out(value: object) -> object:
    if isinstance(value, int | float) or (isinstance(value, str) and not _DATE.match(value)):
        raise ValueError("a time is written like 2026-03-01T12:00:00Z")
    return value


def _of_our_years(value: datetime) -> datetime:
    """What lies further out in some zone is a time that neither Postgres nor Python can read back."""
    if value.year not in _YEARS:
        raise ValueError("a time lies within the years 1970 to 9998")
    return value


ResourceName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=r"^[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?$"),
    Field(description="letters, digits and hyphens; begins and ends with a letter or digit"),
]
DisplayName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, strip_whitespace=True),
    AfterValidator(_printable),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[^\x00]*[^\x00\s][^\x00]*$"}),
]
Description = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")]
Tags = Annotated[
    dict[str, str],
    AfterValidator(_check_tags),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_TAGS,
            "propertyNames": {"minLength": 1, "maxLength": _KEY_CHARACTERS, "pattern": r"^[^\x00]*$"},
            "additionalProperties": {"type": "string", "maxLength": _VALUE_CHARACTERS, "pattern": r"^[^\x00]*$"},
        }
    ),
]
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_written_out),
    AfterValidator(_of_our_years),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _IN_YEARS}),
]
"""A time with its zone, as ISO 8601 text of the years 1970 to 9998: a number of seconds is none."""
Flag = Annotated[bool, Field(strict=True)]
"""true or false, and nothing that could be taken for them."""

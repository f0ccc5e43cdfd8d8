"""Field types that several domains' schemas share: resource names, tags, sizes within the database's types."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

MAX_TAGS = 50
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


ResourceName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=r"^[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?$"),
    Field(description="letters, digits and hyphens; begins and ends with a letter or digit"),
]
DisplayName = Annotated[
    str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True), AfterValidator(_printable)
]
Description = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_printable)]
Tags = Annotated[dict[str, str], AfterValidator(_check_tags)]

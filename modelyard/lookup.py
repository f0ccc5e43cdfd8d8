"""What people type into things: an id, or a name where names are unique; versions as `name:number`.

A version reference is the version's id, `name:number`, or `name` alone for the newest.
Every function raises NameNotFound, or NameAmbiguous when several have the name.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from modelyard.client import Client
from modelyard.errors import ApiError, NameAmbiguous, NameNotFound
from modelyard.types import Dataset, DatasetVersion, Endpoint, Job, Model, ModelVersion, Project

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_UNKNOWABLE = frozenset({404, 422})


class _Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


class _Numbered(Protocol):
    @property
    def number(self) -> int: ...


N = TypeVar("N", bound=_Named)
V = TypeVar("V", bound=_Numbered)


def is_id(text: str) -> bool:
    """Whether this looks like an id. Names have no such form, for they would hide things."""
    return _UUID.fullmatch(text) is not None


def project(client: Client, given: str) -> Project:
    """A project by id or name."""
    if is_id(given):
        return client.projects.get(given)
    return _only(given, "project", _asked(client.projects.list(name=given)))


def dataset(client: Client, given: str, *, project_id: str | None = None) -> Dataset:
    """A dataset by id or name."""
    if is_id(given):
        return client.datasets.get(given)
    return _only(given, "dataset", _asked(client.datasets.list(project_id, name=given)))


def job(client: Client, given: str) -> Job:
    """A job by id or name."""
    if is_id(given):
        return client.jobs.get(given)
    return _only(given, "job", _asked(client.jobs.list(name_contains=given)))


def model(client: Client, given: str) -> Model:
    """A model by id or name."""
    if is_id(given):
        return client.models.get(given)
    return _only(given, "model", _asked(client.models.list(name=given)))


def endpoint(client: Client, given: str) -> Endpoint:
    """An endpoint by id or name; a deleted one only by id."""
    if is_id(given):
        return client.endpoints.get(given)
    return _only(given, "endpoint", _asked(client.endpoints.list(name=given)))


def dataset_version(client: Client, given: str) -> DatasetVersion:
    """A dataset version by reference."""
    if is_id(given):
        return client.datasets.version(given)
    name, number = _split(given)
    return _numbered(given, number, client.datasets.versions(dataset(client, name).id))


def model_version(client: Client, given: str) -> ModelVersion:
    """A model version by reference."""
    if is_id(given):
        return client.models.version(given)
    name, number = _split(given)
    return _numbered(given, number, client.models.versions(model(client, name).id))


def _split(given: str) -> tuple[str, int | None]:
    name, colon, number = given.rpartition(":")
    if not colon:
        return given, None
    if not number.isdecimal():
        raise NameNotFound(f"'{given}' is no version: write an id, name:number, or a name for its newest version")
    return name, int(number)


def _numbered(given: str, number: int | None, versions: Iterable[V]) -> V:
    found = next((one for one in versions if number in (None, one.number)), None)
    if found is None:
        raise NameNotFound(f"there is no version '{given}'")
    return found


def _asked(found: Iterator[N]) -> list[N]:
    """What the API lists; nothing when it says that no name can be such."""
    try:
        return list(found)
    except ApiError as error:
        if error.status in _UNKNOWABLE:
            return []
        raise


def _only(given: str, kind: str, candidates: Iterable[N]) -> N:
    found = [one for one in candidates if one.name == given]
    if not found:
        raise NameNotFound(f"there is no {kind} '{given}'")
    if len(found) > 1:
        ids = ", ".join(one.id for one in found)
        raise NameAmbiguous(f"{len(found)} {kind}s are named '{given}'; name one by its id: {ids}")
    return found[0]

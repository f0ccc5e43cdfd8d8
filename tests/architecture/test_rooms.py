"""Across domains only `service`, `schemas` and `errors` are imported; every other door is named, with its reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

BACKEND = Path(__file__).parents[2] / "backend"
DOMAINS = {path.parent.name for path in BACKEND.glob("*/repository.py")} | {"training_jobs", "compression_jobs"}
OPEN = {"service", "schemas", "errors"}
DOORS = {
    "billing.models": "charges are where a lineage ends; it reads every room's rows, a statement for each kind of step",
    "datasets.models": "lineage, as above",
    "endpoints.models": "lineage, as above",
    "endpoints.states": "names of the events that can be subscribed to",
    "fleet.agent_auth": "who an agent is, for every room that agents speak with",
    "fleet.models": "types of the rows that its service hands out",
    "fleet.states": "statuses of those rows",
    "fleet.subjects": "the Protocol through which fleet asks what an assignment runs",
    "fleet.sync": "an agent's one conversation, which rooms above have a part in",
    "identity.vault": "signing secrets of webhooks are an organization's secrets",
    "identity.models": "keys stand in the routing table, which is one query",
    "jobs.api": "what every kind's own route answers with",
    "jobs.states": "names of the events that can be subscribed to",
    "jobs.kinds": "the Protocol by which a kind of job registers itself",
    "jobs.models": "the type of the row that a kind is handed",
    "registry.models": "the type of the row that its service hands out",
}


def crossings() -> Iterator[tuple[str, str]]:
    """(door, file that imports through it), of doors that are not open to all."""
    for domain in DOMAINS:
        for path in (BACKEND / domain).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("backend."):
                    continue
                _, room, *below = (node.module or "").split(".")
                if room in DOMAINS - {domain}:
                    names = below[:1] or [alias.name for alias in node.names]
                    yield from ((f"{room}.{name}", str(path)) for name in names if name not in OPEN)


def test_the_domains_are_known() -> None:
    assert {"identity", "billing", "fleet", "datasets", "registry", "jobs", "endpoints"} < DOMAINS


def test_across_domains_only_named_doors() -> None:
    assert {door for door, _ in crossings()} == set(DOORS)


def test_no_room_reaches_into_anothers_sql() -> None:
    assert [found for found in crossings() if found[0].endswith("repository")] == []

"""What the search field finds: resources of every kind by name, a few of each."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.datasets import service as datasets
from backend.endpoints import service as endpoints
from backend.jobs import service as jobs
from backend.projects import service as projects
from backend.registry import service as registry
from frontend.views import Hit, HitGroup

PER_KIND = 5
Find = Callable[[Session, Scope, str, int], Sequence[Row[*tuple[Any, ...]]]]
KINDS: tuple[tuple[str, str, str, Find], ...] = (
    ("project", "/projects", "", projects.find_named),
    ("dataset", "/data", "kind", datasets.find_named),
    ("job", "/training", "status", jobs.find_named),
    ("model", "/models", "", registry.find_named),
    ("endpoint", "/endpoints", "status", endpoints.find_named),
)
"""(kind, where its pages are, the column that is shown beside the name, how it is found)."""


def find_everywhere(session: Session, scope: Scope, words: str) -> list[HitGroup]:
    """At most `PER_KIND` of each kind; every question is bounded, see `backend.core.names`."""
    groups = []
    for kind, section, note, find in KINDS:
        rows = find(session, scope, words, PER_KIND)
        hits = [
            Hit(
                id=f"{kind}-{row.id}",
                name=row.name,
                path=f"{section}/{row.id}",
                note=getattr(row, note) if note else "",
            )
            for row in rows
        ]
        if hits:
            groups.append(HitGroup(kind=kind, hits=hits))
    return groups

"""View models of projects."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from backend.projects.models import Project


@dataclass(frozen=True, kw_only=True)
class ProjectView:
    """A project, as the list and its page show it."""

    id: str
    name: str
    description: str
    tags: Mapping[str, str]
    created_at: datetime

    @classmethod
    def of(cls, project: Project) -> Self:
        """From the row."""
        return cls(
            id=str(project.id),
            name=project.name,
            description=project.description,
            tags=project.tags,
            created_at=project.created_at,
        )

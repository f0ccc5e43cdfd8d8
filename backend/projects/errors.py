"""Facts about projects."""

from backend.core.errors import Conflict, NotFound


class ProjectNotFound(NotFound):
    """No such project in this organization."""

    code = "project_not_found"
    title = "Project not found"


class ProjectNameTaken(Conflict):
    """Another project of the organization has this name."""

    code = "project_name_taken"
    title = "Project name taken"


class ProjectNotEmpty(Conflict):
    """Something is in the project; `contents` counts it by kind."""

    code = "project_not_empty"
    title = "Project not empty"

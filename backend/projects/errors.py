"""Facts about projects."""

from backend.core.errors import Conflict, NotFound


class ProjectNotFound(NotFound):
    """No such project in this organization."""

    code = "project_not_found"
    title = "Project not found"
    remedy = "GET /api/v1/projects lists your projects"


class ProjectNameTaken(Conflict):
    """Another project of the organization has this name."""

    code = "project_name_taken"
    title = "Project name taken"
    remedy = "choose another name, or use the project that has it"


class ProjectNotEmpty(Conflict):
    """Something is in the project; `contents` counts it by kind."""

    code = "project_not_empty"
    title = "Project not empty"
    remedy = "delete what `contents` counts first"

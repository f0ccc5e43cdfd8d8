"""`modelyard models`: the registry."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.commands.output import news, shortened, show_list, show_one, size, write_json
from backend.commands.parameters import LimitOption, ProjectFilter
from backend.commands.session import session_of
from backend.commands.waiting import bytes_bar

if TYPE_CHECKING:
    from modelyard.types import ModelVersion

app = typer.Typer(no_args_is_help=True, help="Models, their versions and files.")

ModelArgument = Annotated[str, typer.Argument(help="id or name")]
VersionArgument = Annotated[str, typer.Argument(help="version: id, name:number, or name (the newest)")]


def _precision(version: "ModelVersion") -> object:
    return version.signature.get("precision")


def _accuracy(version: "ModelVersion") -> dict[str, str]:
    figures = {key: value for key, value in version.metrics.items() if "accuracy" in key}
    return shortened(figures)


COLUMNS = {
    "id": lambda one: one.id,
    "name": lambda one: one.name,
    ">newest": lambda one: one.newest_version.number if one.newest_version else None,
    "approval": lambda one: one.newest_version.approval_status if one.newest_version else None,
    "created": lambda one: one.created_at,
}
VERSION_COLUMNS = {
    "id": lambda one: one.id,
    ">version": lambda one: one.number,
    "precision": _precision,
    ">size": lambda one: size(one.size_bytes),
    "accuracy": _accuracy,
    "approval": lambda one: one.approval_status,
    "created": lambda one: one.created_at,
}
VERSION_LINES = {
    "id": lambda one: one.id,
    "version": lambda one: one.number,
    "precision": _precision,
    "size": lambda one: size(one.size_bytes),
    "files": lambda one: {file.name: size(file.size_bytes) for file in one.files},
    "metrics": lambda one: shortened(one.metrics),
    "classes": lambda one: one.signature.get("classes"),
    "approval": lambda one: one.approval_status,
    "made by job": lambda one: one.job_id,
    "dataset version": lambda one: one.dataset_version_id,
    "compressed from": lambda one: one.parent_version_id,
    "created": lambda one: one.created_at,
}


@app.command("list")
def list_models(context: typer.Context, project: ProjectFilter = None, limit: LimitOption = 100) -> None:
    """List models."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        project_id = lookup.project(client, project).id if project else None
        show_list(session, islice(client.models.list(project_id=project_id), limit), COLUMNS)


@app.command()
def versions(context: typer.Context, model: ModelArgument, limit: LimitOption = 100) -> None:
    """List the versions of a model."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        found = lookup.model(client, model)
        show_list(session, islice(client.models.versions(found.id), limit), VERSION_COLUMNS)


@app.command()
def show(context: typer.Context, version: VersionArgument) -> None:
    """Show one version: files, metrics, and where it comes from."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        show_one(session, lookup.model_version(client, version), VERSION_LINES)


ReasonOption = Annotated[str, typer.Option(help="why; it stands in the version's history")]


@app.command()
def approve(context: typer.Context, version: VersionArgument, reason: ReasonOption = "") -> None:
    """Let a version onto protected endpoints."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        show_one(session, client.models.approve(lookup.model_version(client, version).id, reason), VERSION_LINES)


@app.command()
def reject(context: typer.Context, version: VersionArgument, reason: ReasonOption = "") -> None:
    """Keep a version off protected endpoints."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        show_one(session, client.models.reject(lookup.model_version(client, version).id, reason), VERSION_LINES)


@app.command()
def download(
    context: typer.Context,
    version: VersionArgument,
    file: Annotated[list[str] | None, typer.Argument(help="file names (default: all)")] = None,
    to: Annotated[Path, typer.Option(help="the folder it goes into")] = Path(),
) -> None:
    """Download the files of a version, each checked against its digest."""
    from modelyard import lookup
    from modelyard.errors import NameNotFound

    session = session_of(context)
    with session.client() as client:
        found = lookup.model_version(client, version)
        known = {one.name: one for one in found.files}
        for name in file or ():
            if name not in known:
                raise NameNotFound(f"there is no file '{name}'; there are: {', '.join(sorted(known))}")
        written = []
        for name in file or sorted(known):
            target = to / Path(name).name
            with bytes_bar(name) as told:
                client.models.download_to(found.id, known[name], target, told=told)
            written.append(str(target))
            if session.output == "table":
                news(f"{target}  {size(known[name].size_bytes)}")
    if session.output == "json":
        write_json(written)

"""`modelyard datasets`: bring data, freeze it into versions."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.commands.output import news, show_list, show_one, size
from backend.commands.parameters import LimitOption, ProjectFilter, ProjectOption, numbers, pairs
from backend.commands.session import session_of
from backend.commands.waiting import bytes_bar

if TYPE_CHECKING:
    from modelyard.types import Upload

app = typer.Typer(no_args_is_help=True, help="Named data, and immutable versions of it.")

DatasetArgument = Annotated[str, typer.Argument(help="id or name")]
MIB = 1024 * 1024

LINES = {
    "id": lambda one: one.id,
    "name": lambda one: one.name,
    "kind": lambda one: one.kind,
    "description": lambda one: one.description,
    "created": lambda one: one.created_at,
}
VERSION_LINES = {
    "id": lambda one: one.id,
    ">version": lambda one: one.number,
    ">examples": lambda one: f"{one.example_count:,}",
    ">size": lambda one: size(one.size_bytes),
    "splits": lambda one: one.splits,
    ">classes": lambda one: len(one.classes),
    "created": lambda one: one.created_at,
}
UPLOAD_LINES = {
    "id": lambda one: one.id,
    "file": lambda one: one.file_name,
    "status": lambda one: one.status,
    ">size": lambda one: size(one.size_bytes),
    ">parts": lambda one: one.part_count,
    ">files": lambda one: f"{one.file_count:,}",
    "reason": lambda one: one.status_reason,
}


@app.command("list")
def list_datasets(context: typer.Context, project: ProjectFilter = None, limit: LimitOption = 100) -> None:
    """List datasets."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        project_id = lookup.project(client, project).id if project else None
        show_list(session, islice(client.datasets.list(project_id), limit), LINES)


@app.command()
def create(
    context: typer.Context,
    name: str,
    project: ProjectOption,
    kind: Annotated[str, typer.Option(help="image, tabular or text")] = "image",
    description: Annotated[str, typer.Option(help="where it comes from")] = "",
    target: Annotated[str | None, typer.Option(help="of a table: the column to be predicted")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TYPE", help="of a table: integer, number, boolean, time or text; else it is found"),
    ] = None,
) -> None:
    """Create an empty dataset."""
    from modelyard import lookup

    session = session_of(context)
    types = pairs(column, "--column")
    with session.client() as client:
        found = lookup.project(client, project)
        made = client.datasets.create(
            found.id, name, kind=kind, description=description, target_column=target, column_types=types
        )
        show_one(session, made, LINES)


@app.command()
def show(context: typer.Context, dataset: DatasetArgument) -> None:
    """Show one dataset."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        show_one(session, lookup.dataset(client, dataset), LINES)


@app.command()
def upload(
    context: typer.Context,
    dataset: DatasetArgument,
    file: Annotated[
        Path, typer.Argument(help="images: a ZIP of label/name.png; a table: CSV; texts: JSON Lines, CSV, a ZIP")
    ],
    label: Annotated[str | None, typer.Option(help="the file is one image or text of this label")] = None,
    part_mib: Annotated[float, typer.Option(min=0.001, help="size of a part in MiB")] = 8.0,
    resume: Annotated[bool, typer.Option(help="go on with an upload of the same file that was left open")] = True,
) -> None:
    """Upload in parts. Run it again after a broken connection: it goes on where it was."""
    from modelyard import lookup
    from modelyard.errors import ConnectionFailed

    session = session_of(context)
    with session.client() as client:
        found = lookup.dataset(client, dataset)
        try:
            with bytes_bar(file.name) as told:
                done: Upload = client.datasets.upload(
                    found.id, file, label=label, part_size_bytes=int(part_mib * MIB), resume=resume, told=told
                )
        except (ConnectionFailed, KeyboardInterrupt):
            news("what has arrived is kept: run the same command again to go on")
            raise
        show_one(session, done, {heading.lstrip(">"): value for heading, value in UPLOAD_LINES.items()})


@app.command()
def uploads(context: typer.Context, dataset: DatasetArgument, limit: LimitOption = 100) -> None:
    """List the uploads of a dataset."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        found = lookup.dataset(client, dataset)
        show_list(session, islice(client.datasets.uploads(found.id), limit), UPLOAD_LINES)


@app.command()
def freeze(
    context: typer.Context,
    dataset: DatasetArgument,
    split: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SIZE", help="train, validation, test: counts, or fractions that sum to 1"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the split")] = 0,
    stratify: Annotated[bool, typer.Option(help="the same mix of labels in every split")] = True,
) -> None:
    """Freeze the files into an immutable version (by default 80 % train, 10 % validation, 10 % test)."""
    from modelyard import lookup

    session = session_of(context)
    sizes = numbers(split or ["train=0.8", "validation=0.1", "test=0.1"], "--split")
    with session.client() as client:
        found = lookup.dataset(client, dataset)
        version = client.datasets.freeze(found.id, splits=sizes, seed=seed, stratify=stratify)
        show_one(session, version, {heading.lstrip(">"): value for heading, value in VERSION_LINES.items()})
        news(f"this version is '{found.name}:{version.number}'")


@app.command()
def versions(context: typer.Context, dataset: DatasetArgument, limit: LimitOption = 100) -> None:
    """List the versions of a dataset."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        found = lookup.dataset(client, dataset)
        show_list(session, islice(client.datasets.versions(found.id), limit), VERSION_LINES)

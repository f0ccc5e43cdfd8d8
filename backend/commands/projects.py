"""`modelyard projects`: workspaces."""

from itertools import islice
from typing import Annotated

import typer

from backend.commands.output import news, show_list, show_one
from backend.commands.parameters import LimitOption, TagsOption, pairs
from backend.commands.session import session_of

app = typer.Typer(no_args_is_help=True, help="Workspaces; everything else belongs to one.")

LINES = {
    "id": lambda one: one.id,
    "name": lambda one: one.name,
    "description": lambda one: one.description,
    "tags": lambda one: one.tags,
    "created": lambda one: one.created_at,
}


@app.command("list")
def list_projects(context: typer.Context, limit: LimitOption = 100) -> None:
    """List projects."""
    session = session_of(context)
    with session.client() as client:
        show_list(session, islice(client.projects.list(), limit), LINES)


@app.command()
def create(
    context: typer.Context,
    name: str,
    description: Annotated[str, typer.Option(help="what it is for")] = "",
    tag: TagsOption = None,
) -> None:
    """Create a project."""
    session, tags = session_of(context), pairs(tag, "--tag")
    with session.client() as client:
        show_one(session, client.projects.create(name, description=description, tags=tags), LINES)


@app.command()
def show(context: typer.Context, project: Annotated[str, typer.Argument(help="id or name")]) -> None:
    """Show one project."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        show_one(session, lookup.project(client, project), LINES)


@app.command()
def delete(context: typer.Context, project: Annotated[str, typer.Argument(help="id or name")]) -> None:
    """Delete an empty project."""
    from modelyard import lookup

    with session_of(context).client() as client:
        found = lookup.project(client, project)
        client.projects.delete(found.id)
        news(f"project '{found.name}' is deleted")

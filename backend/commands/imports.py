"""`modelyard datasets preview | import | imports | cancel-import`: look at data, have it fetched."""

import os
import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.commands.datasets import DatasetArgument, app
from backend.commands.output import news, show_list, show_one, size, standing
from backend.commands.parameters import LimitOption
from backend.commands.session import session_of
from backend.commands.waiting import bytes_bar

if TYPE_CHECKING:
    from modelyard.client import Client
    from modelyard.types import DatasetImport

__all__ = ["app"]  # of `datasets`: these are commands of it too

POLL_SECONDS = 0.5
SHOWN_CHARACTERS = 60

IMPORT_LINES = {
    "id": lambda one: one.id,
    "source": lambda one: one.source,
    "status": lambda one: one.status,
    ">received": lambda one: size(one.received_bytes),
    ">of": lambda one: size(one.size_bytes) if one.size_bytes is not None else "",
    "reason": lambda one: one.status_reason,
}
COLUMN_LINES = {
    "column": lambda one: one["name"],
    "type": lambda one: one["type"],
    ">values": lambda one: f"{one['count']:,}",
    ">missing": lambda one: f"{one['missing']:,}",
    ">distinct": lambda one: f"{one['distinct']:,}" if one["distinct"] is not None else f"> {one['distinct_over']:,}",
    ">min": lambda one: _short(one["minimum"]),
    ">max": lambda one: _short(one["maximum"]),
    ">mean": lambda one: "" if one["mean"] is None else f"{one['mean']:.6g}",
    ">std": lambda one: "" if one["std"] is None else f"{one['std']:.6g}",
}
LABEL_LINES = {
    "label": lambda one: one["label"] if one["label"] is not None else "(none)",
    ">examples": lambda one: f"{one['count']:,}",
    "first": lambda one: _short(_first(one["samples"])),
}


def _short(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _first(samples: list[Any]) -> object:
    first = samples[0] if samples else ""
    return first["path"] if isinstance(first, dict) else first


@app.command()
def preview(
    context: typer.Context,
    dataset: DatasetArgument,
    version: Annotated[int | None, typer.Option(min=1, help="of this version; else of what it holds now")] = None,
) -> None:
    """Show what a dataset holds: columns with their statistics, or labels with samples."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        found = lookup.dataset(client, dataset)
        if version is None:
            seen = client.datasets.preview(found.id)
        else:
            seen = client.datasets.preview_version(lookup.dataset_version(client, f"{found.name}:{version}").id)
        if session.output == "json":
            show_one(session, seen, {})
        elif seen["kind"] == "tabular":
            show_list(session, seen["columns"], COLUMN_LINES)
        else:
            show_list(session, seen["labels"], LABEL_LINES)


@app.command("import")
def start_import(
    context: typer.Context,
    dataset: DatasetArgument,
    source: Annotated[str, typer.Argument(help="https://… or s3://bucket/key")],
    name: Annotated[
        str | None, typer.Option(help="file name, where the address ends in none that says the format")
    ] = None,
    label: Annotated[str | None, typer.Option(help="the file is one image or text of this label")] = None,
    endpoint: Annotated[str | None, typer.Option(help="address of an S3 store that is not AWS's")] = None,
    region: Annotated[str | None, typer.Option(help="of the S3 bucket")] = None,
    wait: Annotated[bool, typer.Option(help="wait for its end")] = True,
) -> None:
    """Have the platform fetch a file. S3 credentials come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    AWS_SESSION_TOKEN, a header for https from MODELYARD_IMPORT_AUTHORIZATION.
    """
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        found = lookup.dataset(client, dataset)
        row = client.datasets.start_import(
            found.id,
            source,
            file_name=name,
            label=label,
            endpoint_url=endpoint,
            region=region,
            credentials=_credentials(source),
        )
        if wait:
            row = _wait(client, row)
        show_one(session, row, {heading.lstrip(">"): value for heading, value in IMPORT_LINES.items()})
        for error in row.errors:
            news(f"{error['path']}: {error['message']}")
    if row.status == "failed":
        raise typer.Exit(1)


def _credentials(source: str) -> dict[str, str] | None:
    names = {
        "access_key_id": "AWS_ACCESS_KEY_ID",
        "secret_access_key": "AWS_SECRET_ACCESS_KEY",
        "session_token": "AWS_SESSION_TOKEN",
    }
    if not source.startswith("s3://"):
        names = {"authorization": "MODELYARD_IMPORT_AUTHORIZATION"}
    return {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)} or None


def _wait(client: "Client", row: "DatasetImport") -> "DatasetImport":
    said = ""
    try:
        with bytes_bar(row.file_name) as told:
            while not row.ended:
                time.sleep(POLL_SECONDS)
                row = client.datasets.get_import(row.id)
                if row.size_bytes:
                    told(row.received_bytes, row.size_bytes)
                if row.status_reason != said:
                    said = row.status_reason
                    news(f"{row.file_name}: {standing(row.status, said)}")
    except KeyboardInterrupt:
        news(f"no longer waiting; the import goes on (`modelyard datasets cancel-import {row.id}` ends it)")
        raise
    return row


@app.command()
def imports(context: typer.Context, dataset: DatasetArgument, limit: LimitOption = 100) -> None:
    """List the imports of a dataset."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        found = lookup.dataset(client, dataset)
        show_list(session, islice(client.datasets.imports(found.id), limit), IMPORT_LINES)


@app.command("cancel-import")
def cancel_import(context: typer.Context, import_id: str) -> None:
    """End an import; what has arrived of it is removed."""
    session = session_of(context)
    with session.client() as client:
        row = client.datasets.cancel_import(import_id)
        show_one(session, row, {heading.lstrip(">"): value for heading, value in IMPORT_LINES.items()})

"""`modelyard costs`: what was consumed, and what it costs; amounts are exact."""

from itertools import islice
from typing import Annotated, Any

import typer

from backend.commands.output import decimal, make_console, money, show_list, write_json
from backend.commands.parameters import LimitOption, ProjectFilter
from backend.commands.session import session_of

app = typer.Typer(no_args_is_help=True, help="Charges, sums and prices.")

CHARGE_COLUMNS = {
    "from": lambda one: one.from_at,
    "to": lambda one: one.to_at,
    "resource": lambda one: "/".join(filter(None, (one.resource_kind, one.resource_name, one.variant))),
    "sku": lambda one: one.sku,
    ">quantity": lambda one: one.quantity,
    "unit": lambda one: one.unit,
    ">unit price": lambda one: money(one.unit_price),
    ">amount": lambda one: money(one.amount),
}
RESOURCE_COLUMNS = {
    "resource": lambda one: f"{one['resource_kind']}/{one['resource_name']}",
    ">amount": lambda one: money(one["amount"]),
}
SKU_COLUMNS = {
    "sku": lambda one: one["sku"],
    ">quantity": lambda one: decimal(one["quantity"]),
    "unit": lambda one: one["unit"],
    ">amount": lambda one: money(one["amount"]),
}
PRICE_COLUMNS = {
    "sku": lambda one: one["sku"],
    ">price": lambda one: money(one["amount"]),
    "per": lambda one: one["unit"],
    "since": lambda one: one["effective_from"],
    "until": lambda one: one["effective_to"],
    "description": lambda one: one["description"],
}


@app.command()
def summary(context: typer.Context, project: ProjectFilter = None) -> None:
    """Show this month's charges by resource and SKU."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        project_id = lookup.project(client, project).id if project else None
        found = client.costs.summary(project_id=project_id)
    if session.output == "json":
        write_json(found)
        return
    show_list(session, found["by_resource"], RESOURCE_COLUMNS)
    show_list(session, found["by_sku"], SKU_COLUMNS)
    console = make_console()
    console.print(f"total since {found['from_at'][:10]}: {money(found['total'])}", style="bold")
    for waiting in found["unrated"]:
        console.print(_unrated(waiting))


def _unrated(waiting: dict[str, Any]) -> str:
    why = "soon" if waiting["has_price"] else "once it has a price"
    return f"not charged yet: {decimal(waiting['quantity'])} of {waiting['sku']} (charged {why})"


@app.command()
def charges(
    context: typer.Context,
    project: ProjectFilter = None,
    job: Annotated[str | None, typer.Option(help="only of this job: id or name")] = None,
    endpoint: Annotated[str | None, typer.Option(help="only of this endpoint: id or name")] = None,
    limit: LimitOption = 100,
) -> None:
    """List charges, newest first."""
    from modelyard import lookup

    if job and endpoint:
        raise typer.BadParameter("give --job or --endpoint, not both")
    session = session_of(context)
    with session.client() as client:
        project_id = lookup.project(client, project).id if project else None
        resource_id = lookup.job(client, job).id if job else None
        if endpoint:
            resource_id = lookup.endpoint(client, endpoint).id
        found = client.costs.charges(project_id=project_id, resource_id=resource_id)
        show_list(session, islice(found, limit), CHARGE_COLUMNS)


@app.command()
def prices(context: typer.Context) -> None:
    """List prices."""
    session = session_of(context)
    with session.client() as client:
        show_list(session, client.costs.prices(), PRICE_COLUMNS)

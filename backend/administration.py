"""`modelyard admin …`: what operators do on the machine itself, as the database role *controller*.

Who may run it is whoever may read the home's secrets (or has MODELYARD_DATABASE__CONTROLLER_URL): no request can make
an operator. Prices and limits are set in the console and over the API as well, by operators with a session.
"""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from backend.admin.schemas import LimitsChange

app = typer.Typer(no_args_is_help=True, help="Run the platform: operators, prices, limits.")
operators = typer.Typer(no_args_is_help=True, help="Who may see the admin console.")
app.add_typer(operators, name="operators")

HomeOption = Annotated[Path | None, typer.Option(help="where the platform lasts (MODELYARD_HOME)")]
EmailArgument = Annotated[str, typer.Argument(help="the e-mail address of an account that exists")]


@operators.command("add")
def add_operator(context: typer.Context, email: EmailArgument, home: HomeOption = None) -> None:
    """Let this person see the admin console."""
    from backend.identity import operators as service

    with _as_controller(context, home) as session:
        made = service.grant(session, email, by=_who())
    typer.echo(f"{email} is {'now' if made else 'already'} an operator: /admin in the dashboard")


@operators.command("remove")
def remove_operator(context: typer.Context, email: EmailArgument, home: HomeOption = None) -> None:
    """Take it from this person, from the next request on."""
    from backend.identity import operators as service

    with _as_controller(context, home) as session:
        gone = service.revoke(session, email, by=_who())
    typer.echo(f"{email} is {'no operator any more' if gone else 'no operator'}")


@operators.command("list")
def list_operators(context: typer.Context, home: HomeOption = None) -> None:
    """Show who may see the admin console."""
    from backend.commands.output import Columns, show_list
    from backend.commands.session import session_of
    from backend.identity import operators as service

    with _as_controller(context, home) as session:
        rows = [
            {"email": row[1], "granted_by": row[2], "granted_at": row[3].isoformat()}
            for row in service.list_operators(session)
        ]
    columns: Columns[dict[str, str]] = {
        "e-mail": lambda one: one["email"],
        "granted by": lambda one: one["granted_by"],
        "since": lambda one: one["granted_at"],
    }
    show_list(session_of(context), rows, columns)


@app.command("set-price")
def set_price(
    context: typer.Context,
    sku: Annotated[str, typer.Argument(help="instance:<type>:<market>, per second; anything else is per call")],
    amount: Annotated[str, typer.Argument(help="US dollars per unit, up to nine decimals")],
    starts: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"], help="in UTC; default: now"),
    ] = None,
    description: Annotated[str | None, typer.Option(help="what people read on the price list")] = None,
    home: HomeOption = None,
) -> None:
    """Add a version of a price; the one before ends where it begins. What is charged already stays."""
    from decimal import Decimal, InvalidOperation

    from backend.billing.service import set_price as change
    from backend.core.clock import database_now

    try:
        price = Decimal(amount)
    except InvalidOperation:
        raise typer.BadParameter("write a number, such as 0.000027778", param_hint="AMOUNT") from None
    with _as_controller(context, home) as session:
        at = starts.replace(tzinfo=UTC) if starts else database_now(session)
        made = change(session, sku, price, at, description=description, by=_who())
        said = f"{sku}: ${made.amount:f} per {made.unit} from {made.effective_from.isoformat()}"
    typer.echo(said)


@app.command("limits")
def limits(
    context: typer.Context,
    organization: Annotated[str, typer.Argument(help="an organization's 12-digit account, or its id")],
    *,
    rate: Annotated[
        str | None, typer.Option(help="requests per minute and credential; 0 = any number, `usual` = the platform's")
    ] = None,
    quota: Annotated[
        list[str] | None, typer.Option(help="TYPE=COUNT instances at once, `*` = all types; TYPE= removes it")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Show what bounds an organization, or set its request rate and quotas."""
    from backend.admin import service
    from backend.commands.output import write_json
    from backend.commands.session import session_of
    from backend.core.db import act_as

    change = _limits_change(rate, quota or [])
    with _as_controller(context, home) as session:
        organization_id = service.find_organization(session, organization)
        act_as(session, organization_id)
        found = service.change_limits(session, _who(), organization_id, change)
    if session_of(context).output == "json":
        write_json(found.model_dump(mode="json"))
        return
    usual = "the platform's usual number of" if found.requests_per_minute is None else str(found.requests_per_minute)
    typer.echo(f"each credential: {'any number of' if found.requests_per_minute == 0 else usual} requests per minute")
    for name, most in found.quotas.items():
        typer.echo(f"{'all instance types together' if name == '*' else name}: {most} at once")
    if not found.quotas:
        typer.echo("no quota on instances")


def _limits_change(rate: str | None, quotas: list[str]) -> "LimitsChange":
    """What the options say. Raises BadParameter."""
    from pydantic import ValidationError

    from backend.admin.schemas import LimitsChange

    given: dict[str, object] = {}
    if rate is not None:
        given["requests_per_minute"] = None if rate == "usual" else rate
    pairs = [one.partition("=") for one in quotas]
    if any(not name or not equals for name, equals, _ in pairs):
        raise typer.BadParameter("write TYPE=COUNT, such as local.cpu=4", param_hint="--quota")
    given["quotas"] = {name: count or None for name, _, count in pairs}
    try:
        return LimitsChange.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        named = "--rate" if first["loc"][0] == "requests_per_minute" else "--quota"
        raise typer.BadParameter(first["msg"], param_hint=named) from None


@contextmanager
def _as_controller(context: typer.Context, home: Path | None) -> "Iterator[Session]":
    """One transaction as *controller*; what stops the act becomes a sentence and status 1."""
    from sqlalchemy.exc import OperationalError

    from backend.commands.output import tell_error
    from backend.commands.session import session_of
    from backend.core.db import Database, make_engine
    from backend.core.errors import DomainError, InternalFact

    output = session_of(context).output
    database = Database(make_engine(_controller_url(home), pool_size=1, name="modelyard-admin"))
    try:
        with database.unit_of_work() as session:
            yield session
    except (DomainError, InternalFact) as fact:
        tell_error(fact.detail, output=output, hint=fact.hint if isinstance(fact, DomainError) else None)
        raise typer.Exit(1) from None
    except OperationalError:
        tell_error("the database does not answer", output=output, hint="`modelyard up` starts the platform")
        raise typer.Exit(1) from None
    finally:
        database.dispose()


def _controller_url(home: Path | None) -> str:
    """What the environment says, else the database of this machine's home."""
    from urllib.parse import quote

    from backend.core.settings import Settings
    from backend.platform.folders import runtime_folder
    from backend.platform.secretsfile import home_secrets

    settings = Settings() if home is None else Settings(home=home)
    if home is None and settings.database.controller_url is not None:
        return settings.database.controller_url.get_secret_value()
    place = settings.home.absolute()
    if not (place / "secrets.json").exists():
        raise typer.BadParameter(f"no platform has its home in {place}", param_hint="--home")
    password = quote(home_secrets(place).controller_password)
    host = quote(str(runtime_folder(place) / "postgres"), safe="")
    return f"postgresql+psycopg://modelyard_controller:{password}@/modelyard?host={host}&port=5432"


def _who() -> str:
    """How the audit names whoever sits at this machine."""
    return f"host:{getpass.getuser()}"

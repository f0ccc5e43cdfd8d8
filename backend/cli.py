"""The `modelyard` command: starts processes, and is a client of the public API.

Processes: up, demo, status, backup, restore, admin, migrate, api, worker, beat, gateway, grpc, localhost, agent. Each
service
runs as `python -m`, so that the supervisor, compose and a person start the same thing. Resources: `backend.commands`.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from backend import administration
from backend.commands import costs, endpoints, imports, jobs, models, projects, starting
from backend.commands.root import Root
from backend.commands.session import Output, Session

if TYPE_CHECKING:
    from backend.core.settings import Settings
    from backend.platform.home import RunState

app = typer.Typer(
    cls=Root, no_args_is_help=True, pretty_exceptions_enable=False, help="The AI cloud that teams run themselves."
)

PLATFORM, SERVICES = "The platform on this machine", "One service of it"
HomeOption = Annotated[Path | None, typer.Option(help="where everything lasts (MODELYARD_HOME)")]
ApiPortOption = Annotated[int | None, typer.Option(min=1, max=65535, help="port of API and dashboard")]
GatewayPortOption = Annotated[int | None, typer.Option(min=1, max=65535, help="port of inference")]
GrpcPortOption = Annotated[int | None, typer.Option(min=1, max=65535, help="port of inference over gRPC")]


@app.callback()
def options(
    context: typer.Context,
    output: Annotated[Output, typer.Option("--output", "-o", help="how results are printed")] = "table",
    api_url: Annotated[str | None, typer.Option(envvar="MODELYARD_API_URL", help="which platform")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="MODELYARD_API_KEY", help="who you are")] = None,
    gateway_url: Annotated[
        str | None, typer.Option(envvar="MODELYARD_GATEWAY_URL", help="where its endpoints answer")
    ] = None,
) -> None:
    """The AI cloud that teams run themselves.

    Without options, commands speak with the platform of this machine's MODELYARD_HOME, as its owner.
    """
    context.obj = Session(output, api_url, api_key, gateway_url)


@app.command(rich_help_panel=PLATFORM)
def up(
    home: HomeOption = None,
    api_port: ApiPortOption = None,
    gateway_port: GatewayPortOption = None,
    grpc_port: GrpcPortOption = None,
) -> None:
    """Run the whole platform on this machine until Ctrl-C."""
    from backend.platform.up import say
    from backend.platform.up import up as run

    settings = _settings(home)

    def on_ready(state: "RunState") -> None:
        addresses = state.addresses
        say(
            f"ready: dashboard and API at {addresses['api']}, inference at {addresses['gateway']}, "
            f"over gRPC at {addresses['grpc']}"
        )
        say(f"the owner's password and API key: {settings.home.resolve() / 'owner.json'}; Ctrl-C stops everything")

    raise typer.Exit(run(settings, ports=_ports(api_port, gateway_port, grpc_port), on_ready=on_ready))


@app.command(rich_help_panel=PLATFORM)
def demo(
    home: HomeOption = None,
    exit_after: Annotated[bool, typer.Option("--exit", help="stop after the summary")] = False,
    report: Annotated[Path, typer.Option(help="where the report is written")] = Path("demo-report.json"),
    api_port: ApiPortOption = None,
    gateway_port: GatewayPortOption = None,
    grpc_port: GrpcPortOption = None,
) -> None:
    """Start the platform and run the whole job on real handwritten digits: train, compress, serve, bill."""
    from backend.commands.output import make_console
    from backend.platform.up import up as run
    from modelyard.demo import run_demo
    from modelyard.errors import ModelyardError

    settings = _settings(home)
    console = make_console()

    def on_ready(state: "RunState") -> int | None:
        where = settings.home / "owner.json"
        console.print(f"dashboard: {state.addresses['api']}   log in with email and password of {where}", markup=False)
        try:
            status = run_demo(settings.home, report, console)
        except ModelyardError as error:
            console.print(f"✗ {error}", style="bold red", markup=False)
            status = 1
        if exit_after or status != 0:
            return status
        console.print("The platform keeps running; Ctrl-C stops it.")
        return None

    raise typer.Exit(run(settings, ports=_ports(api_port, gateway_port, grpc_port), on_ready=on_ready))


@app.command(rich_help_panel=PLATFORM)
def status(context: typer.Context, home: HomeOption = None) -> None:
    """Show what runs on this machine's home; exit 1 when nothing does."""
    from backend.commands.output import show_list, tell_error, write_json
    from backend.commands.session import session_of
    from backend.platform.home import read_run_state

    session = session_of(context)
    place = home or session.home
    state = read_run_state(place)
    if state is None:
        tell_error(f"nothing runs on {place}", output=session.output, hint="`modelyard up` starts the platform")
        raise typer.Exit(1)
    if session.output == "json":
        write_json(state)
        return
    typer.echo(f"{state.home}: {'ready' if state.ready else 'starting'}, process {state.pid} (SIGTERM ends it)")
    for name, address in state.addresses.items():
        typer.echo(f"{name}: {address}")
    columns = {
        "service": lambda one: one[0],
        "state": lambda one: one[1].state,
        ">process": lambda one: one[1].pid,
        ">restarts": lambda one: one[1].restarts,
    }
    show_list(session, state.children.items(), columns)


@app.command(rich_help_panel=PLATFORM)
def backup(
    context: typer.Context,
    target: Annotated[Path, typer.Argument(help="a folder that does not exist yet")],
    home: HomeOption = None,
) -> None:
    """Back up this machine's home, running or not: database, objects and secrets. Keep it as you keep the secrets."""
    from backend.commands.output import tell_error, write_json
    from backend.commands.session import session_of
    from backend.platform.backup import back_up
    from backend.platform.errors import PlatformError
    from backend.platform.up import say

    output = session_of(context).output
    try:
        taken = back_up(_settings(home), target, say=say)
    except PlatformError as error:
        tell_error(str(error), output=output)
        raise typer.Exit(1) from None
    if output == "json":
        write_json(taken)
        return
    typer.echo(f"{taken.target}: {taken.files} files, {taken.bytes / 1e6:.1f} MB")
    typer.echo("It holds the key to all data and every password: whoever can read it can read everything.")


@app.command(rich_help_panel=PLATFORM)
def restore(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="the folder that `modelyard backup` made")],
    home: HomeOption = None,
) -> None:
    """Make a home from a backup, every digest checked. The home must not exist, or be empty."""
    from backend.commands.output import tell_error, write_json
    from backend.commands.session import session_of
    from backend.platform.errors import PlatformError
    from backend.platform.restore import restore as run
    from backend.platform.up import say

    output = session_of(context).output
    try:
        made = run(source, _settings(home).home, say=say)
    except PlatformError as error:
        tell_error(str(error), output=output)
        raise typer.Exit(1) from None
    if output == "json":
        write_json(made)
        return
    typer.echo(f"{made.home}: {made.files} files of {made.created_at}, schema {made.schema}; `modelyard up` starts it")
    if made.objects is not None:
        typer.echo(f"Its objects lie in {made.objects}: set MODELYARD_STORAGE_URL to it.")


@app.command(rich_help_panel=SERVICES)
def migrate() -> None:
    """Create roles and database where missing, upgrade the schema, seed what a first boot needs. One-shot."""
    from backend.core.migrate import load_upgrades
    from backend.core.migrate import migrate as run
    from backend.platform.gate import wait_for_start
    from backend.seed import OWNER_FILE, seed

    settings = _settings(None)
    if not (settings.home / OWNER_FILE).exists():
        load_upgrades()  # a first boot: the server takes a second until it is made
    wait_for_start()
    revision = run(settings)
    seeded = seed(settings)
    typer.echo(f"schema {revision}; {seeded}")


@app.command(rich_help_panel=SERVICES)
def api() -> None:
    """Run the API and the dashboard."""
    import uvicorn

    from backend.app import build
    from backend.platform.gate import wait_for_start

    settings = _settings(None)
    wait_for_start()
    uvicorn.run(
        build,
        factory=True,
        host=settings.api.host,
        port=settings.api.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        # uvicorn would believe any client on this host who it is for (X-Forwarded-For): log-ins are counted by address.
        proxy_headers="FORWARDED_ALLOW_IPS" in os.environ,
        timeout_graceful_shutdown=5,
    )


@app.command(rich_help_panel=SERVICES)
def worker() -> None:
    """Run the control worker: Celery's queue `control`, and the tick."""
    from backend.core.log import configure_logging

    settings = _settings(None)
    configure_logging(settings.log_level, as_json=settings.environment == "production")
    from backend.platform.gate import wait_for_start
    from worker.app import app as celery

    wait_for_start()
    celery.worker_main(
        ["worker", "-Q", "control", "--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING",
         "--without-gossip", "--without-mingle", "--without-heartbeat", "-n", "control@%h"]
    )  # fmt: skip


@app.command(rich_help_panel=SERVICES)
def beat(
    schedule: Annotated[Path | None, typer.Option(help="where it keeps its times (default: in the home)")] = None,
) -> None:
    """Run Celery beat, which rings the control worker's doorbells by the clock."""
    place = schedule or _settings(None).home.resolve() / "beat-schedule"
    _become("celery", ["--quiet", "-A", "worker.beat", "beat", "--schedule", str(place), "--pidfile="])


@app.command(rich_help_panel=SERVICES)
def gateway(
    token_file: Annotated[
        Path | None, typer.Option(help="its bearer token (default: gateway.token in the home)")
    ] = None,
) -> None:
    """Run the gateway, which owns the port of inference."""
    settings = _settings(None)
    _become_gateway("worker.serving.gateway", settings, token_file, settings.gateway.arguments())


@app.command(rich_help_panel=SERVICES)
def grpc(
    token_file: Annotated[
        Path | None, typer.Option(help="the gateways' bearer token (default: gateway.token in the home)")
    ] = None,
) -> None:
    """Run the gRPC gateway, which owns the port of inference over gRPC."""
    settings = _settings(None)
    _become_gateway("worker.serving.grpcgateway", settings, token_file, settings.gateway.grpc_arguments())


def _become_gateway(module: str, settings: "Settings", token_file: Path | None, options: Sequence[str]) -> NoReturn:
    home = settings.home.resolve()
    arguments = {
        "--home": home,
        "--api": settings.api.url,
        "--token-file": token_file or home / "gateway.token",
    }
    words = [str(word) for pair in arguments.items() for word in pair]
    _become(module, [*words, *options])


@app.command(rich_help_panel=SERVICES)
def localhost(
    socket: Annotated[Path | None, typer.Option(help="where it listens (MODELYARD_LOCALHOST_SOCKET)")] = None,
) -> None:
    """Run the local provider: instances that are processes of this host."""
    settings = _settings(None)
    place = socket or settings.localhost_socket
    if place is None:
        raise typer.BadParameter("where shall it listen?", param_hint="--socket or MODELYARD_LOCALHOST_SOCKET")
    _become("worker.localhost", ["--home", str(settings.home.resolve()), "--socket", str(place)])


@app.command(rich_help_panel=SERVICES)
def agent(folder: Annotated[Path, typer.Option(help="where assignments, cache and spool lie")]) -> None:
    """Run an instance's agent (needs MODELYARD_API_URL and MODELYARD_INSTANCE_TOKEN)."""
    _become("worker.agent", ["--folder", str(folder)])


def _become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Turn this process into `python -m module`: same pid, so signals go where they should."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell is wanted


def _settings(home: Path | None) -> "Settings":
    from pydantic import ValidationError

    from backend.commands.output import tell_error
    from backend.core.settings import Settings

    try:
        return Settings() if home is None else Settings(home=home)
    except ValidationError as error:
        for wrong in error.errors(include_input=False, include_url=False):
            name = "MODELYARD_" + "__".join(str(part) for part in wrong["loc"]).upper()
            tell_error(f"{name}: {wrong['msg']}", output="table")
        raise typer.Exit(2) from None


def _ports(api_port: int | None, gateway_port: int | None, grpc_port: int | None) -> dict[str, int]:
    given = {"api": api_port, "gateway": gateway_port, "grpc": grpc_port}
    return {name: port for name, port in given.items() if port is not None}


for _name, _resource in (
    ("projects", projects.app),
    ("datasets", imports.app),
    ("training-jobs", starting.training),
    ("compression-jobs", starting.compression),
    ("sleep-jobs", starting.sleeping),
    ("jobs", jobs.app),
    ("models", models.app),
    ("endpoints", endpoints.app),
    ("costs", costs.app),
):
    app.add_typer(_resource, name=_name, rich_help_panel="Resources")
app.add_typer(administration.app, name="admin", rich_help_panel=PLATFORM)
app.command("train", rich_help_panel="Resources", help="Short for `training-jobs create`.")(starting.train)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="modelyard")


if __name__ == "__main__":
    main()

"""The `modelyard` command: starts processes, and is a client of the public API.

Processes: up, migrate, api, worker, gateway, agent. Each service runs as `python -m`, so that the supervisor, compose
and a person start the same thing.
"""

from pathlib import Path
from typing import Annotated

import typer

from backend.core.log import configure_logging
from backend.core.settings import Settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="The AI cloud you run yourself.")


@app.command()
def up(
    home: Annotated[Path | None, typer.Option(help="where everything lasts (MODELYARD_HOME)")] = None,
    api_port: Annotated[int | None, typer.Option(min=1, max=65535, help="port of API and dashboard")] = None,
    gateway_port: Annotated[int | None, typer.Option(min=1, max=65535, help="port of inference")] = None,
) -> None:
    """Run the whole platform on this machine until Ctrl-C."""
    from backend.platform.up import up as run  # noqa: PLC0415 - the servers' wheels are not in every install

    settings = Settings() if home is None else Settings(home=home)
    ports = {name: port for name, port in (("api", api_port), ("gateway", gateway_port)) if port is not None}
    raise typer.Exit(run(settings, ports=ports))


@app.command()
def demo(
    home: Annotated[Path | None, typer.Option(help="where everything lasts (MODELYARD_HOME)")] = None,
    exit_after: Annotated[bool, typer.Option("--exit", help="stop after the summary")] = False,  # noqa: FBT002 - a flag
    report: Annotated[Path, typer.Option(help="where the report is written")] = Path("demo-report.json"),
    api_port: Annotated[int | None, typer.Option(min=1, max=65535, help="port of API and dashboard")] = None,
    gateway_port: Annotated[int | None, typer.Option(min=1, max=65535, help="port of inference")] = None,
) -> None:
    """Start the platform and run the whole job on real handwritten digits: train, compress, serve, bill."""
    from rich.console import Console  # noqa: PLC0415 - each command imports its own world

    from backend.platform.home import RunState  # noqa: PLC0415 - as above
    from backend.platform.up import up as run  # noqa: PLC0415 - as above
    from modelyard.demo import run_demo  # noqa: PLC0415 - as above
    from modelyard.errors import ModelyardError  # noqa: PLC0415 - as above

    settings = Settings() if home is None else Settings(home=home)
    ports = {name: port for name, port in (("api", api_port), ("gateway", gateway_port)) if port is not None}
    console = Console(stderr=False)

    def on_ready(_state: RunState) -> int | None:
        try:
            status = run_demo(settings.home, report, console)
        except ModelyardError as error:
            console.print(f"[bold red]✗ {error}[/bold red]")
            status = 1
        if exit_after or status != 0:
            return status
        console.print("The platform keeps running; Ctrl-C stops it.")
        return None

    raise typer.Exit(run(settings, ports=ports, on_ready=on_ready))


@app.command()
def migrate() -> None:
    """Create roles and database where missing, upgrade the schema, seed what a first boot needs. One-shot."""
    from backend.core.migrate import migrate as run  # noqa: PLC0415 - each command imports its own world
    from backend.seed import seed  # noqa: PLC0415 - as above

    settings = Settings()
    revision = run(settings)
    seeded = seed(settings)
    typer.echo(f"schema {revision}; {seeded}")


@app.command()
def api() -> None:
    """Run the API and the dashboard."""
    import uvicorn  # noqa: PLC0415 - each command imports its own world

    settings = Settings()
    uvicorn.run(
        "backend.app:build",
        factory=True,
        host=settings.api.host,
        port=settings.api.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


@app.command()
def worker() -> None:
    """Run the control worker: Celery's queue `control`, and the tick."""
    settings = Settings()
    configure_logging(settings.log_level, as_json=settings.environment == "production")
    from worker.app import app as celery  # noqa: PLC0415 - imports every control

    celery.worker_main(
        ["worker", "-Q", "control", "--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING",
         "--without-gossip", "--without-mingle", "--without-heartbeat", "-n", "control@%h"]
    )  # fmt: skip


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="modelyard")


if __name__ == "__main__":
    main()

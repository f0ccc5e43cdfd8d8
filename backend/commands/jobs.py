"""`modelyard jobs`: whatever runs until it ends."""

import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.commands.output import duration, news, seconds, shortened, show_list, show_one, size, standing, write_json
from backend.commands.parameters import LimitOption, ProjectFilter, WaitOption
from backend.commands.session import session_of
from backend.commands.waiting import wait_for_job

if TYPE_CHECKING:
    from modelyard.types import Job, LogLine, Utilisation

app = typer.Typer(no_args_is_help=True, help="Jobs of every kind: training, compression, …")

JobArgument = Annotated[str, typer.Argument(help="id or name")]


def _progress(job: "Job") -> str:
    if job.progress is None:
        return ""
    total = f" of {job.progress.total_steps:,}" if job.progress.total_steps else ""
    return f"{job.progress.step:,}{total}"


def _failure(key: str) -> Any:  # noqa: ANN401 - a value of JSON, as a function of a job or attempt
    return lambda one: (one.failure or {}).get(key)


def _plain(report: dict[str, Any]) -> dict[str, Any]:
    """What a person looks for in a report: figures before and after, and the verdict."""
    return {key: report[key] for key in ("method", "accuracy", "latency_ms", "size_bytes") if key in report}


COLUMNS = {
    "id": lambda one: one.id,
    "name": lambda one: one.name,
    "kind": lambda one: one.kind,
    "status": lambda one: one.status,
    ">step": _progress,
    ">attempts": lambda one: one.attempt_count,
    "created": lambda one: one.created_at,
    ">ran": lambda one: duration(one.started_at, one.ended_at),
}
LINES = {
    "id": lambda one: one.id,
    "name": lambda one: one.name,
    "kind": lambda one: one.kind,
    "status": lambda one: standing(one.status, one.status_reason),
    "phase": lambda one: one.progress.phase if one.progress and not one.ended else None,
    "step": _progress,
    "instance": lambda one: f"{one.instance_type} ({one.market})",
    "attempts": lambda one: f"{one.attempt_count} of at most {one.max_attempts}",
    "created": lambda one: one.created_at,
    "started": lambda one: one.started_at,
    "ended": lambda one: one.ended_at,
    "ran": lambda one: duration(one.started_at, one.ended_at),
    "model version": lambda one: one.output.get("model_version_id"),
    "metrics": lambda one: shortened(one.output.get("metrics", {})),
    "report": lambda one: shortened(_plain(one.output.get("report", {}))),
    "failure class": _failure("failure_class"),
    "failure": _failure("reason"),
    "hint": _failure("hint"),
}
ATTEMPT_COLUMNS = {
    ">number": lambda one: one.number,
    "status": lambda one: one.status,
    "reason": lambda one: one.status_reason,
    "instance": lambda one: one.instance_id,
    ">resumed from": lambda one: one.resumed_from_step,
    "started": lambda one: one.started_at,
    ">ran": lambda one: duration(one.started_at, one.ended_at),
    "failure class": _failure("failure_class"),
}


@app.command("list")
def list_jobs(
    context: typer.Context,
    project: ProjectFilter = None,
    kind: Annotated[str | None, typer.Option(help="training, compression, sleep")] = None,
    status: Annotated[str | None, typer.Option(help="queued, running, completed, failed, …")] = None,
    limit: LimitOption = 50,
) -> None:
    """List jobs, newest first."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        project_id = lookup.project(client, project).id if project else None
        show_list(session, islice(client.jobs.list(project_id=project_id, kind=kind, status=status), limit), COLUMNS)


@app.command()
def show(context: typer.Context, job: JobArgument) -> None:
    """Show one job, with the reason if it failed."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        show_one(session, lookup.job(client, job), LINES)


@app.command()
def stop(context: typer.Context, job: JobArgument, wait: WaitOption = False) -> None:
    """Ask a job to write a checkpoint and end. With --wait exit 0 once it has stopped."""
    from modelyard import lookup
    from modelyard.errors import JobDidNotComplete

    session = session_of(context)
    with session.client() as client:
        found = client.jobs.stop(lookup.job(client, job).id)
        if wait:
            try:
                found = wait_for_job(client, found.id)
            except JobDidNotComplete as error:
                if error.status != "stopped":
                    raise
                found = client.jobs.get(found.id)
        show_one(session, found, LINES)


@app.command()
def wait(context: typer.Context, job: JobArgument) -> None:
    """Wait for the end of a job; one that did not complete exits 1 with its evidence."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        show_one(session, wait_for_job(client, lookup.job(client, job).id), LINES)


@app.command()
def attempts(context: typer.Context, job: JobArgument) -> None:
    """List the tries of a job."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        show_list(session, client.jobs.attempts(lookup.job(client, job).id), ATTEMPT_COLUMNS)


@app.command()
def logs(
    context: typer.Context,
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="until the job has ended")] = False,
    tail: Annotated[bool, typer.Option("--tail", help="only the newest lines")] = False,
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="with attempt and time (UTC)")] = False,
) -> None:
    """Print what a job wrote. With JSON output: one object per line."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        found = lookup.job(client, job)
        lines = client.jobs.tail(found.id) if tail and not follow else client.jobs.logs(found.id, follow=follow)
        for line in lines:
            typer.echo(_json_line(line) if session.output == "json" else _text_line(line, timestamps=timestamps))


def _text_line(line: "LogLine", *, timestamps: bool) -> str:
    # A job's words must not steer the reader's terminal: set its title, clear it, write over other lines.
    text = "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in line.text)
    if not timestamps:
        return text
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(line.time))
    return f"{line.attempt} {moment} {text}"


def _json_line(line: "LogLine") -> str:
    import msgspec

    return msgspec.json.encode(line).decode()


@app.command()
def metrics(
    context: typer.Context,
    job: JobArgument,
    name: Annotated[str | None, typer.Option(help="every point of this series")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="every point as CSV: name, step, value, time")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="every point as JSON lines")] = False,
) -> None:
    """Show each metric's newest value, with --name all points of one, or write every point as a file to stdout."""
    from modelyard import lookup

    session = session_of(context)
    if csv and jsonl:
        raise typer.BadParameter("choose --csv or --jsonl")
    with session.client() as client:
        job_id = lookup.job(client, job).id
        if csv or jsonl:
            for piece in client.jobs.export_metrics(job_id, kind="csv" if csv else "jsonl", name=name):
                sys.stdout.buffer.write(piece)
            return
        found = client.jobs.metrics(job_id)
    if name is not None:
        if name not in found:
            news(f"there is no series '{name}'; there are: {', '.join(sorted(found)) or 'none yet'}")
            raise typer.Exit(1)
        found = {name: found[name]}
    if session.output == "json":
        write_json(found)
    elif name is not None:
        series = found[name]
        show_list(session, zip(series.steps, series.values, strict=True), POINT_COLUMNS)
    else:
        show_list(session, [(key, found[key]) for key in sorted(found) if found[key].steps], SERIES_COLUMNS)


@app.command()
def utilisation(context: typer.Context, job: JobArgument) -> None:
    """Show what each attempt used of its instance: cores, memory, disks, GPUs. With JSON output: every sample too."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        found = client.jobs.utilisation(lookup.job(client, job).id)
    if session.output == "json":
        write_json(found)
    else:
        show_list(session, found, USE_COLUMNS)


def _gpus(one: "Utilisation") -> str:
    said = one.summary
    if said.gpu_share_mean is None or said.gpu_memory_bytes_peak is None:
        return "none"
    held = f"{size(int(said.gpu_memory_bytes_peak))} of {size(one.gpu_memory_limit_bytes)}"
    return f"{said.gpu_share_mean:.0%} busy, {held}"


USE_COLUMNS = {
    ">attempt": lambda one: one.attempt,
    ">measured": lambda one: seconds(one.summary.measured_seconds),
    ">cores on average": lambda one: f"{one.summary.cpu_cores_mean:.2f}",
    ">at most": lambda one: f"{one.summary.cpu_cores_peak:.2f} of {one.cpu_count:g}",
    ">memory at most": lambda one: f"{size(int(one.summary.memory_bytes_peak))} of {size(one.memory_limit_bytes)}",
    ">read": lambda one: size(int(one.summary.read_bytes)),
    ">written": lambda one: size(int(one.summary.written_bytes)),
    "GPU": _gpus,
}
POINT_COLUMNS = {">step": lambda one: f"{one[0]:,}", ">value": lambda one: one[1]}
SERIES_COLUMNS = {
    "name": lambda one: one[0],
    ">points": lambda one: f"{len(one[1].steps):,}",
    ">last step": lambda one: f"{one[1].steps[-1]:,}",
    ">last value": lambda one: one[1].values[-1],
    ">lowest": lambda one: min((value for value in one[1].values if value is not None), default=None),
    ">highest": lambda one: max((value for value in one[1].values if value is not None), default=None),
}

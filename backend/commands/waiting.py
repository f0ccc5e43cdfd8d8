"""Waiting so that a person sees what happens: a bar on a terminal, a line per change elsewhere; always on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backend.commands.output import make_console, news, seconds, standing

if TYPE_CHECKING:
    from modelyard.client import Client
    from modelyard.types import Endpoint, Job

JOB_TIMEOUT_SECONDS = 7 * 86_400.0


@contextmanager
def bytes_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told bytes done and bytes in all."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=make_console(stderr=True)) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _job_news() -> Iterator[Callable[["Job"], None]]:
    if sys.stderr.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=make_console(stderr=True)) as progress:
            task = progress.add_task("", total=None)

            def draw(job: "Job") -> None:
                done = job.progress
                phase = f" ({done.phase})" if done and done.phase and not job.ended else ""
                total = done.total_steps if done and done.total_steps else None
                described = f"{job.name}: {job.status}{phase}"
                progress.update(task, description=described, completed=done.step if done else 0, total=total)

            yield draw
        return
    said = ""

    def write(job: "Job") -> None:
        nonlocal said
        if job.status != said:
            said = job.status
            news(f"{job.name}: {standing(job.status, job.status_reason)}")

    yield write


def wait_for_job(client: "Client", job_id: str) -> "Job":
    """Wait for the end and show how far it is. Raises JobDidNotComplete with its evidence."""
    try:
        with _job_news() as told:
            return client.jobs.wait(job_id, timeout_seconds=JOB_TIMEOUT_SECONDS, poll_seconds=0.5, told=told)
    except KeyboardInterrupt:
        news(f"no longer waiting; the job goes on (`modelyard jobs wait {job_id}`, `modelyard jobs stop {job_id}`)")
        raise


def wait_for_endpoint(client: "Client", endpoint_id: str, status: str, *, timeout_seconds: float) -> "Endpoint":
    """Wait for a status, telling every change. Raises EndpointFailed, TimedOut."""
    said = ""

    def told(endpoint: "Endpoint") -> None:
        nonlocal said
        line = f"{endpoint.name}: {standing(endpoint.status, endpoint.status_reason)}"
        if line != said:
            said = line
            news(line)

    found = client.endpoints.wait(endpoint_id, status, timeout_seconds=timeout_seconds, told=told)
    if found.in_service_at is not None and status == "in_service":
        news(f"in service after {seconds((found.in_service_at - found.created_at).total_seconds())}")
    return found

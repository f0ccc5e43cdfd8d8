"""Jobs of every kind, and the kinds that users start."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from modelyard.errors import JobDidNotComplete, TimedOut
from modelyard.room import Room
from modelyard.types import Attempt, CompressionEstimate, Job, LogLine, Series, TrainingEstimate, Utilisation


class Jobs(Room):
    """Jobs of every kind."""

    def list(
        self,
        *,
        project_id: str | None = None,
        kind: str | None = None,
        status: str | None = None,
        name_contains: str | None = None,
    ) -> Iterator[Job]:
        """Jobs, newest first."""
        where = {"project_id": project_id, "kind": kind, "status": status, "name": name_contains}
        return self._http.pages("/api/v1/jobs", Job, **where)

    def get(self, job_id: str) -> Job:
        """One job."""
        return self._http.get(f"/api/v1/jobs/{job_id}", Job)

    def stop(self, job_id: str) -> Job:
        """Ask it to write a checkpoint and end."""
        return self._http.post(f"/api/v1/jobs/{job_id}/stop", {}, Job)

    def attempts(self, job_id: str) -> Sequence[Attempt]:
        """Its tries."""
        found = self._http.get(f"/api/v1/jobs/{job_id}/attempts", dict[str, list[Attempt]])
        return found["items"]

    def checkpoints(self, job_id: str) -> Sequence[dict[str, Any]]:
        """What it can resume from, by step."""
        return list(self._http.get(f"/api/v1/jobs/{job_id}/checkpoints", dict[str, Any])["items"])

    def events(self, job_id: str) -> Sequence[dict[str, Any]]:
        """Every change of its status, with its reason."""
        return list(self._http.get(f"/api/v1/jobs/{job_id}/events", dict[str, Any])["items"])

    def metrics(
        self,
        job_id: str,
        *,
        name: str | None = None,
        after_step: int | None = None,
        max_points: int | None = None,
    ) -> dict[str, Series]:
        """Series by name: all or one, of steps after one you have, thinned to points that look the same."""
        where = {"name": name, "after_step": after_step, "max_points": max_points}
        return self._http.get(f"/api/v1/jobs/{job_id}/metrics", dict[str, dict[str, Series]], **where)["series"]

    def export_metrics(self, job_id: str, *, kind: str = "csv", name: str | None = None) -> Iterator[bytes]:
        """Every point as a file, piece by piece: `csv` (name, step, value, time) or `jsonl`. Raises ApiError."""
        return self._http.stream(f"/api/v1/jobs/{job_id}/metrics/export", format=kind, name=name)

    def utilisation(self, job_id: str, *, max_points: int | None = None) -> Sequence[Utilisation]:
        """What its attempts used of their instances, samples merged to `max_points` (500)."""
        path = f"/api/v1/jobs/{job_id}/utilisation"
        return self._http.get(path, dict[str, list[Utilisation]], max_points=max_points)["items"]

    def tail(self, job_id: str) -> Sequence[LogLine]:
        """The newest lines of its output."""
        page = self._http.get(f"/api/v1/jobs/{job_id}/logs", dict[str, Any], tail="true")
        return msgspec.convert(page["lines"], list[LogLine])

    def logs(self, job_id: str, *, follow: bool = False, poll_seconds: float = 0.5) -> Iterator[LogLine]:
        """Lines of its output; with `follow`, until it has ended."""
        after: str | None = None
        while True:
            ended = self.get(job_id).ended if follow else True
            page = self._http.get(f"/api/v1/jobs/{job_id}/logs", dict[str, Any], after=after)
            yield from msgspec.convert(page["lines"], list[LogLine])
            after = page["next_after"]
            if page["more"] or page["lines"]:
                continue
            if ended:
                return
            time.sleep(poll_seconds)

    def wait(
        self,
        job_id: str,
        *,
        timeout_seconds: float = 3600,
        poll_seconds: float = 0.2,
        told: Callable[[Job], None] | None = None,
    ) -> Job:
        """Wait until it has completed; `told` hears of every change. Raises JobDidNotComplete, TimedOut."""
        until = time.monotonic() + timeout_seconds
        last: Job | None = None
        while True:
            job = self.get(job_id)
            if told is not None and job != last:
                told(job)
            last = job
            if job.status == "completed":
                return job
            if job.ended:
                raise JobDidNotComplete(job.name, job.status, job.status_reason, job.failure)
            if time.monotonic() > until:
                raise TimedOut(f"job '{job.name}' is still {job.status} after {timeout_seconds:.0f} s")
            time.sleep(poll_seconds)

    def sleep(
        self,
        project_id: str,
        name: str,
        *,
        seconds: float = 1.0,
        instance_type: str = "local.cpu",
        **options: Any,  # noqa: ANN401 - options of any job
    ) -> Job:
        """A diagnostic job that only sleeps."""
        body: dict[str, Any] = {"project_id": project_id, "name": name, "parameters": {"seconds": seconds}}
        body |= {"instance_type": instance_type, **options}
        return self._http.post("/api/v1/sleep-jobs", body, Job)


class TrainingJobs(Room):
    """Training."""

    def create(
        self,
        project_id: str,
        name: str,
        *,
        dataset_version_id: str,
        model_name: str,
        hyperparameters: Mapping[str, Any] | None = None,
        instance_type: str = "local.cpu",
        **options: Any,  # noqa: ANN401 - options of any job: market, max_attempts, keep_alive_seconds, tags, …
    ) -> Job:
        """Train on a dataset version; the best weights become the next version of `model_name`.

        A dataset of kind text needs `algorithm="text-classification"`.
        """
        reads_texts = options.get("algorithm") == "text-classification"
        body = {
            "project_id": project_id,
            "name": name,
            "dataset_version_id": dataset_version_id,
            "model_name": model_name,
            ("text_hyperparameters" if reads_texts else "hyperparameters"): dict(hyperparameters or {}),
            "instance_type": instance_type,
            **options,
        }
        return self._http.post("/api/v1/training-jobs", body, Job)

    def estimate(
        self,
        project_id: str,
        *,
        dataset_version_id: str,
        hyperparameters: Mapping[str, Any] | None = None,
        instance_type: str = "local.cpu",
        **options: Any,  # noqa: ANN401 - options of any job
    ) -> TrainingEstimate:
        """What a training would take and cost, from like jobs and the prices in force. Starts nothing."""
        reads_texts = options.get("algorithm") == "text-classification"
        body = {
            "project_id": project_id,
            "dataset_version_id": dataset_version_id,
            "text_hyperparameters" if reads_texts else "hyperparameters": dict(hyperparameters or {}),
            "instance_type": instance_type,
            **options,
        }
        return self._http.post("/api/v1/training-jobs/estimate", body, TrainingEstimate)


class CompressionJobs(Room):
    """Compression."""

    def estimate(
        self,
        project_id: str,
        *,
        model_version_id: str,
        instance_type: str = "local.cpu",
        **options: Any,  # noqa: ANN401 - options of any job
    ) -> CompressionEstimate:
        """What a compression would take and cost, from those that ran and the price in force. Starts nothing."""
        body = {
            "project_id": project_id,
            "model_version_id": model_version_id,
            "instance_type": instance_type,
            **options,
        }
        return self._http.post("/api/v1/compression-jobs/estimate", body, CompressionEstimate)

    def create(
        self,
        project_id: str,
        name: str,
        *,
        model_version_id: str,
        model_name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        instance_type: str = "local.cpu",
        **options: Any,  # noqa: ANN401 - options of any job
    ) -> Job:
        """Compress a model version, gated on its dataset's validation split."""
        body: dict[str, Any] = {
            "project_id": project_id,
            "name": name,
            "model_version_id": model_version_id,
            "parameters": dict(parameters or {}),
            "instance_type": instance_type,
            **options,
        }
        if model_name is not None:
            body["model_name"] = model_name
        return self._http.post("/api/v1/compression-jobs", body, Job)

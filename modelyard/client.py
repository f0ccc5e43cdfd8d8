"""`Client`: projects, datasets, jobs, models, endpoints, costs, as an integrator sees them."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from modelyard.errors import JobDidNotComplete, TimedOut
from modelyard.transport import Transport
from modelyard.types import (
    Attempt,
    Charge,
    Dataset,
    DatasetFile,
    DatasetVersion,
    Endpoint,
    Job,
    LogLine,
    Model,
    ModelVersion,
    Project,
    Series,
    Upload,
    UploadPart,
)

DEFAULT_PART_BYTES = 8 * 1024 * 1024
Told = Callable[[int, int], None]
"""Told how many bytes of how many are stored."""


class Client:
    """A connection to one Modelyard. Use it as a context manager, or `close()` it."""

    def __init__(self, api_url: str, api_key: str, *, timeout_seconds: float = 60.0) -> None:
        self.transport = Transport(api_url, api_key, timeout_seconds=timeout_seconds)
        self.projects = Projects(self.transport)
        self.datasets = Datasets(self.transport)
        self.jobs = Jobs(self.transport)
        self.training_jobs = TrainingJobs(self.transport)
        self.compression_jobs = CompressionJobs(self.transport)
        self.models = Models(self.transport)
        self.endpoints = Endpoints(self.transport)
        self.costs = Costs(self.transport)

    def me(self) -> dict[str, Any]:
        """Whose key this is."""
        return self.transport.get("/api/v1/me", dict[str, Any])

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Room:
    def __init__(self, transport: Transport) -> None:
        self._http = transport


class Projects(_Room):
    """Workspaces."""

    def create(self, name: str, *, description: str = "", tags: Mapping[str, str] | None = None) -> Project:
        """A new project."""
        body = {"name": name, "description": description, "tags": dict(tags or {})}
        return self._http.post("/api/v1/projects", body, Project)

    def list(self) -> Iterator[Project]:
        """All projects, newest first."""
        return self._http.pages("/api/v1/projects", Project)

    def get(self, project_id: str) -> Project:
        """One project."""
        return self._http.get(f"/api/v1/projects/{project_id}", Project)

    def ensure(self, name: str) -> Project:
        """The project of this name, made if there is none."""
        for project in self.list():
            if project.name == name:
                return project
        return self.create(name)

    def delete(self, project_id: str) -> None:
        """Delete an empty project."""
        self._http.delete(f"/api/v1/projects/{project_id}")


class Datasets(_Room):
    """Data: upload in resumable parts, freeze into versions."""

    def create(self, project_id: str, name: str, *, kind: str = "image", description: str = "") -> Dataset:
        """A new, empty dataset."""
        body = {"project_id": project_id, "name": name, "kind": kind, "description": description}
        return self._http.post("/api/v1/datasets", body, Dataset)

    def list(self, project_id: str | None = None) -> Iterator[Dataset]:
        """Datasets, newest first."""
        return self._http.pages("/api/v1/datasets", Dataset, project_id=project_id)

    def get(self, dataset_id: str) -> Dataset:
        """One dataset."""
        return self._http.get(f"/api/v1/datasets/{dataset_id}", Dataset)

    def upload(
        self,
        dataset_id: str,
        file: Path,
        *,
        part_size_bytes: int = DEFAULT_PART_BYTES,
        upload_id: str | None = None,
        told: Told | None = None,
    ) -> Upload:
        """Upload a ZIP of `label/name.png`, or resume an upload by its id; returns it once it is checked."""
        size = file.stat().st_size
        if upload_id is None:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            body = {"file_name": file.name, "size_bytes": size, "sha256": digest, "part_size_bytes": part_size_bytes}
            upload = self._http.post(f"/api/v1/datasets/{dataset_id}/uploads", body, Upload)
            stored: set[int] = set()
        else:
            found = self._http.get(f"/api/v1/uploads/{upload_id}", dict[str, Any])
            upload = msgspec.convert(found, Upload)
            stored = {part.number for part in msgspec.convert(found["parts"], list[UploadPart])}
        with file.open("rb") as content:
            for number in range(1, upload.part_count + 1):
                if number not in stored:
                    content.seek((number - 1) * upload.part_size_bytes)
                    self._http.put_bytes(
                        f"/api/v1/uploads/{upload.id}/parts/{number}", content.read(upload.part_size_bytes)
                    )
                if told is not None:
                    told(min(number * upload.part_size_bytes, size), size)
        return self._http.post(f"/api/v1/uploads/{upload.id}/complete", {}, Upload)

    def freeze(
        self, dataset_id: str, *, splits: Mapping[str, float], seed: int = 0, stratify: bool = True
    ) -> DatasetVersion:
        """An immutable version: sizes as counts, or as fractions that sum to 1."""
        body = {"splits": dict(splits), "seed": seed, "stratify": stratify}
        return self._http.post(f"/api/v1/datasets/{dataset_id}/versions", body, DatasetVersion)

    def version(self, version_id: str) -> DatasetVersion:
        """One version."""
        return self._http.get(f"/api/v1/dataset-versions/{version_id}", DatasetVersion)

    def versions(self, dataset_id: str) -> Iterator[DatasetVersion]:
        """Versions, newest first."""
        return self._http.pages(f"/api/v1/datasets/{dataset_id}/versions", DatasetVersion)

    def files(self, version_id: str, *, split: str | None = None) -> Iterator[DatasetFile]:
        """Files of a version."""
        path = f"/api/v1/dataset-versions/{version_id}/files"
        return self._http.pages(path, DatasetFile, split=split, limit=200)

    def read(self, version_id: str, sha256: str) -> bytes:
        """Content of one file."""
        return self._http.get_bytes(f"/api/v1/dataset-versions/{version_id}/files/{sha256}")


class Jobs(_Room):
    """Jobs of every kind."""

    def list(
        self, *, project_id: str | None = None, kind: str | None = None, status: str | None = None
    ) -> Iterator[Job]:
        """Jobs, newest first."""
        return self._http.pages("/api/v1/jobs", Job, project_id=project_id, kind=kind, status=status)

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

    def metrics(self, job_id: str) -> dict[str, Series]:
        """Series by name."""
        return self._http.get(f"/api/v1/jobs/{job_id}/metrics", dict[str, dict[str, Series]])["series"]

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
        """Wait until it has completed. Raises JobDidNotComplete, TimedOut."""
        until = time.monotonic() + timeout_seconds
        while True:
            job = self.get(job_id)
            if told is not None:
                told(job)
            if job.status == "completed":
                return job
            if job.ended:
                raise JobDidNotComplete(job.name, job.status, job.status_reason, job.failure)
            if time.monotonic() > until:
                raise TimedOut(f"job '{job.name}' is still {job.status} after {timeout_seconds:.0f} s")
            time.sleep(poll_seconds)

    def sleep(self, project_id: str, name: str, *, seconds: float = 1.0) -> Job:
        """A diagnostic job that only sleeps."""
        body = {"project_id": project_id, "name": name, "parameters": {"seconds": seconds}}
        return self._http.post("/api/v1/sleep-jobs", body, Job)


class TrainingJobs(_Room):
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
        """Train on a dataset version; the best weights become the next version of `model_name`."""
        body = {
            "project_id": project_id,
            "name": name,
            "dataset_version_id": dataset_version_id,
            "model_name": model_name,
            "hyperparameters": dict(hyperparameters or {}),
            "instance_type": instance_type,
            **options,
        }
        return self._http.post("/api/v1/training-jobs", body, Job)


class CompressionJobs(_Room):
    """Compression."""

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


class Models(_Room):
    """The registry."""

    def list(self) -> Iterator[Model]:
        """Models."""
        return self._http.pages("/api/v1/models", Model)

    def versions(self, model_id: str) -> Iterator[ModelVersion]:
        """Versions of a model, newest first."""
        return self._http.pages(f"/api/v1/models/{model_id}/versions", ModelVersion)

    def version(self, version_id: str) -> ModelVersion:
        """One version."""
        return self._http.get(f"/api/v1/model-versions/{version_id}", ModelVersion)

    def download(self, version_id: str, name: str) -> bytes:
        """One file of the artifact."""
        return self._http.get_bytes(f"/api/v1/model-versions/{version_id}/files/{name}")


class Endpoints(_Room):
    """Inference endpoints."""

    def create(
        self,
        project_id: str,
        name: str,
        *,
        variants: list[dict[str, Any]],
        instance_type: str = "local.cpu",
        replica_count: int = 1,
        processes: int = 1,
    ) -> Endpoint:
        """A new endpoint. A variant: {"name", "model_version_id", "weight"}."""
        body = {
            "project_id": project_id,
            "name": name,
            "variants": variants,
            "instance_type": instance_type,
            "replica_count": replica_count,
            "processes": processes,
        }
        return self._http.post("/api/v1/endpoints", body, Endpoint)

    def list(self) -> Iterator[Endpoint]:
        """Endpoints."""
        return self._http.pages("/api/v1/endpoints", Endpoint)

    def get(self, endpoint_id: str) -> Endpoint:
        """One endpoint."""
        return self._http.get(f"/api/v1/endpoints/{endpoint_id}", Endpoint)

    def detail(self, endpoint_id: str) -> dict[str, Any]:
        """One endpoint with configs and replicas."""
        return self._http.get(f"/api/v1/endpoints/{endpoint_id}", dict[str, Any])

    def set_weights(self, endpoint_id: str, weights: Mapping[str, float]) -> Endpoint:
        """Change how traffic is split."""
        return self._http.patch(f"/api/v1/endpoints/{endpoint_id}/weights", {"weights": dict(weights)}, Endpoint)

    def delete(self, endpoint_id: str) -> None:
        """Ask for its deletion."""
        self._http.delete(f"/api/v1/endpoints/{endpoint_id}")

    def wait(
        self, endpoint_id: str, status: str = "in_service", *, timeout_seconds: float = 180, poll_seconds: float = 0.2
    ) -> Endpoint:
        """Wait for a status. Raises JobDidNotComplete when it failed, TimedOut."""
        until = time.monotonic() + timeout_seconds
        while True:
            endpoint = self.get(endpoint_id)
            if endpoint.status == status:
                return endpoint
            if endpoint.status == "failed":
                raise JobDidNotComplete(endpoint.name, endpoint.status, endpoint.status_reason, None)
            if time.monotonic() > until:
                raise TimedOut(
                    f"endpoint '{endpoint.name}' is {endpoint.status} after {timeout_seconds:.0f} s: "
                    f"{endpoint.status_reason}"
                )
            time.sleep(poll_seconds)


class Costs(_Room):
    """The bill."""

    def charges(
        self, *, project_id: str | None = None, resource_kind: str | None = None, resource_id: str | None = None
    ) -> Iterator[Charge]:
        """Charges, exact."""
        return self._http.pages(
            "/api/v1/charges",
            Charge,
            project_id=project_id,
            resource_kind=resource_kind,
            resource_id=resource_id,
            limit=200,
        )

    def summary(self) -> dict[str, Any]:
        """Month to date by resource, SKU, project and day."""
        return self._http.get("/api/v1/costs/summary", dict[str, Any])

    def usage(self, *, resource_id: str | None = None) -> Iterator[dict[str, Any]]:
        """Usage records."""
        return self._http.pages("/api/v1/usage", dict[str, Any], resource_id=resource_id, limit=200)

    def prices(self) -> list[dict[str, Any]]:
        """Prices in force."""
        return list(self._http.get("/api/v1/prices", dict[str, Any])["items"])

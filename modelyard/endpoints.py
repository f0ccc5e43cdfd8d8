"""The model registry, and endpoints that answer with what is in it."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from modelyard.datasets import Told
from modelyard.errors import EndpointFailed, FileUnusable, TimedOut
from modelyard.room import Room, given
from modelyard.types import Endpoint, EndpointConfig, Model, ModelFile, ModelVersion, Replica


class Models(Room):
    """The registry."""

    def list(self, *, project_id: str | None = None, name: str | None = None) -> Iterator[Model]:
        """Models with their newest versions, newest model first."""
        return self._http.pages("/api/v1/models", Model, project_id=project_id, name=name)

    def get(self, model_id: str) -> Model:
        """One model."""
        return self._http.get(f"/api/v1/models/{model_id}", Model)

    def update(self, model_id: str, *, description: str | None = None, tags: Mapping[str, str] | None = None) -> Model:
        """Change its description, or replace its tags."""
        return self._http.patch(f"/api/v1/models/{model_id}", given(description=description, tags=tags), Model)

    def versions(self, model_id: str) -> Iterator[ModelVersion]:
        """Versions of a model, newest first."""
        return self._http.pages(f"/api/v1/models/{model_id}/versions", ModelVersion)

    def version(self, version_id: str) -> ModelVersion:
        """One version."""
        return self._http.get(f"/api/v1/model-versions/{version_id}", ModelVersion)

    def tag_version(self, version_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """Replace a version's tags."""
        return self._http.patch(f"/api/v1/model-versions/{version_id}", {"tags": dict(tags)}, ModelVersion)

    def approve(self, version_id: str, reason: str = "") -> ModelVersion:
        """Let it onto protected endpoints."""
        return self._http.post(f"/api/v1/model-versions/{version_id}/approve", {"reason": reason}, ModelVersion)

    def reject(self, version_id: str, reason: str = "") -> ModelVersion:
        """Keep it off protected endpoints."""
        return self._http.post(f"/api/v1/model-versions/{version_id}/reject", {"reason": reason}, ModelVersion)

    def events(self, version_id: str) -> Sequence[dict[str, Any]]:
        """Who approved or rejected it, when and why."""
        return [*self._http.get(f"/api/v1/model-versions/{version_id}/events", dict[str, Any])["items"]]

    def evaluation(self, version_id: str) -> dict[str, Any]:
        """How it did on its test split: confusion matrix, every class, the worst mistakes."""
        return self._http.get(f"/api/v1/model-versions/{version_id}/evaluation", dict[str, Any])

    def download(self, version_id: str, name: str) -> bytes:
        """One file of the artifact, in memory."""
        return self._http.get_bytes(f"/api/v1/model-versions/{version_id}/files/{name}")

    def download_to(self, version_id: str, file: ModelFile, target: Path, *, told: Told | None = None) -> None:
        """One file of the artifact, streamed to `target`; it appears whole and checked, or not at all.

        Raises FileUnusable when the content is not what its digest says.
        """
        path = f"/api/v1/model-versions/{version_id}/files/{file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.unfinished")
        digest, done = hashlib.sha256(), 0
        try:
            with unfinished.open("wb") as content:
                for piece in self._http.stream(path):
                    content.write(piece)
                    digest.update(piece)
                    done += len(piece)
                    if told is not None:
                        told(done, file.size_bytes)
            if digest.hexdigest() != file.sha256:
                raise FileUnusable(f"{file.name} arrived damaged: its digest is not {file.sha256}")
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)


class Endpoints(Room):
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
        protected: bool = False,
    ) -> Endpoint:
        """A new endpoint. A variant: {"name", "model_version_id", "weight"}. A protected one takes approved model
        versions only.
        """
        body = {
            "project_id": project_id,
            "name": name,
            "variants": variants,
            "instance_type": instance_type,
            "replica_count": replica_count,
            "processes": processes,
            "protected": protected,
        }
        return self._http.post("/api/v1/endpoints", body, Endpoint)

    def list(
        self, *, project_id: str | None = None, status: str | None = None, name: str | None = None
    ) -> Iterator[Endpoint]:
        """Endpoints, newest first; deleted ones only with status "deleted"."""
        return self._http.pages("/api/v1/endpoints", Endpoint, project_id=project_id, status=status, name=name)

    def get(self, endpoint_id: str) -> Endpoint:
        """One endpoint."""
        return self._http.get(f"/api/v1/endpoints/{endpoint_id}", Endpoint)

    def detail(self, endpoint_id: str) -> dict[str, Any]:
        """One endpoint with configs and replicas."""
        return self._http.get(f"/api/v1/endpoints/{endpoint_id}", dict[str, Any])

    def update(
        self, endpoint_id: str, *, protected: bool | None = None, tags: Mapping[str, str] | None = None
    ) -> Endpoint:
        """Change whether it takes approved versions only, or replace its tags."""
        return self._http.patch(f"/api/v1/endpoints/{endpoint_id}", given(protected=protected, tags=tags), Endpoint)

    def set_config(
        self,
        endpoint_id: str,
        *,
        variants: Sequence[dict[str, Any]],
        instance_type: str = "local.cpu",
        replica_count: int = 1,
        processes: int = 1,
    ) -> Endpoint:
        """Put something else behind it: the config that answers goes on until the new one is ready."""
        body = {
            "variants": variants,
            "instance_type": instance_type,
            "replica_count": replica_count,
            "processes": processes,
        }
        return self._http.put(f"/api/v1/endpoints/{endpoint_id}/config", body, Endpoint)

    def configs(self, endpoint_id: str) -> Iterator[EndpointConfig]:
        """Everything that ever stood behind it, newest first."""
        return self._http.pages(f"/api/v1/endpoints/{endpoint_id}/configs", EndpointConfig)

    def replicas(self, endpoint_id: str) -> Iterator[Replica]:
        """Its replicas, ended ones too, newest first."""
        return self._http.pages(f"/api/v1/endpoints/{endpoint_id}/replicas", Replica)

    def events(self, endpoint_id: str) -> Sequence[dict[str, Any]]:
        """Every change of its status, with its reason."""
        return [*self._http.get(f"/api/v1/endpoints/{endpoint_id}/events", dict[str, Any])["items"]]

    def traffic(
        self, endpoint_id: str, *, from_at: datetime | None = None, to_at: datetime | None = None
    ) -> dict[str, Any]:
        """Calls, errors and latency by variant in a period; the last hour, if none is given."""
        period = {name: at.isoformat() if at else None for name, at in (("from", from_at), ("to", to_at))}
        return self._http.get(f"/api/v1/endpoints/{endpoint_id}/traffic", dict[str, Any], **period)

    def protect(self, endpoint_id: str, *, protected: bool = True) -> Endpoint:
        """Take approved model versions only, or any again."""
        return self._http.patch(f"/api/v1/endpoints/{endpoint_id}", {"protected": protected}, Endpoint)

    def set_weights(self, endpoint_id: str, weights: Mapping[str, float]) -> Endpoint:
        """Change how traffic is split."""
        return self._http.patch(f"/api/v1/endpoints/{endpoint_id}/weights", {"weights": dict(weights)}, Endpoint)

    def delete(self, endpoint_id: str) -> None:
        """Ask for its deletion."""
        self._http.delete(f"/api/v1/endpoints/{endpoint_id}")

    def wait(
        self,
        endpoint_id: str,
        status: str = "in_service",
        *,
        timeout_seconds: float = 180,
        poll_seconds: float = 0.2,
        told: Callable[[Endpoint], None] | None = None,
    ) -> Endpoint:
        """Wait for a status; `told` hears of every change. Raises EndpointFailed, TimedOut."""
        until = time.monotonic() + timeout_seconds
        last: Endpoint | None = None
        while True:
            endpoint = self.get(endpoint_id)
            if told is not None and endpoint != last:
                told(endpoint)
            last = endpoint
            if endpoint.status == status:
                return endpoint
            if endpoint.status == "failed":
                raise EndpointFailed(endpoint.name, endpoint.status, endpoint.status_reason)
            if time.monotonic() > until:
                raise TimedOut(
                    f"endpoint '{endpoint.name}' is {endpoint.status} after {timeout_seconds:.0f} s: "
                    f"{endpoint.status_reason}"
                )
            time.sleep(poll_seconds)

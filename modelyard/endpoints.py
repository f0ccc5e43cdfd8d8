"""The model registry, and endpoints that answer with what is in it."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from modelyard.datasets import Told
from modelyard.errors import EndpointFailed, FileUnusable, TimedOut
from modelyard.room import Room
from modelyard.types import Endpoint, Model, ModelFile, ModelVersion


class Models(Room):
    """The registry."""

    def list(self, *, project_id: str | None = None, name: str | None = None) -> Iterator[Model]:
        """Models with their newest versions, newest model first."""
        return self._http.pages("/api/v1/models", Model, project_id=project_id, name=name)

    def get(self, model_id: str) -> Model:
        """One model."""
        return self._http.get(f"/api/v1/models/{model_id}", Model)

    def versions(self, model_id: str) -> Iterator[ModelVersion]:
        """Versions of a model, newest first."""
        return self._http.pages(f"/api/v1/models/{model_id}/versions", ModelVersion)

    def version(self, version_id: str) -> ModelVersion:
        """One version."""
        return self._http.get(f"/api/v1/model-versions/{version_id}", ModelVersion)

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

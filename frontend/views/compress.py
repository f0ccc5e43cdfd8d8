"""The form that compresses a model version: what can be chosen, and the same start for a terminal."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from backend.compression_jobs.estimates import CompressionEstimate, estimate_compression
from backend.compression_jobs.schemas import CompressionJobCreate
from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.datasets import service as datasets
from backend.fleet import service as fleet
from backend.jobs import service as jobs
from backend.jobs.schemas import MAX_KEEP_ALIVE_SECONDS, MAX_RUNTIME_SECONDS, Market
from frontend.forms import Form, parse
from frontend.views.modelversions import VersionHead

BASIC = {
    "name", "project_id", "model_version_id", "instance_type",
    "parameters.method", "parameters.max_accuracy_loss_points", "parameters.minimum_speedup",
    "parameters.pruning.kind", "parameters.pruning.amount",
}  # fmt: skip
"""Fields that stand open; every other one is under "Advanced"."""
OPTIONS = ("instance_type", "market", "max_attempts", "max_runtime_seconds", "keep_alive_seconds")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Pairs of value and label."""

    instance_types: Sequence[tuple[str, str]]
    dataset_versions: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Snippets:
    """The same start for a terminal."""

    curl: str
    command: str


class Shape(BaseModel):
    """The fields that say what it will cost."""

    model_config = ConfigDict(extra="ignore")

    instance_type: str = "local.cpu"
    market: Market = "on-demand"
    max_attempts: int = Field(3, ge=1, le=20)
    max_runtime_seconds: int = Field(86_400, ge=1, le=MAX_RUNTIME_SECONDS)
    keep_alive_seconds: int = Field(0, ge=0, le=MAX_KEEP_ALIVE_SECONDS)


def defaults(session: Session, viewer: Principal, version: VersionHead) -> dict[str, str]:
    """What the fields hold before anything is typed."""
    return {
        "project_id": version.project_id,
        "model_version_id": version.id,
        "name": jobs.next_name(session, viewer.scope, f"{version.model_name}-int8-0"),
        "parameters.method": "dynamic-int8" if version.reads_texts else "static-int8",
        "instance_type": "local.cpu",
        "max_runtime_seconds": "3600",
    }


def choices(session: Session, viewer: Principal, version: VersionHead) -> Choices:
    """Instance types, and versions of datasets of the kind that the model reads."""
    return Choices(
        instance_types=[
            (one.name, f"{one.name} · {one.vcpus:g} vCPU · {one.memory_bytes / 2**30:.1f} GiB")
            for one in fleet.list_instance_types(session, viewer.scope)
        ],
        dataset_versions=[
            (str(version.id), f"{dataset.name} v{version.number}")
            for version, dataset in datasets.versions_to_choose(
                session, viewer.scope, kind="text" if version.reads_texts else "image"
            )
        ],
    )


def estimate(session: Session, viewer: Principal, typed: Mapping[str, str]) -> CompressionEstimate | None:
    """Time and price as far as the fields say; None where they do not."""
    shape = parse(Shape, {name: value for name, value in typed.items() if name in Shape.model_fields}).request
    if shape is None:
        return None
    try:
        return estimate_compression(
            session,
            viewer.scope,
            instance_type=shape.instance_type,
            market=shape.market,
            max_runtime_seconds=shape.max_runtime_seconds,
            max_attempts=shape.max_attempts,
            keep_alive_seconds=shape.keep_alive_seconds,
        )
    except DomainError:  # an instance type that is gone: the start says so
        return None


def snippets(base: str, form: Form[CompressionJobCreate]) -> Snippets | None:
    """The API call and the command; None while something is wrong with the form."""
    if form.request is None:
        return None
    body = form.request.model_dump(mode="json", exclude_defaults=True)
    first = ("name", "project_id", "model_version_id")
    body = {name: body[name] for name in (*first, *(name for name in body if name not in first))}
    curl = (
        f"curl {base}/api/v1/compression-jobs \\\n"
        '  -H "Authorization: Bearer $MODELYARD_API_KEY" \\\n'
        f"  --json {shlex.quote(json.dumps(body, ensure_ascii=False, indent=2))}"
    )
    return Snippets(curl=curl, command=_command(body))


def _command(body: Mapping[str, Any]) -> str:
    words = [
        f"modelyard compression-jobs create {shlex.quote(body['name'])}",
        f"--project {body['project_id']}",
        f"--model-version {body['model_version_id']}",
    ]
    words += [f"--{name.replace('_', '-')} {body[name]}" for name in OPTIONS if name in body]
    if "model_name" in body:
        words.append(f"--model {shlex.quote(body['model_name'])}")
    if "dataset_version_id" in body:
        words.append(f"--dataset {body['dataset_version_id']}")
    parameters = dict(body.get("parameters", {}))
    pruning = {f"pruning.{name}": value for name, value in parameters.pop("pruning", {}).items()}
    words += [f"--set {name}={_plain(value)}" for name, value in (parameters | pruning).items()]
    words += [f"--tag {shlex.quote(f'{key}={value}')}" for key, value in body.get("tags", {}).items()]
    return " \\\n  ".join(words)


def _plain(value: object) -> str:
    """A parameter as `--set` reads it."""
    return value if isinstance(value, str) else json.dumps(value)

"""The form that starts a training job: what can be chosen, what a field may hold, what the job would take.

The fields are those of the API's `TrainingJobCreate`; their defaults and bounds are read from its JSON schema, so the
form never says otherwise than the API.
"""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy.orm import Session

from backend.core.auth import Principal
from backend.datasets import service as datasets
from backend.datasets.models import Dataset, DatasetVersion
from backend.fleet import service as fleet
from backend.jobs.models import Job
from backend.training_jobs.kind import CHANNEL
from backend.training_jobs.schemas import TrainingEstimate, TrainingEstimateRequest, TrainingJobCreate
from frontend.forms import Form, parse

Say = Callable[..., str]
TEXTS = "text-classification"
BASICS = {
    "project_id", "name", "dataset_version_id", "model_name", "instance_type", "algorithm",
    "hyperparameters.epochs", "text_hyperparameters.epochs", "text_hyperparameters.max_length",
}  # fmt: skip
"""Fields that stand open; every other one is under "Advanced"."""
UNNAMED = {"name", "model_name"}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a field of the request may hold; `default` is what it holds when nothing is given."""

    default: str = ""
    minimum: str = ""
    maximum: str = ""
    step: str = "any"
    options: Sequence[str] = ()

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The options as value and label."""
        return [(one, one) for one in self.options]

    @property
    def on(self) -> bool:
        """The default of a switch."""
        return self.default == "true"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What can be chosen: pairs of value and label."""

    projects: Sequence[tuple[str, str]]
    versions: Sequence[tuple[str, str]]
    instance_types: Sequence[tuple[str, str]]
    dataset: str
    """The newest version's dataset; "" where there is none."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the job would take. Seconds, exact dollars; None = not known."""

    like_jobs: int
    seconds_low: float | None
    seconds_high: float | None
    amount_low: Decimal | None
    amount_high: Decimal | None
    limit_seconds: int
    attempts: int
    at_most: Decimal | None
    priced: bool

    @classmethod
    def of(cls, found: TrainingEstimate, wanted: TrainingEstimateRequest) -> "Expected":
        """The API's estimate for a page."""
        return cls(
            like_jobs=found.like_jobs,
            seconds_low=found.seconds_low,
            seconds_high=found.seconds_high,
            amount_low=found.amount_low,
            amount_high=found.amount_high,
            limit_seconds=wanted.max_runtime_seconds,
            attempts=wanted.max_attempts,
            at_most=found.at_most_amount,
            priced=found.price_per_second is not None,
        )


@dataclass(frozen=True, kw_only=True)
class Snippets:
    """The same start for a terminal."""

    curl: str
    command: str


@cache
def limits() -> dict[str, Limit]:
    """By the field's dotted name."""
    schema = TrainingJobCreate.model_json_schema()
    return dict(_limits(schema, schema.get("$defs", {}), ""))


def _limits(schema: Mapping[str, Any], parts: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Limit]]:
    for name, field in schema["properties"].items():
        whole = next((one for one in field.get("anyOf", []) if one.get("type") != "null"), {}) | field
        if "$ref" in whole:
            yield from _limits(parts[whole["$ref"].rpartition("/")[2]], parts, f"{prefix}{name}.")
            continue
        options = whole.get("enum") or ([whole["const"]] if "const" in whole else [])
        yield (
            f"{prefix}{name}",
            Limit(
                default=_as_typed(whole.get("default")),
                minimum=_as_typed(whole.get("minimum", whole.get("exclusiveMinimum"))),
                maximum=_as_typed(whole.get("maximum", whole.get("exclusiveMaximum"))),
                step="1" if whole.get("type") == "integer" else "any",
                options=options,
            ),
        )


def _as_typed(value: object) -> str:
    """A value of a request as a person would type it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def choices(
    session: Session, viewer: Principal, projects: Sequence[tuple[str, str]], say: Say, *, algorithm: str
) -> Choices:
    """Versions of datasets that the algorithm reads, newest first, and the instance types. `say` translates."""
    found = datasets.versions_to_choose(session, viewer.scope, kind="text" if algorithm == TEXTS else "image")
    names = dict(projects) if len(projects) > 1 else {}

    def named(dataset: Dataset, version: DatasetVersion) -> str:
        project = names.get(str(dataset.project_id), "")
        name = f"{project} / {dataset.name}" if project else dataset.name
        if version.file_count == 1:
            return say("%(name)s v%(number)s · one file", name=name, number=version.number)
        return say("%(name)s v%(number)s · %(files)s files", name=name, number=version.number, files=version.file_count)

    return Choices(
        projects=projects,
        versions=[(str(version.id), named(dataset, version)) for version, dataset in found],
        instance_types=[
            (
                shape.name,
                f"{shape.name} · {shape.vcpus:g} vCPU · {shape.memory_bytes / 2**30:.1f} GiB{_gpus(shape.gpus)}",
            )
            for shape in fleet.list_instance_types(session, viewer.scope)
        ],
        dataset=found[0][1].name if found else "",
    )


def _gpus(count: int) -> str:
    return f" · {count} GPU" if count else ""


def values_of(job: Job, name: str) -> dict[str, str]:
    """A training job's request as it would be typed, under another name."""
    given: dict[str, Any] = {
        "project_id": job.project_id,
        "name": name,
        "dataset_version_id": job.inputs[CHANNEL]["id"],
        "model_name": job.output["model_name"],
        "instance_type": job.instance_type,
        "market": job.market,
        "max_attempts": job.max_attempts,
        "max_runtime_seconds": job.max_runtime_seconds,
        "keep_alive_seconds": job.keep_alive_seconds,
        "tags:lines": "\n".join(f"{key}={value}" for key, value in job.tags.items()),
    }
    typed = {key: _as_typed(value) for key, value in given.items()}
    algorithm = str(job.parameters.get("algorithm", ""))
    own = "text_hyperparameters." if algorithm == TEXTS else "hyperparameters."
    return typed | {"algorithm": algorithm} | dict(_typed(job.parameters.get("hyperparameters", {}), own))


def _typed(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _typed(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}{':flag' if isinstance(value, bool) else ''}", _as_typed(value)


def as_estimate(typed: Mapping[str, str]) -> TrainingEstimateRequest | None:
    """What was typed so far as a request of an estimate; None while something needed for one is missing or wrong."""
    return parse(TrainingEstimateRequest, {key: value for key, value in typed.items() if key not in UNNAMED}).request


def snippets(base: str, form: Form[TrainingJobCreate], typed: Mapping[str, str]) -> Snippets | None:
    """The API call and the command that start the same job; None while the form is too incomplete to say."""
    wanted = form.request or as_estimate(typed)
    if wanted is None:
        return None
    body: dict[str, Any] = wanted.model_dump(mode="json", exclude_defaults=True)
    for name in UNNAMED:
        body[name] = typed.get(name, "").strip() or "…"
    order = ["name", "project_id", "dataset_version_id", "model_name"]
    body = {name: body[name] for name in [*order, *(name for name in body if name not in order)]}
    return Snippets(curl=_curl(base, body), command=_command(body))


def _curl(base: str, body: Mapping[str, Any]) -> str:
    return (
        f"curl {base}/api/v1/training-jobs \\\n"
        '  -H "Authorization: Bearer $MODELYARD_API_KEY" \\\n'
        f"  --json {shlex.quote(json.dumps(body, ensure_ascii=False, indent=2))}"
    )


def _command(body: Mapping[str, Any]) -> str:
    words = [
        f"modelyard train {shlex.quote(body['name'])}",
        f"--project {body['project_id']}",
        f"--dataset {body['dataset_version_id']}",
        f"--model {shlex.quote(body['model_name'])}",
    ]
    options = ("instance_type", "market", "max_attempts", "max_runtime_seconds", "keep_alive_seconds")
    words += [f"--{name.replace('_', '-')} {body[name]}" for name in options if name in body]
    words += [f"--tag {shlex.quote(f'{key}={value}')}" for key, value in body.get("tags", {}).items()]
    own = "hyperparameters"
    if body.get("algorithm") == TEXTS:
        own = "text_hyperparameters"
        words.append(f"--algorithm {TEXTS}")
    words += [f"--set {name}={value}" for name, value in _typed_flat(body.get(own, {}))]
    return " \\\n  ".join(words)


def _typed_flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((name.removesuffix(":flag"), value) for name, value in _typed(values, ""))


def opens_advanced(form: Form[TrainingJobCreate]) -> bool:
    """Whether an error or a value of one's own stands under "Advanced"."""
    bounds = limits()

    def own(name: str, value: str) -> bool:
        plain = name.partition(":")[0]
        return plain not in BASICS and value.strip() != (bounds[plain].default if plain in bounds else "")

    return any(name and name not in BASICS for name in form.errors) or any(
        own(name, value) for name, value in form.values.items()
    )

"""The endpoints' forms: what they offer, what they start with, what they would cost, and the same for machines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from backend.billing import pricing
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.endpoints.schemas import ConfigWrite, VariantName, Weight
from backend.fleet import service as fleet
from frontend.views.endpoints import ConfigLine

MARKET: Final = "on-demand"
CALL_SKU: Final = "inference:call"
HOUR: Final = Decimal(int(timedelta(hours=1).total_seconds()))
MILLION: Final = Decimal(10**6)
MAX_VARIANTS: Final = 16
MAX_REPLICAS: Final = 64


class VariantWeight(BaseModel):
    """One slider."""

    model_config = ConfigDict(extra="forbid")

    name: VariantName
    weight: Weight


class WeightsForm(BaseModel):
    """The weights' form: `seen` is the number of the config that was shown."""

    model_config = ConfigDict(extra="forbid")

    seen: Annotated[int, Field(ge=1)]
    variants: Annotated[list[VariantWeight], Field(min_length=1, max_length=MAX_VARIANTS)]


class ConfigForm(ConfigWrite):
    """The config's form: the API's request, and the number of the config that was shown."""

    seen: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An instance type on offer. `hourly`: US dollars for one replica; None = nobody has set a price."""

    name: str
    label: str
    hourly: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a config costs: per hour for its replicas, and per million calls. None = no price is set."""

    hourly: Decimal | None
    per_million: Decimal | None


def shapes(session: Session, scope: Scope) -> list[Shape]:
    """Instance types with their price in force."""
    prices = _prices(session)
    return [
        Shape(
            name=one.name,
            label=f"{one.name} · {one.vcpus:g} vCPU · {one.memory_bytes / 1024**3:.0f} GiB"
            + (f" · {one.gpus} GPU" if one.gpus else ""),
            hourly=_hourly(prices, one.name),
        )
        for one in fleet.list_instance_types(session, scope)
    ]


def _prices(session: Session) -> dict[str, Decimal]:
    return {one.sku: one.amount for one in pricing.list_prices(session, at=database_now(session))}


def _hourly(prices: Mapping[str, Decimal], instance_type: str) -> Decimal | None:
    price = prices.get(f"instance:{instance_type}:{MARKET}")
    return None if price is None else price * HOUR


def estimate(session: Session, typed: Mapping[str, str]) -> Estimate:
    """The price of what is typed so far; half-typed numbers count as one replica."""
    prices = _prices(session)
    hourly = _hourly(prices, typed.get("instance_type", "").strip())
    text = typed.get("replica_count", "").strip()
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 1  # noqa: PLR2004 - digits of 64, and one more
    per_call = prices.get(CALL_SKU)
    return Estimate(
        hourly=None if hourly is None else hourly * min(max(count, 1), MAX_REPLICAS),
        per_million=None if per_call is None else per_call * MILLION,
    )


def rows(typed: Mapping[str, str]) -> list[int]:
    """The numbers of the variants' rows, at least one."""
    found = {
        int(part)
        for name in typed
        if name.startswith("variants.") and (part := name.split(".")[1]).isascii() and part.isdigit() and len(part) <= 2  # noqa: PLR2004 - rows to 99
    }
    return sorted(found)[:MAX_VARIANTS] or [0]


def with_one_more(typed: Mapping[str, str]) -> dict[str, str]:
    """What is typed, and an empty row after the last one."""
    there = rows(typed)
    if len(there) >= MAX_VARIANTS:
        return dict(typed)
    number = there[-1] + 1
    return {
        **typed,
        f"variants.{number}.name": "",
        f"variants.{number}.model_version_id": "",
        f"variants.{number}.weight": "0",
    }


def without(typed: Mapping[str, str], number: str) -> dict[str, str]:
    """What is typed but for one row; the last row stays."""
    if len(rows(typed)) <= 1:
        return dict(typed)
    return {name: value for name, value in typed.items() if not name.startswith(f"variants.{number}.")}


def of_config(config: ConfigLine) -> dict[str, str]:
    """A config as a form's fields."""
    values = {
        "seen": str(config.number),
        "instance_type": config.instance_type,
        "replica_count": str(config.replica_count),
        "processes": str(config.processes),
    }
    for number, one in enumerate(config.variants):
        values |= {
            f"variants.{number}.name": one.name,
            f"variants.{number}.model_version_id": one.version_id,
            f"variants.{number}.weight": one.weight_text,
        }
    return values


# --- the same for machines --------------------------------------------------------------------------


def _row(typed: Mapping[str, str], number: int) -> dict[str, Any]:
    weight = typed.get(f"variants.{number}.weight", "").strip() or "1"
    try:
        counted: float | str = json.loads(weight)
    except ValueError:
        counted = weight
    return {
        "name": typed.get(f"variants.{number}.name", "").strip() or "…",
        "model_version_id": typed.get(f"variants.{number}.model_version_id", "").strip() or "…",
        "weight": counted,
    }


def curl_create(base: str, typed: Mapping[str, str]) -> str:
    """The API call that a filled form makes."""
    body = {
        "project_id": typed.get("project_id") or "…",
        "name": typed.get("name") or "…",
        "instance_type": typed.get("instance_type") or "…",
        "replica_count": _count(typed.get("replica_count", "")),
        "variants": [_row(typed, number) for number in rows(typed)],
    }
    return curl("POST", f"{base}/api/v1/endpoints", body)


def cli_create(typed: Mapping[str, str], projects: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """The command that does the same; `projects` and `versions` are names by id."""
    parts = [f"modelyard endpoints create {typed.get('name') or '…'}"]
    parts.append(f"--project {projects.get(typed.get('project_id', ''), '…')}")
    for number in rows(typed):
        row = _row(typed, number)
        version = versions.get(row["model_version_id"], "…")
        parts.append(f"--variant {row['name']}={version}@{row['weight']}")
    parts.append(f"--instance-type {typed.get('instance_type') or '…'}")
    parts.append(f"--replica-count {_count(typed.get('replica_count', ''))}")
    return " \\\n  ".join(parts)


def curl(method: str, url: str, body: object, *, seen: int | None = None) -> str:
    """One call of the API."""
    match = f" -H 'If-Match: \"{seen}\"'" if seen is not None else ""
    return (
        f"curl -X {method} {url} \\\n"
        f'  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json"{match} \\\n'
        f"  -d '{json.dumps(body, ensure_ascii=False)}'"
    )


def cli_weights(name: str, variants: Sequence[tuple[str, str]]) -> str:
    """The command that changes weights."""
    return f"modelyard endpoints weights {name} " + " ".join(f"{one}={weight}" for one, weight in variants)


def _count(text: str) -> int | str:
    text = text.strip() or "1"
    return int(text) if text.isascii() and text.isdigit() else text

"""What may stand behind one endpoint: pure checks of production variants and their signatures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from backend.endpoints.errors import (
    ModelVersionNotApproved,
    ModelVersionRejected,
    SignatureMismatch,
    VariantsInvalid,
    VariantUnknown,
)
from backend.endpoints.models import EndpointConfig, ProductionVariant
from backend.registry.models import ModelVersion


@dataclass(frozen=True)
class VariantRequest:
    """A variant as it was asked for. `weight` is relative, ≥ 0."""

    name: str
    model_version_id: UUID
    weight: Decimal


ServingKey = tuple[str, int, frozenset[tuple[str, UUID]]]


def serving_key(config: EndpointConfig, variants: Sequence[ProductionVariant]) -> ServingKey:
    """What a replica must be to serve a config: weights and replica count are not part of it."""
    hosted = frozenset((variant.name, variant.model_version_id) for variant in variants)
    return config.instance_type, config.processes, hosted


def check_weights(weights: Sequence[Decimal]) -> None:
    """Raises VariantsInvalid unless there is a weight, none is negative, and not all are 0."""
    if not weights:
        raise VariantsInvalid("an endpoint needs at least one production variant")
    if min(weights) < 0:
        raise VariantsInvalid("a weight is at least 0")
    if max(weights) == 0:
        raise VariantsInvalid("at least one variant needs a weight above 0")


def check_variants(
    variants: Sequence[VariantRequest], versions: Mapping[UUID, ModelVersion], *, protected: bool
) -> None:
    """Raises VariantsInvalid, ModelVersionRejected, ModelVersionNotApproved (behind a protected endpoint) or
    SignatureMismatch. `versions` by id, complete.
    """
    check_weights([variant.weight for variant in variants])
    names = [variant.name for variant in variants]
    if len(set(names)) != len(names):
        raise VariantsInvalid("variant names are unique within an endpoint")
    for variant in variants:
        if versions[variant.model_version_id].approval_status == "rejected":
            raise ModelVersionRejected(
                f"variant '{variant.name}': model version {variant.model_version_id} was rejected",
                hint="approve it first, or choose another version",
            )
    if protected:
        check_approved(variants, versions)
    first = variants[0]
    expected = inputs(versions[first.model_version_id].signature)
    for variant in variants[1:]:
        found = inputs(versions[variant.model_version_id].signature)
        if found != expected:
            raise SignatureMismatch(
                f"variant '{variant.name}' takes {_words(found)}, variant '{first.name}' takes {_words(expected)}"
            )


def check_approved(
    variants: Sequence[VariantRequest | ProductionVariant], versions: Mapping[UUID, ModelVersion]
) -> None:
    """Raises ModelVersionNotApproved unless every variant is of an approved version."""
    for variant in variants:
        version = versions[variant.model_version_id]
        if version.approval_status != "approved":
            raise ModelVersionNotApproved(
                f"the endpoint is protected, and version {version.number} of variant '{variant.name}' is "
                f"{version.approval_status}",
                model_version_id=str(version.id),
            )


def inputs(signature: dict[str, Any]) -> list[tuple[str, str, tuple[int, ...]]]:
    """(name, datatype, shape) of every input, by name. Raises SignatureMismatch where there is none."""
    try:
        found = [(str(one["name"]), str(one["datatype"]), tuple(one["shape"])) for one in signature["inputs"]]
    except (KeyError, TypeError) as error:
        raise SignatureMismatch("the model version's signature names no inputs") from error
    if not found:
        raise SignatureMismatch("the model version's signature names no inputs")
    return sorted(found)


def change_weights(variants: Sequence[ProductionVariant], weights: dict[str, Decimal]) -> list[VariantRequest]:
    """The same variants with other weights; those not named keep theirs. Raises VariantUnknown, VariantsInvalid."""
    unknown = sorted(set(weights) - {variant.name for variant in variants})
    if unknown:
        raise VariantUnknown(
            f"the endpoint has no variant '{unknown[0]}'", variants=[variant.name for variant in variants]
        )
    changed = [
        VariantRequest(variant.name, variant.model_version_id, weights.get(variant.name, variant.weight))
        for variant in variants
    ]
    check_weights([variant.weight for variant in changed])
    return changed


def _words(found: Sequence[tuple[str, str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {datatype}{list(shape)}" for name, datatype, shape in found)

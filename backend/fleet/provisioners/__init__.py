"""Provisioners: who gives us machines. One Protocol; the contract tests run on each.

A machine is known by the tag that was committed before it was asked for (★5): `create` with a tag that exists
returns that machine, `describe` answers by tag, and *terminated* is said only when the machine has ended.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

MachineState = Literal["pending", "running", "shutting-down", "terminated"]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's machine. Times are the provider's own, Unix seconds."""

    tag: str
    state: MachineState
    launched_at: float | None = None
    terminated_at: float | None = None


class ProviderError(Exception):
    """The provider refused or could not be asked; trying again may help."""


class CapacityError(ProviderError):
    """The provider has no such machine to give now."""


class Provisioner(Protocol):
    """Creates, lists, describes and terminates machines by tag. Every call ends within its time-out."""

    def create(self, *, tag: str, instance_type: str, environment: Mapping[str, str]) -> Machine:
        """A machine with this tag, the existing one if there is one. Raises CapacityError, ProviderError."""

    def list(self) -> list[Machine]:
        """All machines of ours that have not been forgotten by the provider."""

    def describe(self, tag: str) -> Machine | None:
        """The machine of this tag; None = the provider has never heard of it, or has forgotten it."""

    def terminate(self, tag: str) -> Machine | None:
        """Ask for its end; calling again is harmless."""

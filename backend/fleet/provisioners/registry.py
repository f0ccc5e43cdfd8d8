"""Which provisioner serves which provider name, from settings; and `local` fitted to the Protocol."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from backend.core.settings import Settings
from backend.fleet.provisioners import CapacityError, Machine, ProviderError, Provisioner
from backend.fleet.provisioners.local import (
    LocalMachine,
    LocalMachineUnknown,
    LocalProviderError,
    LocalProviderRefused,
    LocalProvisioner,
)

OUT_OF_CAPACITY = "insufficient-capacity"


class LocalFitted:
    """The local daemon as a Provisioner: its errors and its machines in the Protocol's terms."""

    def __init__(self, socket: Path) -> None:
        self._client = LocalProvisioner(socket)

    def create(self, *, tag: str, instance_type: str, environment: Mapping[str, str]) -> Machine:
        """A machine with this tag, the existing one if there is one. Raises CapacityError, ProviderError."""
        try:
            return _machine(self._client.create(tag, instance_type, environment))
        except LocalProviderRefused as error:
            kind = CapacityError if error.code == OUT_OF_CAPACITY else ProviderError
            raise kind(str(error)) from error
        except LocalProviderError as error:
            raise ProviderError(str(error)) from error

    def list(self) -> list[Machine]:
        """All machines that are not terminated. Raises ProviderError."""
        try:
            return [_machine(each) for each in self._client.list()]
        except LocalProviderError as error:
            raise ProviderError(str(error)) from error

    def describe(self, tag: str) -> Machine | None:
        """The machine of this tag; None = never asked for."""
        try:
            return _machine(self._client.describe(tag))
        except LocalMachineUnknown:
            return None
        except LocalProviderError as error:
            raise ProviderError(str(error)) from error

    def terminate(self, tag: str) -> Machine | None:
        """Ask for its end; calling again is harmless."""
        try:
            return _machine(self._client.terminate(tag))
        except LocalMachineUnknown:
            return None
        except LocalProviderError as error:
            raise ProviderError(str(error)) from error


def _machine(local: LocalMachine) -> Machine:
    return Machine(
        tag=local.tag,
        state=local.state,
        launched_at=local.launched_at.timestamp() if local.launched_at else None,
        terminated_at=local.terminated_at.timestamp() if local.terminated_at else None,
    )


@lru_cache(maxsize=8)
def _local(socket: Path) -> Provisioner:
    return LocalFitted(socket)


def provisioners(settings: Settings) -> dict[str, Provisioner]:
    """Every provider this control plane can ask."""
    found: dict[str, Provisioner] = {}
    if settings.localhost_socket is not None:
        found["local"] = _local(settings.localhost_socket)
    return found


def provisioner_for(settings: Settings, provider: str) -> Provisioner:
    """The provisioner of this provider. Raises ProviderError when it is not configured."""
    try:
        return provisioners(settings)[provider]
    except KeyError:
        raise ProviderError(f"the provider '{provider}' is not configured on this control worker") from None

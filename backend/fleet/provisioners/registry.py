"""Which provisioner serves which provider name, from settings."""

from functools import lru_cache
from pathlib import Path

from backend.core.settings import Settings
from backend.fleet.provisioners import ProviderError, Provisioner
from backend.fleet.provisioners.local import LocalProvisioner


@lru_cache(maxsize=8)
def _local(socket: Path) -> Provisioner:
    return LocalProvisioner(socket)


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

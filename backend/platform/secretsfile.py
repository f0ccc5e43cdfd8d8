"""The secrets of one home: made at random at the first start, kept in `home/secrets.json` (0600)."""

import base64
import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from backend.platform.folders import write_private

_KEY_BYTES = 32


def _token() -> str:
    return secrets.token_urlsafe(_KEY_BYTES)


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


@dataclass(frozen=True, kw_only=True)
class HomeSecrets:
    """Role passwords, the agents' broker secret, the gateway's token, the key that wraps tenants' keys."""

    owner_password: str = field(default_factory=_token)
    app_password: str = field(default_factory=_token)
    controller_password: str = field(default_factory=_token)
    operator_password: str = field(default_factory=_token)
    agent_secret: str = field(default_factory=_token)
    gateway_token: str = field(default_factory=_token)
    master_key: str = field(default_factory=_key)


def home_secrets(home: Path) -> HomeSecrets:
    """Read the secrets of `home`; the first call makes them."""
    path = home / "secrets.json"
    try:
        return HomeSecrets(**json.loads(path.read_text()))
    except FileNotFoundError:
        made = HomeSecrets()
        write_private(path, json.dumps(asdict(made), indent=1) + "\n")
        return made

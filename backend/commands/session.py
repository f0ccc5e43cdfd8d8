"""Which platform, and who we are: from options, from the environment, or from the home of this machine's platform."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from modelyard.client import Client
    from modelyard.inference import InferenceClient

DEFAULT_HOME = ".modelyard"
Output = Literal["table", "json"]


@dataclass
class Session:
    """The global options of one run of the command. None = not given."""

    output: Output = "table"
    api_url: str | None = None
    api_key: str | None = None
    gateway_url: str | None = None
    home: Path = field(default_factory=lambda: Path(os.environ.get("MODELYARD_HOME") or DEFAULT_HOME))

    def client(self) -> "Client":
        """A client of the platform; close it. Raises Exit 1 when nothing says which, or who we are."""
        from modelyard.client import Client

        api_url, api_key = self._credentials()
        return Client(api_url, api_key)

    def inference(self) -> "InferenceClient":
        """A connection to the gateway; close it. Raises Exit 1."""
        from modelyard.inference import InferenceClient

        _, api_key = self._credentials()
        address = self.gateway_address
        if address is None:
            raise self._refuse("which gateway? Give --gateway-url or MODELYARD_GATEWAY_URL")
        return InferenceClient(address, api_key)

    @property
    def gateway_address(self) -> str | None:
        """Where endpoints answer, if we know."""
        if self.gateway_url is None and self._is_home(self.api_url):
            return self._home_address("gateway")
        return self.gateway_url

    def _credentials(self) -> tuple[str, str]:
        api_url = self.api_url or self._home_address("api")
        if api_url is None:
            raise self._refuse(
                f"no platform: none runs on {self.home} and --api-url (MODELYARD_API_URL) is not given;"
                " `modelyard up` starts one"
            )
        # The home's own key is for the home's own platform: it is never sent anywhere else.
        api_key = self.api_key or (self._owner().get("api_key") if self._is_home(self.api_url) else None)
        if api_key is None:
            raise self._refuse(f"no key for {api_url}: give --api-key or MODELYARD_API_KEY")
        return api_url, api_key

    def _is_home(self, api_url: str | None) -> bool:
        return api_url is None or api_url.rstrip("/") == self._home_address("api")

    def _home_address(self, name: str) -> str | None:
        """Of the platform that runs on the home, or of the one that was first started there."""
        found = _read(self.home / "run.json").get("addresses", {}).get(name) or self._owner().get(f"{name}_url")
        return str(found) if found else None

    def _owner(self) -> dict[str, Any]:
        return _read(self.home / "owner.json")

    def _refuse(self, reason: str) -> typer.Exit:
        from backend.commands.output import tell_error

        tell_error(reason, output=self.output)
        return typer.Exit(1)


def session_of(context: typer.Context) -> Session:
    """The global options, as the root of the command read them."""
    session = context.find_object(Session)
    return session if session is not None else Session()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

"""What an agent is told by its environment; read once, at the start."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

ENTRYPOINTS = frozenset({"worker.training", "worker.compression", "worker.sleeping"})
"""The modules that an attempt may name. Anything else is refused."""
STANDBY_ENTRYPOINTS = frozenset({"worker.training"})
"""Those of them that a standby may wait for: what takes long to load."""


class AgentSettingsMissing(Exception):
    """A variable that the agent cannot do without is not set, or is not what it should be."""


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one agent process."""

    api_url: str
    instance_token: str
    folder: Path
    runtime_folder: Path
    """Short folder for sockets that other processes of this host connect to."""
    unsafe_no_sandbox: bool = False
    stop_grace_seconds: float = 120.0
    """From SIGTERM to SIGKILL of a job that was asked to stop."""
    entrypoints: frozenset[str] = ENTRYPOINTS
    standby_entrypoints: frozenset[str] = STANDBY_ENTRYPOINTS
    code_roots: tuple[Path, ...] = ()
    """Folders importable inside the sandbox besides our own code."""


def settings_from(environment: Mapping[str, str], folder: Path) -> AgentSettings:
    """Settings from environment variables. Raises AgentSettingsMissing with what to set."""
    try:
        api_url = environment["MODELYARD_API_URL"]
        token = environment["MODELYARD_INSTANCE_TOKEN"]
    except KeyError as missing:
        raise AgentSettingsMissing(f"{missing.args[0]} must be set in the agent's environment") from None
    grace = environment.get("MODELYARD_STOP_GRACE_SECONDS", "120")
    try:
        grace_seconds = float(grace)
    except ValueError:
        raise AgentSettingsMissing(f"MODELYARD_STOP_GRACE_SECONDS must be a number of seconds, not {grace!r}") from None
    return AgentSettings(
        api_url=api_url.rstrip("/"),
        instance_token=token,
        folder=folder.resolve(),
        runtime_folder=_runtime_folder(environment),
        unsafe_no_sandbox=environment.get("MODELYARD_UNSAFE_NO_SANDBOX") == "1",
        stop_grace_seconds=grace_seconds,
    )


def _runtime_folder(environment: Mapping[str, str]) -> Path:
    named = environment.get("MODELYARD_AGENT_RUNTIME")
    if named:
        return Path(named)
    own = environment.get("XDG_RUNTIME_DIR")
    if own and os.geteuid() != 0 and Path(own).is_dir():
        return Path(own)
    return Path("/tmp")  # noqa: S108 # folders in it are made fresh and checked by replica.py

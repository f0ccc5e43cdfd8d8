"""Settings that contradict each other are refused, with what to set."""

import pytest
from pydantic import ValidationError

from backend.core.settings import ControlSettings, Settings

pytestmark = pytest.mark.unit


def test_an_api_that_restarts_must_not_lose_every_instance() -> None:
    with pytest.raises(ValidationError, match=r"must be 12 or more.*MODELYARD_CONTROL__LOST_AFTER_SECONDS"):
        Settings(control=ControlSettings(lost_after_seconds=5.0, heartbeat_seconds=1.0))


def test_the_least_that_survives_a_restart_is_allowed() -> None:
    settings = Settings(control=ControlSettings(lost_after_seconds=12.0, heartbeat_seconds=1.0))
    assert settings.control.lost_after_seconds == 12.0


def test_it_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_CONTROL__LOST_AFTER_SECONDS", "3")
    with pytest.raises(ValidationError, match="MODELYARD_CONTROL__LOST_AFTER_SECONDS"):
        Settings()


def test_trusted_proxies_reach_the_gateway_and_what_is_no_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_GATEWAY__TRUSTED_PROXIES", '["127.0.0.1", "fd00::/8"]')
    arguments = Settings().gateway.arguments()
    assert [arguments[at + 1] for at, word in enumerate(arguments) if word == "--trusted-proxy"] == [
        "127.0.0.1",
        "fd00::/8",
    ]
    monkeypatch.setenv("MODELYARD_GATEWAY__TRUSTED_PROXIES", '["10.0.0.1/8"]')
    with pytest.raises(ValidationError, match="has host bits set"):
        Settings()

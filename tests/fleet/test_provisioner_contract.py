"""What every provisioner promises (`backend.fleet.provisioners`). A new provider adds a subclass with its fixture."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from backend.fleet.provisioners import CapacityError, Machine, ProviderError, Provisioner
from backend.fleet.provisioners.registry import LocalFitted
from tests.localhost.test_local_provider import Host
from tests.platform.waiting import until

pytestmark = pytest.mark.integration

ENVIRONMENT = {"MODELYARD_API_URL": "http://127.0.0.1:1", "MODELYARD_INSTANCE_TOKEN": "secret"}


class ProvisionerContract:
    """Subclasses give `provisioner`, `out_of_capacity`, `unreachable`, and the type they can make."""

    instance_type: str

    @pytest.fixture
    def tag(self, provisioner: Provisioner) -> Iterator[str]:
        tag = f"my-{uuid4()}"
        yield tag
        provisioner.terminate(tag)
        assert until(lambda: self.is_over(provisioner.describe(tag)))

    @staticmethod
    def is_over(machine: Machine | None) -> bool:
        return machine is None or machine.state == "terminated"

    def create(self, provisioner: Provisioner, tag: str) -> Machine:
        return provisioner.create(tag=tag, instance_type=self.instance_type, environment=ENVIRONMENT)

    def test_an_unknown_tag_is_none_and_can_be_terminated(self, provisioner: Provisioner) -> None:
        assert provisioner.describe("my-nobody") is None
        assert provisioner.terminate("my-nobody") is None

    def test_a_machine_is_found_by_its_tag(self, provisioner: Provisioner, tag: str) -> None:
        assert self.create(provisioner, tag).tag == tag
        assert until(lambda: _state(provisioner, tag) == "running")
        machine = provisioner.describe(tag)
        assert machine is not None
        assert machine.launched_at is not None
        assert machine.terminated_at is None
        assert tag in [each.tag for each in provisioner.list()]

    def test_the_same_tag_is_the_same_machine(self, provisioner: Provisioner, tag: str) -> None:
        self.create(provisioner, tag)
        assert until(lambda: _state(provisioner, tag) == "running")
        before = provisioner.describe(tag)
        assert self.create(provisioner, tag) == before
        assert [each.tag for each in provisioner.list()].count(tag) == 1

    def test_it_is_terminated_only_once_it_has_ended(self, provisioner: Provisioner, tag: str) -> None:
        self.create(provisioner, tag)
        assert until(lambda: _state(provisioner, tag) == "running")
        asked = provisioner.terminate(tag)
        assert asked is not None
        assert asked.state in {"shutting-down", "terminated"}
        provisioner.terminate(tag)
        assert until(lambda: self.is_over(provisioner.describe(tag)))
        machine = provisioner.describe(tag)
        if machine is not None:
            assert machine.launched_at is not None
            assert machine.terminated_at is not None
            assert machine.terminated_at > machine.launched_at
        assert tag not in [each.tag for each in provisioner.list() if each.state != "terminated"]

    def test_an_ended_machine_is_not_made_again(self, provisioner: Provisioner, tag: str) -> None:
        self.create(provisioner, tag)
        provisioner.terminate(tag)
        assert until(lambda: self.is_over(provisioner.describe(tag)))
        assert self.create(provisioner, tag).state in {"shutting-down", "terminated"}

    def test_no_capacity_is_said_as_such_and_passes(
        self, provisioner: Provisioner, tag: str, out_of_capacity: None
    ) -> None:
        del out_of_capacity
        with pytest.raises(CapacityError):
            self.create(provisioner, tag)
        assert provisioner.describe(tag) is None
        assert self.create(provisioner, tag).state in {"pending", "running"}

    def test_a_tag_it_cannot_take_is_no_lack_of_capacity(self, provisioner: Provisioner) -> None:
        with pytest.raises(ProviderError) as refusal:
            self.create(provisioner, "No Tag!")
        assert not isinstance(refusal.value, CapacityError)

    def test_a_provider_that_is_away_is_a_provider_error(self, unreachable: Provisioner) -> None:
        for call in (
            unreachable.list,
            lambda: unreachable.describe("my-x"),
            lambda: unreachable.terminate("my-x"),
            lambda: self.create(unreachable, "my-x"),
        ):
            with pytest.raises(ProviderError) as refusal:
                call()
            assert not isinstance(refusal.value, CapacityError)


def _state(provisioner: Provisioner, tag: str) -> str | None:
    machine = provisioner.describe(tag)
    return None if machine is None else machine.state


class TestLocal(ProvisionerContract):
    instance_type = "local.cpu"

    @pytest.fixture
    def provisioner(self, host: Host) -> Provisioner:
        return LocalFitted(host.socket)

    @pytest.fixture
    def out_of_capacity(self, host: Host) -> None:
        host.provider.fail_next_create("no capacity")

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> Provisioner:
        return LocalFitted(tmp_path / "nobody.sock")

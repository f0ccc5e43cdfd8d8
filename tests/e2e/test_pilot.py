"""The main job over the public API, with other data, names and weights than the demo's; and a gate that refuses."""

import re
from decimal import Decimal

import pytest

from modelyard.errors import JobDidNotComplete
from tests.fixtures.digits import CALLS, SPLITS, DigitsPilot
from tests.fixtures.platform import ON_PLATFORM, RunningPlatform

pytestmark = ON_PLATFORM


def test_everything_was_as_it_should_be(digits_pilot: DigitsPilot) -> None:
    assert digits_pilot.outcome.problems == []
    report = digits_pilot.outcome.report
    assert (report["train_images"], report["test_images"]) == (SPLITS["train"], SPLITS["test"])
    assert report["input_datatype"] == "UINT8"
    assert report["input_shape"][1:] == [1, 8, 8]
    assert report["accuracy_blue"] >= 0.93
    assert report["accuracy_green"] >= 0.93
    assert sum(report["requests_per_variant"].values()) == CALLS
    assert report["seconds_submit_to_first_step"] > 0


def test_two_seeds_made_two_models_of_one_dataset_version(digits_pilot: DigitsPilot) -> None:
    blue, green = digits_pilot.versions["blue"], digits_pilot.versions["green"]
    digests = [{file.name: file.sha256 for file in version.files} for version in (blue, green)]
    assert digests[0]["model.onnx"] != digests[1]["model.onnx"]
    assert blue.dataset_version_id == green.dataset_version_id is not None
    assert blue.job_id != green.job_id


def test_each_charge_is_quantity_times_price_and_the_total_their_sum(
    platform: RunningPlatform, digits_pilot: DigitsPilot
) -> None:
    charges = digits_pilot.outcome.report["charges"]
    for charge in charges:
        assert Decimal(charge["quantity"]) * Decimal(charge["unit_price"]) == Decimal(charge["amount"]), charge
    assert sum(Decimal(charge["amount"]) for charge in charges) == Decimal(digits_pilot.outcome.report["total"])
    prices = {price["sku"]: Decimal(price["amount"]) for price in platform.client().costs.prices()}
    assert {(charge["sku"], Decimal(charge["unit_price"])) for charge in charges} <= set(prices.items())


def test_calls_are_billed_per_variant_to_the_call(digits_pilot: DigitsPilot) -> None:
    report = digits_pilot.outcome.report
    for variant in ("blue", "green"):
        billed = sum(
            Decimal(charge["quantity"])
            for charge in report["charges"]
            if charge["unit"] == "call" and charge["resource"].endswith(f"/{variant}")
        )
        assert billed == SPLITS["test"] + report["requests_per_variant"][variant]


def test_a_gate_that_refuses_fails_the_job_with_its_numbers_and_registers_nothing(
    platform: RunningPlatform, digits_pilot: DigitsPilot
) -> None:
    client = platform.client()
    before = {version.id for model in client.models.list() for version in client.models.versions(model.id)}
    names = {model.name for model in client.models.list()}
    job = client.compression_jobs.create(
        digits_pilot.project_id,
        "impossible",
        model_version_id=digits_pilot.versions["blue"].id,
        model_name="never-made",
        parameters={"minimum_speedup": 500.0},
    )
    with pytest.raises(JobDidNotComplete):
        client.jobs.wait(job.id, timeout_seconds=120)
    ended = client.jobs.get(job.id)
    assert ended.status == "failed"
    assert ended.failure is not None
    assert ended.failure["failure_class"] == "gate"
    said = re.search(r"([\d.]+) x as fast \(([\d.]+) ms to ([\d.]+) ms\), and 500", ended.failure["reason"])
    assert said is not None, ended.failure["reason"]
    assert all(float(number) > 0 for number in said.groups())
    assert "model_version_id" not in ended.output
    assert {model.name for model in client.models.list()} == names
    assert {version.id for model in client.models.list() for version in client.models.versions(model.id)} == before
    with platform.database("operator").engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT count(*) FROM model_versions WHERE job_id = %s", (job.id,))
        assert found.scalar_one() == 0

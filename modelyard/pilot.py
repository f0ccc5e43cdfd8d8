"""The main job, end to end, as an integrator would run it over the public API.

dataset in parts → frozen version → training jobs and a compression job → endpoint with an A/B split → the whole test
split to each variant → untargeted calls → the bill. Every figure in the report comes from the platform's answers.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from modelyard.client import Client
from modelyard.images import pixels
from modelyard.inference import InferenceClient
from modelyard.types import Charge, DatasetFile, DatasetVersion, Job, ModelVersion

Tell = Callable[[str], None]
CONNECTIONS = 8
BILL_TIMEOUT_SECONDS = 90.0
SECONDS_BETWEEN_LINES = 3.0
ROUNDING = 1e-9  # 98.4 % less 0.5 points must not refuse 97.9 %


@dataclass(frozen=True)
class VariantPlan:
    """A production variant: trained with a seed, or compressed from the variant before it."""

    name: str
    weight: float
    seed: int = 0
    compressed_from: str | None = None


@dataclass(frozen=True)
class Plan:
    """What the pilot does. The same code runs whatever data, names and weights it is given."""

    project: str
    name: str
    archive: Path
    splits: Mapping[str, int]
    variants: Sequence[VariantPlan]
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    compression: Mapping[str, Any] = field(default_factory=dict)
    requests: int = 10_000
    split_tolerance: float = 0.03
    minimum_accuracy: float = 0.0
    maximum_loss_points: float = 0.5
    part_size_bytes: int = 512 * 1024


@dataclass
class Outcome:
    """What the pilot saw. `problems` is empty exactly when everything was as it should be."""

    report: dict[str, Any]
    problems: list[str]


class Pilot:
    """Runs a plan against one platform."""

    def __init__(self, client: Client, gateway_url: str, api_key: str, plan: Plan, tell: Tell) -> None:
        self.client = client
        self.gateway_url = gateway_url
        self.api_key = api_key
        self.plan = plan
        self.tell = tell
        self.problems: list[str] = []

    def run(self) -> Outcome:
        """The whole story. Raises ModelyardError when a step cannot be carried out."""
        started = time.monotonic()
        project = self.client.projects.ensure(self.plan.project)
        version = self._bring_data(project.id)
        versions, jobs = self._make_models(project.id, version)
        endpoint = self._deploy(project.id, versions)
        test = self._test_split(version)
        accuracy = {
            variant.name: self._accuracy(endpoint, variant.name, versions, test) for variant in self.plan.variants
        }
        counted = self._untargeted(versions, endpoint, test)
        charges = self._bill(jobs, endpoint, versions, calls=len(test) * len(versions) + self.plan.requests)
        report = self._report(version, versions, jobs, endpoint, accuracy, counted, charges)
        report["seconds_total"] = round(time.monotonic() - started, 3)
        self.judge(accuracy, counted, version)
        return Outcome(report, self.problems)

    # --- data and models ------------------------------------------------------------------------

    def _bring_data(self, project_id: str) -> DatasetVersion:
        self.tell(f"dataset '{self.plan.name}': uploading {self.plan.archive.stat().st_size:,} bytes in parts")
        dataset = self.client.datasets.create(project_id, self.plan.name)
        upload = self.client.datasets.upload(dataset.id, self.plan.archive, part_size_bytes=self.plan.part_size_bytes)
        version = self.client.datasets.freeze(dataset.id, splits=self.plan.splits, seed=17)
        split = " / ".join(f"{count:,} {name}" for name, count in version.splits.items())
        self.tell(f"dataset version {version.number}: {upload.file_count:,} images checked, frozen as {split}")
        return version

    def _make_models(self, project_id: str, version: DatasetVersion) -> tuple[dict[str, ModelVersion], dict[str, Job]]:
        versions: dict[str, ModelVersion] = {}
        jobs: dict[str, Job] = {}
        for variant in self.plan.variants:
            job = self._submit(project_id, version, variant, versions)
            self.tell(f"{job.kind} job '{job.name}': {job.status}")
            job = self.client.jobs.wait(job.id, told=self._follow())
            made = self.client.models.version(job.output["model_version_id"])
            versions[variant.name], jobs[variant.name] = made, job
            figures = ", ".join(
                f"{name} {value:.4f}" for name, value in sorted(made.metrics.items()) if "accuracy" in name
            )
            self.tell(f"model version {made.number} registered ({made.size_bytes:,} bytes; {figures})")
        return versions, jobs

    def _submit(
        self, project_id: str, version: DatasetVersion, variant: VariantPlan, made: Mapping[str, ModelVersion]
    ) -> Job:
        name = f"{self.plan.name}-{variant.name}"
        if variant.compressed_from is not None:
            return self.client.compression_jobs.create(
                project_id,
                name,
                model_version_id=made[variant.compressed_from].id,
                parameters=self.plan.compression,
            )
        return self.client.training_jobs.create(
            project_id,
            name,
            dataset_version_id=version.id,
            model_name=self.plan.name,
            hyperparameters={**self.plan.hyperparameters, "seed": variant.seed},
        )

    def _follow(self) -> Callable[[Job], None]:
        """Tell a job's status changes and, now and then, its progress."""
        status, said = "", 0.0

        def told(job: Job) -> None:
            nonlocal status, said
            now = time.monotonic()
            due = job.progress is not None and not job.ended and now - said > SECONDS_BETWEEN_LINES
            if job.status != status or due:
                step = f", step {job.progress.step} of {job.progress.total_steps}" if job.progress else ""
                phase = f" ({job.progress.phase})" if job.progress and not job.ended else ""
                self.tell(f"  {job.name}: {job.status}{step}{phase}")
                status, said = job.status, now

        return told

    def _deploy(self, project_id: str, versions: Mapping[str, ModelVersion]) -> dict[str, Any]:
        endpoint = self.client.endpoints.create(
            project_id,
            self.plan.name,
            variants=[
                {"name": each.name, "model_version_id": versions[each.name].id, "weight": each.weight}
                for each in self.plan.variants
            ],
        )
        self.tell(f"endpoint '{endpoint.name}': {endpoint.status}; every variant is probed before it serves")
        self.client.endpoints.wait(endpoint.id)
        self.tell(f"endpoint '{endpoint.name}': in service")
        return self.client.endpoints.detail(endpoint.id)

    # --- inference --------------------------------------------------------------------------------

    def _test_split(self, version: DatasetVersion) -> list[tuple[DatasetFile, bytes]]:
        files = list(self.client.datasets.files(version.id, split="test"))
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            contents = list(pool.map(lambda each: self.client.datasets.read(version.id, each.sha256), files))
        return [(file, pixels(content)) for file, content in zip(files, contents, strict=True)]

    def _accuracy(
        self,
        endpoint: Mapping[str, Any],
        variant: str,
        versions: Mapping[str, ModelVersion],
        test: Sequence[tuple[DatasetFile, bytes]],
    ) -> float:
        """The whole test split to one variant, by header; the share answered rightly."""
        signature = versions[variant].signature
        classes = signature["classes"]

        def right(share: Sequence[tuple[DatasetFile, bytes]]) -> int:
            count = 0
            with InferenceClient(self.gateway_url, self.api_key) as inference:
                for file, raw in share:
                    answer = inference.infer(endpoint["name"], **tensor(signature, raw), target_variant=variant)
                    scores = answer.output()
                    count += classes[scores.index(max(scores))] == file.label
                    if answer.variant != variant:
                        raise AssertionError(f"asked {variant}, {answer.variant} answered")
            return count

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            shares = [test[start::CONNECTIONS] for start in range(CONNECTIONS)]
            accuracy = sum(pool.map(right, shares)) / len(test)
        self.tell(f"variant '{variant}': {accuracy:.2%} of {len(test):,} test images, over the endpoint")
        return accuracy

    def _untargeted(
        self,
        versions: Mapping[str, ModelVersion],
        endpoint: Mapping[str, Any],
        test: Sequence[tuple[DatasetFile, bytes]],
    ) -> Counter[str]:
        """Calls that name no variant; who answered how many."""
        signature = next(iter(versions.values())).signature

        def call(share: int) -> Counter[str]:
            seen: Counter[str] = Counter()
            with InferenceClient(self.gateway_url, self.api_key) as inference:
                for number in range(share, self.plan.requests, CONNECTIONS):
                    raw = test[number % len(test)][1]
                    seen[inference.infer(endpoint["name"], **tensor(signature, raw)).variant] += 1
            return seen

        started = time.monotonic()
        total: Counter[str] = Counter()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for seen in pool.map(call, range(CONNECTIONS)):
                total += seen
        rate = self.plan.requests / (time.monotonic() - started)
        shares = ", ".join(f"{name} {count / self.plan.requests:.1%}" for name, count in sorted(total.items()))
        self.tell(f"{self.plan.requests:,} untargeted calls at {rate:,.0f}/s from one Python client: {shares}")
        return total

    # --- the bill ---------------------------------------------------------------------------------

    def _bill(
        self,
        jobs: Mapping[str, Job],
        endpoint: Mapping[str, Any],
        versions: Mapping[str, ModelVersion],
        *,
        calls: int,
    ) -> list[Charge]:
        """Wait until every call, every attempt and a first slice of the replica are on the bill.

        The endpoint stays in service: its later seconds go on to the next charges.
        """
        resources = [job.id for job in jobs.values()] + [endpoint["id"]]
        until = time.monotonic() + BILL_TIMEOUT_SECONDS
        while True:
            # The jobs have ended, so all of theirs must be rated; the endpoint goes on using, so it is never done.
            waiting = any(
                not each["rated_at"] for job in jobs.values() for each in self.client.costs.usage(resource_id=job.id)
            )
            charges = [each for resource in resources for each in self.client.costs.charges(resource_id=resource)]
            billed = sum(each.quantity for each in charges if each.unit == "call")
            covered = {each.resource_id for each in charges if each.unit == "second"}
            if billed == calls and covered == set(resources) and not waiting:
                break
            if time.monotonic() > until:
                self.problems.append(f"{billed} of {calls} calls are on the bill after {BILL_TIMEOUT_SECONDS:.0f} s")
                break
            time.sleep(0.5)
        self.tell(f"bill: {len(charges)} charges for {len(versions)} models and {calls:,} calls")
        return charges

    # --- report -----------------------------------------------------------------------------------

    def _report(
        self,
        version: DatasetVersion,
        versions: Mapping[str, ModelVersion],
        jobs: Mapping[str, Job],
        endpoint: Mapping[str, Any],
        accuracy: Mapping[str, float],
        counted: Counter[str],
        charges: Sequence[Charge],
    ) -> dict[str, Any]:
        first = next(iter(jobs.values()))
        entry = next(iter(versions.values())).signature["inputs"][0]
        report: dict[str, Any] = {
            "endpoint": endpoint["name"],
            "input_name": entry["name"],
            "input_shape": entry["shape"],
            "input_datatype": entry["datatype"],
            "train_images": version.splits["train"],
            "test_images": version.splits["test"],
            "requests": self.plan.requests,
            "requests_per_variant": dict(counted),
            "charges": [
                {
                    "resource": f"{each.resource_kind}/{each.resource_name}"
                    + (f"/{each.variant}" if each.variant else ""),
                    "sku": each.sku,
                    "quantity": format(each.quantity, "f"),
                    "unit": each.unit,
                    "unit_price": format(each.unit_price, "f"),
                    "amount": format(each.amount, "f"),
                }
                for each in charges
            ],
            "total": format(sum((each.amount for each in charges), Decimal(0)), "f"),
            "seconds_submit_to_first_step": _seconds_to_first_step(first),
        }
        for name, made in versions.items():
            report[f"accuracy_{name}"] = accuracy[name]
            report[f"size_bytes_{name}"] = made.size_bytes
            parent = next((each for each in versions.values() if each.id == made.parent_version_id), None)
            latency = made.report.get("latency_ms")
            if isinstance(latency, dict) and parent is not None:
                before = next(key for key, each in versions.items() if each is parent)
                report[f"latency_ms_{before}"], report[f"latency_ms_{name}"] = latency["before"], latency["after"]
        return report

    def judge(self, accuracy: Mapping[str, float], counted: Counter[str], version: DatasetVersion) -> None:
        """What must hold for the pilot to have worked."""
        whole = sum(each.weight for each in self.plan.variants)
        for variant in self.plan.variants:
            wanted, seen = variant.weight / whole, counted[variant.name] / self.plan.requests
            if abs(wanted - seen) > self.plan.split_tolerance:
                self.problems.append(f"variant '{variant.name}' got {seen:.1%} of the calls, not {wanted:.1%}")
            floor = self.plan.minimum_accuracy
            if variant.compressed_from is not None:
                floor = accuracy[variant.compressed_from] - self.plan.maximum_loss_points / 100
            if accuracy[variant.name] < floor - ROUNDING:
                self.problems.append(
                    f"variant '{variant.name}' is right in {accuracy[variant.name]:.2%}, not {floor:.2%}"
                )
        if dict(version.splits) != dict(self.plan.splits):
            self.problems.append(f"the version was split {version.splits}, not {dict(self.plan.splits)}")


def tensor(signature: Mapping[str, Any], raw: bytes) -> dict[str, Any]:
    """Arguments of `InferenceClient.infer` for one image of raw pixels."""
    entry = signature["inputs"][0]
    return {"name": entry["name"], "shape": [1, *entry["shape"][1:]], "datatype": entry["datatype"], "raw": raw}


def _seconds_to_first_step(job: Job) -> float | None:
    if job.first_step_at is None:
        return None
    return round((job.first_step_at - job.created_at).total_seconds(), 3)

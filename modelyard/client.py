"""`Client`: projects, datasets, jobs, models, endpoints, costs, as an integrator sees them."""

from typing import Any, Self

from modelyard.costs import Budgets, Costs
from modelyard.datasets import Datasets, Projects
from modelyard.endpoints import Endpoints, Models
from modelyard.events import Subscriptions
from modelyard.jobs import CompressionJobs, Jobs, TrainingJobs
from modelyard.organization import ApiKeys, Audit, Instances, Lineage, Members
from modelyard.transport import Transport


class Client:
    """A connection to one Modelyard. Use it as a context manager, or `close()` it."""

    def __init__(self, api_url: str, api_key: str, *, timeout_seconds: float = 60.0) -> None:
        self.transport = Transport(api_url, api_key, timeout_seconds=timeout_seconds)
        self.projects = Projects(self.transport)
        self.datasets = Datasets(self.transport)
        self.jobs = Jobs(self.transport)
        self.training_jobs = TrainingJobs(self.transport)
        self.compression_jobs = CompressionJobs(self.transport)
        self.models = Models(self.transport)
        self.endpoints = Endpoints(self.transport)
        self.costs = Costs(self.transport)
        self.budgets = Budgets(self.transport)
        self.members = Members(self.transport)
        self.api_keys = ApiKeys(self.transport)
        self.audit = Audit(self.transport)
        self.instances = Instances(self.transport)
        self.lineage = Lineage(self.transport)
        self.subscriptions = Subscriptions(self.transport)

    def me(self) -> dict[str, Any]:
        """Whose key this is."""
        return self.transport.get("/api/v1/me", dict[str, Any])

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

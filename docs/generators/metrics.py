"""The Prometheus metrics that exist, from the collectors of the process that serves `/metrics`."""

import inspect
import re
from collections.abc import Iterable

from prometheus_client import REGISTRY
from prometheus_client.core import Metric

from backend.core import bell
from backend.core.metrics import Metrics
from docs.generators.schemas import table


def pages() -> dict[str, str]:
    """`reference/metrics.md`."""
    requests = Metrics()
    requests.observe(method="GET", route="/", status=200, seconds=0.0)  # labels show in samples only
    found = {metric.name: metric for metric in [*requests.registry.collect(), *REGISTRY.collect()]}
    ours = [metric for name, metric in sorted(found.items()) if name.startswith("modelyard_")]
    others = [metric for name, metric in sorted(found.items()) if not name.startswith("modelyard_")]
    return {
        "reference/metrics.md": (
            f"{_INTRODUCTION}## Modelyard's own\n\n{_table(ours)}## The process's\n\n{_table(others)}"
            f"{_LABELS.format(outcomes=_outcomes())}"
        )
    }


_INTRODUCTION = """# Metrics

`GET /metrics` on the API's port answers in Prometheus's text format, without a credential; keep it inside your network.
Labels never carry a tenant, a key or an id: `route` is the template (`/api/v1/jobs/{job_id}`), or `other` for what
matched none. Beside each counter and histogram stands `…_created`, when it began. The gateway and the control
worker serve no metrics yet.

"""

_LABELS = """## Labels

- `method`, `route`, `status`: of the request. A histogram has buckets by `le`, in seconds.
- `outcome` of a doorbell: {outcomes}. A doorbell that was not delivered costs seconds, never work.
"""


def _table(metrics: Iterable[Metric]) -> str:
    rows = [
        (
            f"`{metric.name}{'_total' if metric.type == 'counter' else ''}`",
            metric.type,
            metric.documentation,
            _labels(metric),
        )
        for metric in metrics
    ]
    return table(("metric", "type", "what it is", "labels"), rows)


def _labels(metric: Metric) -> str:
    if metric.name == "modelyard_doorbells":
        return "`outcome`"
    names = {label for sample in metric.samples for label in sample.labels}
    return ", ".join(f"`{name}`" for name in sorted(names))


def _outcomes() -> str:
    """As the code counts them."""
    words = re.findall(r'RUNG\.labels\("(\w+)"\)', inspect.getsource(bell))
    return ", ".join(f"`{word}`" for word in sorted(set(words)))

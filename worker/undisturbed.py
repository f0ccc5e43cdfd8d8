"""Instances that run as they should, many at a time: most looks at an instance find nothing to do.

A look at one instance asks its provider and its broker and takes two transactions (`worker.tasks.fleet`). Where many
are due, the provider is asked once for all its machines and Postgres a few questions about all rows; whoever speaks,
has something to do, has no slice due and is among the running machines is due again later. The others get their own
look.
"""

from collections.abc import Mapping
from typing import Final

import structlog

from backend.core import queue
from backend.fleet import broker_users
from backend.fleet.metering import FIRST_SLICE_SECONDS
from backend.fleet.models import Instance
from backend.fleet.provisioners import ProviderError
from backend.fleet.provisioners.registry import provisioners
from backend.fleet.sweep_repository import count_due_ready, lock_due_ready, undisturbed_instances
from worker.context import ControlContext

log = structlog.get_logger(__name__)

MANY: Final = 4
"""From so many due rows on, listing machines is cheaper than asking for each."""
LOOK: Final = 1000

Running = Mapping[str, frozenset[str]]
"""Tags of the machines that run, by provider."""


def many_are_due(context: ControlContext) -> bool:
    """Whether enough ready instances are due for a look at all of them."""
    with context.database.unit_of_work() as session:
        return count_due_ready(session, limit=MANY) == MANY


def running_machines(context: ControlContext) -> Running:
    """What the providers say, with no session open. One that does not answer runs nothing that we know of."""
    found: dict[str, frozenset[str]] = {}
    for name, provisioner in provisioners(context.settings).items():
        try:
            found[name] = frozenset(machine.tag for machine in provisioner.list() if machine.state == "running")
        except ProviderError as error:
            log.info("provider_error", provider=name, error=str(error))
    return found


def postpone_undisturbed(context: ControlContext, running: Running, *, seconds: float) -> tuple[int, int]:
    """One look at due ready instances; returns (how many it looked at, how many need a look of their own).

    `running` was said before: a machine that ended since is found at the next look.
    """
    control = context.settings.control
    with context.database.unit_of_work() as session:
        due = lock_due_ready(session, limit=LOOK)
        found = undisturbed_instances(
            session,
            due,
            lost_after=control.lost_after_seconds,
            slice_seconds=control.usage_slice_seconds,
            first_slice=FIRST_SLICE_SECONDS,
        )
        quiet = [each for each, (provider, tag) in found.items() if tag in running.get(provider, ())]
        queue.postpone(session, Instance, quiet, seconds=seconds)
    broker_users.ensure_all(context.settings, quiet)
    return len(due), len(due) - len(quiet)

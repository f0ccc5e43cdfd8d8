"""Which process a case strikes."""

import contextlib
from collections.abc import Sequence

import psutil

from tests.chaos.matrix.cases import CONTROL_PLANE
from tests.chaos.matrix.patience import eventually
from tests.fixtures.platform import RunningPlatform
from tests.platform.waiting import living

MODULES = {
    "trainer": "worker.training",
    "compressor": "worker.compression",
    "replica": "worker.serving.replica",
    "server": "worker.serving.replica",
}
APPEARS_SECONDS = 20.0


def find(platform: RunningPlatform, process: str, tags: Sequence[str]) -> psutil.Process:
    """The living process of that role: a service, or one on the newest machine of `tags` that has it.

    Waits for one that is just being started; raises Red when none comes.
    """
    return eventually(f"a process {process}", lambda: look(platform, process, tags), seconds=APPEARS_SECONDS)


def look(platform: RunningPlatform, process: str, tags: Sequence[str]) -> psutil.Process | None:
    """The same without waiting."""
    with contextlib.suppress(psutil.NoSuchProcess, AssertionError, KeyError):
        if process in (*CONTROL_PLANE, "gateway"):
            return platform.child(process)
        for tag in reversed(tags):
            found = _on_machine(platform, process, tag)
            if found is not None:
                return found
    return None


def _on_machine(platform: RunningPlatform, process: str, tag: str) -> psutil.Process | None:
    agent = agent_of(platform, tag)
    if agent is None or process == "agent":
        return agent
    inside = [one for one in living(agent.children(recursive=True)) if _runs(one, MODULES[process])]
    inside.sort(key=lambda one: len(one.parents()))
    if process == "replica":
        return inside[0] if inside else None
    if process == "server":
        return next((one for one in reversed(inside) if one.ppid() == inside[0].pid), None)
    # The innermost, and of several the oldest: a process that is kept ready for the next job is younger.
    return max(inside, key=lambda one: (len(one.parents()), -one.create_time()), default=None)


def agent_of(platform: RunningPlatform, tag: str) -> psutil.Process | None:
    """The agent on a machine: the one child of the machine's process one."""
    folder = str(platform.home / "instances" / tag)
    for one in living(platform.child("localhost").children(recursive=False)):
        if folder in one.cmdline():
            return next(iter(living(one.children())), None)
    return None


def _runs(process: psutil.Process, module: str) -> bool:
    """Whether it is Python running the module: the sandbox around it has the same words on its command line."""
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return False
    return module in words and "python" in words[0].rpartition("/")[2]


def tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and all below it."""
    return [process, *process.children(recursive=True)]

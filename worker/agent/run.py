"""What attempts and replicas have in common: one assignment lived in one thread, told in reports."""

import logging
import threading
from collections.abc import Callable

import msgspec

from backend.core.wire import Ended, Failure
from worker.agent.control import ControlPlane, StaleEpoch, Unauthorized, Unreachable
from worker.agent.inputs import InputCache, InputNotUsable
from worker.agent.limits import make_group
from worker.agent.process import SandboxedProcess, SandboxNotStarted
from worker.agent.reporter import Reporter
from worker.agent.sandbox import Sandbox, SandboxMissing, SandboxRequest
from worker.agent.settings import AgentSettings
from worker.agent.spool import Spool
from worker.agent.standby import Standby, WaitingProcess
from worker.agent.state import AssignmentFolder
from worker.agent.uploads import UploadAbandoned
from worker.agent.usage import NO_ROOM, SegmentShipper

FETCH_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_LOG = logging.getLogger(__name__)


class AgentHost(msgspec.Struct, frozen=True, kw_only=True):
    """What every assignment uses of its agent."""

    settings: AgentSettings
    control: ControlPlane
    cache: InputCache
    sandbox: Sandbox
    wake: Callable[[], None]


class StopRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants the process to end. `interruption`: not its owner, but the instance going away."""

    reason: str
    interruption: bool = False


class StoppedBeforeStart(Exception):
    """Asked to stop while the inputs were still being fetched."""


class EntrypointNotAllowed(Exception):
    """The assignment names a module that this agent does not run."""


class AssignmentRun:
    """One assignment in this agent's hands. `live` runs in a thread of its own and returns the last report."""

    shipper: SegmentShipper | None = None
    """Delivers its usage, where it has any."""

    def __init__(self, host: AgentHost, folder: AssignmentFolder) -> None:
        self.host = host
        self.folder = folder
        self.spool = Spool(folder.path / "spool", folder.key.id, folder.key.epoch)
        self.reporter = Reporter(self.spool, folder.elapsed_seconds, host.wake)
        self.stop_request: StopRequest | None = None
        self.abandoned = threading.Event()
        """The epoch is over: end without a word."""
        self.done = threading.Event()
        self.waiting: WaitingProcess | None = None
        """A standby's process that is to become this assignment's."""
        self._thread = threading.Thread(target=self._run, name=f"assignment-{folder.key.id[:8]}", daemon=True)

    def start(self, standby: Standby | None = None) -> None:
        """Begin: in the thread of the standby, if there is one, else in one of its own."""
        if standby is not None and standby.give(self._run):
            self._thread = standby.thread
        else:
            self._thread.start()

    def stop(self, request: StopRequest) -> None:
        """Ask for an orderly end; the first request counts."""
        if self.stop_request is None and not self.done.is_set():
            _LOG.info("assignment %s: asked to stop: %s", self.folder.key.id, request.reason)
            self.stop_request = request

    def abandon(self) -> None:
        """End at once, without a word."""
        self.abandoned.set()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the thread."""
        self._thread.join(timeout_seconds)

    def start_process(self, request: SandboxRequest) -> SandboxedProcess:
        """Start the assignment's process in its limits; its seconds count from now if it is the first."""
        group = make_group(f"modelyard-{self.folder.key.id}-{self.folder.key.epoch}", request.limits)
        self.folder.state.cgroups = group.folders
        self.folder.save()
        try:
            process = SandboxedProcess(self.host.sandbox, request, group)
        except Exception:
            group.remove()
            raise
        if self.folder.state.phase == "preparing":
            self.folder.mark_started()
        return process

    def live(self) -> Ended:
        """Do what the assignment says, to its end."""
        raise NotImplementedError

    def adopt_process(self, entrypoint: str) -> SandboxedProcess | None:
        """Let the standby's process become this assignment's; its seconds count from now. None: it is dead, or none."""
        waiting, self.waiting = self.waiting, None
        if waiting is None:
            return None
        if not waiting.begin(entrypoint):
            waiting.end()
            return None
        waiting.hang_up()
        self.folder.mark_started()
        return waiting.process

    def _run(self, waiting: WaitingProcess | None = None) -> None:
        self.waiting = waiting
        ended = None
        try:
            ended = self.live()
        except (StaleEpoch, Unauthorized, UploadAbandoned) as error:
            _LOG.info("assignment %s: forgotten: %s", self.folder.key.id, error)
        except StoppedBeforeStart:
            ended = stopped(self.stop_request)
        except (SandboxMissing, SandboxNotStarted, InputNotUsable, EntrypointNotAllowed) as error:
            ended = platform_failure(str(error), self.reporter.tail())
        except OSError as error:
            _LOG.exception("assignment %s: the agent failed", self.folder.key.id)
            full = error.errno in NO_ROOM
            what = "The instance's disk is full" if full else f"The agent failed: {type(error).__name__}"
            ended = platform_failure(f"{what}: {error}", self.reporter.tail())
        except Exception as error:  # noqa: BLE001 # the edge of the thread: every end must be told
            _LOG.exception("assignment %s: the agent failed", self.folder.key.id)
            ended = platform_failure(f"The agent failed: {type(error).__name__}: {error}", self.reporter.tail())
        if self.waiting is not None:
            self.waiting.end()
        self.folder.stop_counting()
        if ended is not None and not self.abandoned.is_set():
            self.reporter.tell(ended)
            failure = f": {ended.failure.reason}" if ended.failure else ""
            _LOG.info("assignment %s: %s%s", self.folder.key.id, ended.outcome, failure)
        self.folder.mark_ended()
        self.host.control.close()
        self.done.set()
        self.host.wake()

    def patiently(self, fetch: Callable[[], None]) -> None:
        """Fetch inputs, again and again while the control plane is away, until it is there or nobody wants it."""
        tries = 0
        while True:
            if self.abandoned.is_set():
                raise UploadAbandoned(self.folder.key.id)
            if self.stop_request is not None:
                raise StoppedBeforeStart
            try:
                fetch()
            except Unreachable as error:
                _LOG.info("assignment %s: inputs wait: %s", self.folder.key.id, error)
                self.abandoned.wait(FETCH_RETRY_SECONDS[min(tries, len(FETCH_RETRY_SECONDS) - 1)])
                tries += 1
            else:
                return


def platform_failure(reason: str, tail: list[str]) -> Ended:
    """An end that is nobody's fault but ours."""
    return Ended(outcome="failed", failure=Failure(failure_class="platform", reason=reason, log_tail=tail))


def stopped(request: StopRequest | None) -> Ended:
    """An end that was asked for; an interruption says so in its failure."""
    if request is not None and request.interruption:
        failure = Failure(failure_class="interruption", reason=request.reason)
        return Ended(outcome="stopped", failure=failure)
    return Ended(outcome="stopped")

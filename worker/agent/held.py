"""Every assignment this agent holds, running, ended or left by an agent before it; and what the control plane wants."""

import logging
import shutil
from pathlib import Path

from msgspec import Raw

from backend.core.wire import Assignment, Ended, Failure, RunningAssignment, SyncReply
from worker.agent.attempt import AttemptRun
from worker.agent.control import AssignmentKey
from worker.agent.limits import remove_groups
from worker.agent.replica import ReplicaRun
from worker.agent.run import AgentHost, AssignmentRun, StopRequest, stopped
from worker.agent.spool import Spool
from worker.agent.state import AssignmentFolder, make_private
from worker.agent.usage import SegmentShipper

REPORTS_PER_SYNC = 200
BYTES_PER_SYNC = 1 << 20
JOIN_SECONDS = 10.0
_LOG = logging.getLogger(__name__)


class Held:
    """One assignment in one epoch. `run` is None for one that nothing runs for: left over, or never started."""

    def __init__(
        self, folder: AssignmentFolder, spool: Spool, run: AssignmentRun | None, shipper: SegmentShipper | None
    ) -> None:
        self.folder = folder
        self.spool = spool
        self.run = run
        self.shipper = shipper
        self.muted = False
        """Its epoch is over: nothing of it is told any more."""
        self.finished = False
        """Everything is told and shipped; only the mark stays that it was here, while it is still listed."""

    @property
    def ended(self) -> bool:
        """True when nothing of it runs."""
        return self.run is None or self.run.done.is_set()

    @property
    def untold(self) -> int:
        """How many reports are to be told."""
        return 0 if self.muted or self.finished else self.spool.pending


class Holdings:
    """All of them. Used by the sync loop; `ship_usage` by another thread."""

    def __init__(self, host: AgentHost, folder: Path) -> None:
        self._host = host
        self._root = make_private(folder / "assignments")
        self._refused = folder / "refused-usage"
        self._held: dict[AssignmentKey, Held] = {}
        self._draining: StopRequest | None = None
        self._advanced = False

    # --- after a restart ------------------------------------------------------------------------

    def recover(self) -> None:
        """Take over what an agent before this one left: replay its reports, say that it was interrupted."""
        for path in sorted(self._root.iterdir()):
            folder = AssignmentFolder.load(path)
            if folder is None:
                shutil.rmtree(path)
                continue
            remove_groups(folder.state.cgroups)
            self._held[folder.key] = self._recovered(folder)

    def _recovered(self, folder: AssignmentFolder) -> Held:
        told = (folder.path / "spool").exists()
        spool = Spool(folder.path / "spool", folder.key.id, folder.key.epoch)
        last = spool.last()
        if told and not (last is not None and isinstance(last.body, Ended)):
            elapsed_seconds = max(folder.state.elapsed_seconds, last.elapsed_seconds if last is not None else 0.0)
            failure = Failure(failure_class="interruption", reason="The agent restarted.")
            spool.append(elapsed_seconds, Ended(outcome="failed", failure=failure))
            _LOG.info("assignment %s: was interrupted by a restart of the agent", folder.key.id)
        folder.state.phase = "ended"
        folder.save()
        return Held(folder, spool, None, self._shipper(folder))

    def _shipper(self, folder: AssignmentFolder) -> SegmentShipper | None:
        if folder.state.kind != "replica":
            return None
        return SegmentShipper(self._host.control, folder.key, folder.job / "usage", self._refused)

    # --- what is told ---------------------------------------------------------------------------

    def reports(self) -> list[Raw]:
        """The oldest unacknowledged reports of all assignments, bounded."""
        lines: list[bytes] = []
        room = BYTES_PER_SYNC
        for held in self._held.values():
            if held.untold and room > 0 and len(lines) < REPORTS_PER_SYNC:
                batch = held.spool.batch(REPORTS_PER_SYNC - len(lines), room)
                lines += batch
                room -= sum(map(len, batch))
        return [Raw(line) for line in lines]

    def heartbeats(self) -> list[RunningAssignment]:
        """One per assignment that has not ended; its seconds are remembered."""
        return [
            RunningAssignment(
                assignment_id=held.folder.key.id,
                epoch=held.folder.key.epoch,
                elapsed_seconds=held.folder.mark_heartbeat(),
            )
            for held in self._held.values()
            if not held.ended and not held.muted
        ]

    def unsent(self) -> bool:
        """True when the last answer took reports and more are waiting."""
        return self._advanced and any(held.untold for held in self._held.values())

    def settled(self) -> bool:
        """True when nothing runs and everything is told."""
        return all(held.ended and not held.untold for held in self._held.values())

    # --- what is wanted -------------------------------------------------------------------------

    def apply(self, reply: SyncReply) -> None:
        """Make it so."""
        listed = {AssignmentKey(id=wanted.id, epoch=wanted.epoch) for wanted in reply.assignments}
        newest = {key.id: max(k.epoch for k in listed | set(self._held) if k.id == key.id) for key in self._held}
        self._advanced = False
        for key, held in list(self._held.items()):
            if key.epoch < newest[key.id] or (key.id in reply.stale and key not in listed):
                self._forget(held)
                continue
            before = held.spool.accepted
            held.spool.acknowledge(reply.accepted.get(key.id, 0))
            self._advanced = self._advanced or held.spool.accepted > before
        if reply.drain and self._draining is None:
            self.drain(StopRequest(reason="The instance is drained.", interruption=True))
        for wanted in reply.assignments:
            self._want(wanted)
        self._tidy(listed)

    def _want(self, wanted: Assignment) -> None:
        key = AssignmentKey(id=wanted.id, epoch=wanted.epoch)
        held = self._held.get(key)
        stop = StopRequest(reason=wanted.stop_reason or "The control plane asked for it.")
        if held is None:
            if any(other.id == key.id and other.epoch > key.epoch for other in self._held):
                return
            if wanted.desired == "stop" or self._draining is None:
                try:
                    self._take(wanted, key, stop)
                except OSError as error:
                    _LOG.error("assignment %s cannot begin yet: %s", key.id, error)
        elif wanted.desired == "stop" and held.run is not None:
            held.run.stop(stop)

    def _take(self, wanted: Assignment, key: AssignmentKey, stop: StopRequest) -> None:
        """Begin an assignment, or answer one that is to stop before it began."""
        folder = AssignmentFolder.create(self._root, key, "attempt" if wanted.attempt else "replica")
        run: AssignmentRun | None = None
        if wanted.desired == "run" and wanted.attempt is not None:
            run = AttemptRun(self._host, folder, wanted.attempt)
        elif wanted.desired == "run" and wanted.replica is not None:
            run = ReplicaRun(self._host, folder, wanted.replica, self._shipper(folder))
        spool = run.spool if run is not None else Spool(folder.path / "spool", key.id, key.epoch)
        self._held[key] = Held(folder, spool, run, self._shipper(folder) if run is None else run.shipper)
        if run is not None:
            _LOG.info("assignment %s, epoch %d: begins", key.id, key.epoch)
            run.start()
        else:
            spool.append(0.0, stopped(stop))
            folder.mark_ended()
            self._host.wake()

    def _forget(self, held: Held) -> None:
        if not held.muted:
            _LOG.info("assignment %s, epoch %d: over; forgotten", held.folder.key.id, held.folder.key.epoch)
        held.muted = True
        if held.run is not None:
            held.run.abandon()

    def _tidy(self, listed: set[AssignmentKey]) -> None:
        """Remove what is ended, told and shipped; keep the mark of one that is still listed."""
        for key, held in list(self._held.items()):
            if not held.ended or held.untold or (held.shipper is not None and held.shipper.left()):
                continue
            if not held.finished:
                held.finished = True
                held.spool.close()
                held.folder.shrink()
            if key not in listed:
                held.folder.remove()
                del self._held[key]

    def drain(self, request: StopRequest) -> None:
        """Begin nothing more, stop everything."""
        self._draining = request
        for held in self._held.values():
            if held.run is not None:
                held.run.stop(request)

    def abandon_all(self) -> None:
        """End everything at once, without a word; what is on disk stays."""
        runs = [held.run for held in self._held.values() if held.run is not None]
        for run in runs:
            run.abandon()
        for run in runs:
            run.join(JOIN_SECONDS)

    def ship_usage(self) -> None:
        """Deliver the usage segments of every replica, also of ended ones."""
        for held in list(self._held.values()):
            if held.shipper is None or held.finished:
                continue
            if held.ended:
                held.shipper.settle()
            else:
                held.shipper.ship_quietly()

"""The sync loop: what is here, what should be here, and the difference."""

import fcntl
import logging
import os
import signal
import socket
import threading
import time
from pathlib import Path
from types import FrameType

import msgspec
import psutil

from backend.core.wire import HelloReply, HelloRequest
from worker.agent import AGENT_VERSION
from worker.agent.control import ControlPlane, Refused, SpooledSync, StaleEpoch, Unauthorized, Unreachable
from worker.agent.doorbell import Doorbell
from worker.agent.held import Holdings
from worker.agent.inputs import InputCache
from worker.agent.installed_code import install_code
from worker.agent.run import AgentHost, StopRequest
from worker.agent.sandbox import Sandbox
from worker.agent.settings import AgentSettings
from worker.agent.state import make_private
from worker.agent.wake import WakeLine

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
USAGE_SECONDS = 1.0
DELIVERY_SECONDS = 20.0
"""After a drain: how long the last reports may take to be heard; they stay on disk for the next agent."""
_LOG = logging.getLogger(__name__)


class AlreadyHere(Exception):
    """Another agent holds this folder."""


class Agent:
    """One agent process. `run` returns its exit status."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        os.umask(0o022)
        folder = make_private(settings.folder)
        self._lock = _lock(folder / "agent.lock")
        self._control = ControlPlane(settings.api_url, settings.instance_token)
        self._wake = WakeLine()
        self._sandbox = Sandbox(
            code=install_code(folder / "code"), code_roots=settings.code_roots, unsafe=settings.unsafe_no_sandbox
        )
        host = AgentHost(
            settings=settings,
            control=self._control,
            cache=InputCache(folder / "cache", self._control),
            sandbox=self._sandbox,
            wake=self._wake.ring,
        )
        self._holdings = Holdings(host, folder)
        self._term_signals = 0
        self._over = False
        self._failures = 0
        self._heartbeat_seconds = 5.0

    def run(self) -> int:
        """Live until drained (SIGTERM), or until the control plane no longer knows this instance."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        _LOG.info("agent %s, sandbox: %s", AGENT_VERSION, self._sandbox.kind)
        self._holdings.recover()
        doorbell: Doorbell | None = None
        try:
            hello = self._hello()
            if hello is None:
                return 0
            self._heartbeat_seconds = hello.heartbeat_seconds
            doorbell = Doorbell(hello, self._wake.ring)
            doorbell.start()
            threading.Thread(target=self._ship_usage, name="usage", daemon=True).start()
            self._sync_until_over()
        except Unauthorized as error:
            _LOG.warning("this instance is over: %s; ending everything", error)
            self._holdings.abandon_all()
        finally:
            self._over = True
            if doorbell is not None:
                doorbell.stop()
        return 0

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._term_signals += 1
        self._wake.ring()

    def _hello(self) -> HelloReply | None:
        """Say hello until somebody answers; None when asked to end before."""
        request = HelloRequest(
            agent_version=AGENT_VERSION,
            hostname=socket.gethostname(),
            cpu_count=len(os.sched_getaffinity(0)),
            memory_bytes=psutil.virtual_memory().total,
            sandbox=self._sandbox.kind,
        )
        while not self._term_signals:
            try:
                reply = self._control.hello(request)
            except (Unreachable, Refused, StaleEpoch, msgspec.DecodeError) as error:
                self._failed("hello", error)
                self._wake.wait(self._retry_seconds())
            else:
                self._succeeded()
                _LOG.info("hello: instance %s of organization %s", reply.instance_id, reply.organization_id)
                return reply
        return None

    def _sync_until_over(self) -> None:
        drain_until: float | None = None
        while True:
            if self._term_signals and drain_until is None:
                grace = self._settings.stop_grace_seconds
                _LOG.info("asked to end: stopping every assignment, then leaving (at most %g s)", grace)
                self._holdings.drain(StopRequest(reason="The instance was asked to end.", interruption=True))
                drain_until = time.monotonic() + grace + DELIVERY_SECONDS
            if drain_until is not None and (self._term_signals > 1 or time.monotonic() > drain_until):
                _LOG.warning("leaving before everything was delivered; the rest is kept on disk")
                self._holdings.abandon_all()
                return
            more = self._sync()
            if drain_until is not None and self._holdings.settled():
                return
            if self._failures:
                self._wake.wait(min(self._retry_seconds(), self._heartbeat_seconds))
                time.sleep(0.05)  # a chatty job must not turn an outage into a busy loop
            elif not more:
                self._wake.wait(0.5 if drain_until is not None else self._heartbeat_seconds)

    def _sync(self) -> bool:
        """One round; True if there is more to tell at once. Raises Unauthorized."""
        request = SpooledSync(
            reports=self._holdings.reports(),
            running=self._holdings.heartbeats(),
            interruption_notice="The agent was asked to end (SIGTERM)." if self._term_signals else None,
        )
        try:
            reply = self._control.sync(request)
        except (Unreachable, Refused, StaleEpoch, msgspec.DecodeError) as error:
            self._failed("sync", error)
            return False
        self._succeeded()
        self._heartbeat_seconds = reply.heartbeat_seconds
        self._holdings.apply(reply)
        return self._holdings.unsent()

    def _failed(self, what: str, error: Exception) -> None:
        self._failures += 1
        if self._failures in {1, 10, 100} or self._failures % 1000 == 0:
            _LOG.warning("%s failed (%d times), going on: %s", what, self._failures, error)

    def _succeeded(self) -> None:
        if self._failures:
            _LOG.info("the control plane answers again")
        self._failures = 0

    def _retry_seconds(self) -> float:
        return RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS)) - 1]

    def _ship_usage(self) -> None:
        while not self._over:
            try:
                self._holdings.ship_usage()
            except Exception:  # noqa: BLE001 # this thread must outlive whatever a segment does
                _LOG.exception("shipping usage failed; it is tried again")
            time.sleep(USAGE_SECONDS)


def _lock(path: Path) -> int:
    """Hold the folder for this process's life. Raises AlreadyHere."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AlreadyHere(f"another agent holds {path.parent}") from None
    return descriptor

"""One replica of an endpoint: models → sandbox → sockets → a probe of every variant → ready → watched → drained.

The replica's sockets lie in a short folder of their own, outside the agent's closed folder, where the gateway of this
host reaches them: `<runtime folder>/my-<8 hex>/run`, which nobody can list and only the replica may write.
A replica that dies is started again a few times, then the assignment has failed. Usage segments are
shipped all the while (`worker.agent.usage`), and what is sealed before the end is reported.
"""

import contextlib
import hashlib
import os
import secrets
import selectors
import stat
import time
from functools import partial
from pathlib import Path

import msgspec

from backend.core.wire import Ended, Failure, ReplicaReady, ReplicaSpec, Started, VariantProbe
from worker.agent.inputs import InputNotUsable, safe_name
from worker.agent.limits import Limits
from worker.agent.messages import Lines
from worker.agent.outcome import out_of_memory
from worker.agent.process import SandboxedProcess
from worker.agent.run import AgentHost, AssignmentRun, stopped
from worker.agent.sandbox import SandboxRequest, choose_uid, own
from worker.agent.state import AssignmentFolder
from worker.agent.usage import SegmentShipper
from worker.agent.utilisation import Sampler
from worker.agent.watch import Watch

ENTRYPOINT = "worker.serving.replica"
CANNOT_SERVE_EXIT_CODE = 78
"""The replica's own word that trying again is of no use (see `worker.serving.replica`)."""
START_SECONDS = 120.0
TURN_SECONDS = 0.1
RESTART_SECONDS = (0.5, 1.0, 2.0, 4.0)
STABLE_SECONDS = 60.0
SHIP_SECONDS = 10.0
OUTPUT_BYTES = 1 << 16


class ReplicaNotReady(Exception):
    """The replica did not come up, or a variant did not answer its probe; the message says which and what."""


class ReplicaRun(AssignmentRun):
    """One replica in this agent's hands."""

    def __init__(
        self, host: AgentHost, folder: AssignmentFolder, spec: ReplicaSpec, shipper: SegmentShipper | None
    ) -> None:
        super().__init__(host, folder)
        self.spec = spec
        self.shipper = shipper
        self._uid = choose_uid(folder.key.id, folder.key.epoch)
        self._token = secrets.token_urlsafe(32)
        self._limits = Limits(
            memory_bytes=spec.memory_limit_bytes,
            cpu_count=spec.cpu_count,
            process_limit=spec.process_limit,
            disk_bytes=spec.disk_limit_bytes,
        )

    def live(self) -> Ended:
        """The replica, from its models to its last report."""
        self.host.sandbox.require()
        self._prepare()
        failures = 0
        try:
            while True:
                began = time.monotonic()
                failure = self._run_once()
                if self.stop_request is not None or self.abandoned.is_set():
                    return stopped(self.stop_request)
                failures = 0 if time.monotonic() - began > STABLE_SECONDS else failures
                if failures >= len(RESTART_SECONDS) or failure.exit_code == CANNOT_SERVE_EXIT_CODE:
                    return Ended(outcome="failed", failure=failure)
                self.reporter.line(f"[modelyard: the replica ended and is started again: {failure.reason}]")
                self.abandoned.wait(RESTART_SECONDS[failures])
                failures += 1
        finally:
            self._settle_usage()

    def _prepare(self) -> None:
        """Lay out the folder that the replica sees."""
        job = self.folder.job
        for folder in (job, job / "models"):
            own(folder, os.geteuid(), 0o755)
        for variant in self.spec.variants:
            if len(safe_name(variant.name).parts) != 1:
                raise InputNotUsable(f"the variant name {variant.name!r} is not a folder name")
            target = own(job / "models" / variant.name, os.geteuid(), 0o755)
            self.patiently(partial(self.host.cache.link_files, self.folder.key, variant.files, target))
        own(job / "usage", self._uid, 0o700)
        spec = job / "spec.json"
        spec.write_bytes(msgspec.json.encode(self.spec))
        spec.chmod(0o644)
        runtime = self._make_runtime()
        if self.host.sandbox.confined:
            own(job / "run", os.geteuid(), 0o755)
        else:
            (job / "run").symlink_to(runtime)

    def _make_runtime(self) -> Path:
        """The short folder of the sockets: `…/my-<8 hex>/run`."""
        while True:
            outer = self.host.settings.runtime_folder / f"my-{secrets.token_hex(4)}"
            with contextlib.suppress(FileExistsError):
                outer.mkdir(mode=0o711)
                break
        self.folder.state.runtime_folder = str(outer)
        self.folder.save()
        outer.chmod(0o711)
        self._sockets = own(outer / "run", self._uid, 0o711)
        return self._sockets

    def _run_once(self) -> Failure:
        """Start the replica, make it ready, watch it to its end; returns why it ended (if it was not asked to)."""
        for left in self._sockets.glob("*.sock"):
            left.unlink()
        process = self.start_process(self._request())
        lines = Lines(self.reporter.line)
        watch = Watch(
            process,
            self._limits,
            work=self.folder.job / "usage",
            grace_seconds=self.host.settings.stop_grace_seconds,
            max_runtime_seconds=None,
        )
        problem: str | None = None
        try:
            self.reporter.tell(Started(pid=process.pid))
            with Sampler(process, self._limits, self.reporter.utilisation):
                self._follow(process, lines, watch)
        except ReplicaNotReady as error:
            problem = str(error)
        finally:
            process.kill()
            code = process.wait()
            _drain(process, lines)
            memory = watch.out_of_memory or process.group.out_of_memory()
            peak = watch.peak_memory_bytes
            process.close()
        failure = watch.verdict or (out_of_memory(self._limits.memory_bytes) if memory else None)
        return msgspec.structs.replace(
            failure or _failure(problem, code),
            exit_code=code,
            peak_memory_bytes=peak,
            log_tail=self.reporter.tail(),
        )

    def _request(self) -> SandboxRequest:
        writable = {"usage": self.folder.job / "usage"}
        if self.host.sandbox.confined:
            writable["run"] = self._sockets
        return SandboxRequest(
            job_folder=self.folder.job,
            writable=writable,
            entrypoint=ENTRYPOINT,
            environment={
                "MODELYARD_PROBE_TOKEN_SHA256": hashlib.sha256(self._token.encode()).hexdigest(),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            },
            limits=self._limits,
            uid=self._uid,
        )

    def _follow(self, process: SandboxedProcess, lines: Lines, watch: Watch) -> None:
        """Read its output, make it ready once its sockets are there, police it, until it is gone."""
        deadline = time.monotonic() + START_SECONDS
        ready = False
        with selectors.DefaultSelector() as selector:
            selector.register(process.output, selectors.EVENT_READ)
            selector.register(process.exited, selectors.EVENT_READ)
            while process.alive:
                for key, _ in selector.select(0.02 if not ready else TURN_SECONDS):
                    if key.fd == process.output and not _read(process, lines):
                        selector.unregister(process.output)
                self.reporter.flush_due()
                watch.look(self.stop_request, self.abandoned)
                if not ready and self.stop_request is None:
                    ready = self._make_ready()
                    if not ready and time.monotonic() > deadline:
                        raise ReplicaNotReady(f"The replica was not up after {START_SECONDS:g} s.")

    def _make_ready(self) -> bool:
        """Once every process has its socket: probe every variant, and report. Raises ReplicaNotReady."""
        sockets = [self._sockets / f"replica-{number}.sock" for number in range(self.spec.processes)]
        if not all(_is_socket(socket) for socket in sockets):
            return False
        probes = [self._probe(sockets[0], variant.name) for variant in self.spec.variants]
        silent = [probe for probe in probes if not probe.ok]
        if silent:
            raise ReplicaNotReady(f"Variant {silent[0].variant!r} did not answer its probe: {silent[0].detail}")
        self.reporter.tell(ReplicaReady(socket_path=str(sockets[0]), probes=probes))
        return True

    def _probe(self, socket: Path, variant: str) -> VariantProbe:
        from backend.core.wire import ModelSignature  # noqa: PLC0415 # only an agent with a replica needs these
        from worker.serving.probe import probe  # noqa: PLC0415 # same

        path = self.folder.job / "models" / variant / "signature.json"
        try:
            signature = msgspec.json.decode(path.read_bytes(), type=ModelSignature)
        except (OSError, msgspec.DecodeError) as error:
            return VariantProbe(variant=variant, ok=False, latency_ms=0.0, detail=f"signature.json: {error}")
        return probe(socket, self.spec.endpoint_name, variant, signature, self._token)

    def _settle_usage(self) -> None:
        """Deliver the usage before the end is told; with the control plane away it is delivered later."""
        deadline = time.monotonic() + SHIP_SECONDS
        while self.shipper is not None and not self.shipper.settle():
            if self.abandoned.wait(0.5) or time.monotonic() > deadline:
                return


def _failure(problem: str | None, code: int | None) -> Failure:
    """Why a replica ended by itself."""
    if code == CANNOT_SERVE_EXIT_CODE:
        reason = "The replica cannot serve its models; the last lines of its log say why."
        return Failure(failure_class="user_code", reason=reason)
    return Failure(failure_class="platform", reason=problem or f"The replica ended with exit code {code}.")


def _is_socket(path: Path) -> bool:
    """True for a socket itself: a link would lead out of the replica's folder."""
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _read(process: SandboxedProcess, lines: Lines) -> bool:
    """Some output; False at its end."""
    try:
        data = os.read(process.output, OUTPUT_BYTES)
    except BlockingIOError:
        return True
    lines.feed(data)
    return bool(data)


def _drain(process: SandboxedProcess, lines: Lines) -> None:
    with contextlib.suppress(BlockingIOError):
        while data := os.read(process.output, OUTPUT_BYTES):
            lines.feed(data)
    lines.end_line(only_partial=True)

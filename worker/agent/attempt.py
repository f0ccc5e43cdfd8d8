"""One attempt of a job: inputs → sandbox → messages, checkpoints, limits → result → end."""

import os
from functools import partial
from pathlib import Path

import msgspec

from backend.core.wire import (
    AttemptSpec,
    Channel,
    CheckpointSaved,
    CheckpointWritten,
    Ended,
    Failure,
    JobFailed,
    JobSpec,
    Metrics,
    Progress,
    ResultSaved,
    ResultWritten,
    Started,
)
from worker.agent import outcome
from worker.agent.inputs import InputNotUsable
from worker.agent.limits import Limits
from worker.agent.messages import JobPump, ReceivedMessage
from worker.agent.process import SandboxedProcess
from worker.agent.run import AgentHost, AssignmentRun, EntrypointNotAllowed
from worker.agent.sandbox import SandboxedFolders, SandboxRequest, choose_uid, own
from worker.agent.state import AssignmentFolder
from worker.agent.uploads import CheckpointUploads, OutputNotUsable, Uploader
from worker.agent.watch import Watch

TURN_SECONDS = 0.1


class AttemptRun(AssignmentRun):
    """One attempt in this agent's hands."""

    def __init__(self, host: AgentHost, folder: AssignmentFolder, spec: AttemptSpec) -> None:
        super().__init__(host, folder)
        self.spec = spec
        self._uid = choose_uid(folder.key.id, folder.key.epoch)
        self._limits = Limits(
            memory_bytes=spec.memory_limit_bytes,
            cpu_count=spec.cpu_count,
            process_limit=spec.process_limit,
            disk_bytes=spec.disk_limit_bytes,
        )
        self._uploader = Uploader(host.control, folder.key, folder.work, spec.disk_limit_bytes)
        self._checkpoints: CheckpointUploads | None = None
        self._result: ResultWritten | None = None
        self._told: Failure | None = None

    def abandon(self) -> None:
        """End at once, without a word; uploads stop waiting."""
        super().abandon()
        self._uploader.over.set()

    def live(self) -> Ended:
        """The attempt, from its inputs to its last report."""
        self.host.sandbox.require()
        if self.spec.entrypoint not in self.host.settings.entrypoints:
            raise EntrypointNotAllowed(f"The entrypoint {self.spec.entrypoint!r} is not one that agents run.")
        read_only = self._prepare()
        pump = JobPump(self.folder.job, self._uid, on_line=self.reporter.line, on_message=self._take)
        self._checkpoints = CheckpointUploads(self._uploader, self._checkpoint_saved, self.reporter.line)
        try:
            ended = self._run_process(pump, read_only)
        finally:
            pump.close()
            if self.abandoned.is_set():
                self._uploader.over.set()
            self._checkpoints.finish()
        if self._checkpoints.stale:
            self.abandoned.set()
        if ended.outcome == "completed" and self._result is not None and not self.abandoned.is_set():
            return self._save_result(self._result, ended)
        return ended

    def _prepare(self) -> dict[str, Path]:
        """Lay out the job folder; returns what is shown from elsewhere, by its path below it."""
        job = self.folder.job
        for folder in (job, job / "input"):
            _open_folder(folder)
        own(self.folder.work, self._uid, 0o700)
        shown: dict[str, Path] = {}
        for channel in self.spec.channels:
            if "/" in channel.name or channel.name in {"", ".", ".."}:
                raise InputNotUsable(f"the channel name {channel.name!r} is not a folder name")
            self.patiently(partial(self._fetch_channel, channel, _open_folder(job / "input" / channel.name), shown))
        if self.spec.checkpoint is not None:
            files, target = self.spec.checkpoint.files, _open_folder(job / "checkpoint")
            self.patiently(lambda: self.host.cache.link_files(self.folder.key, files, target))
        self._write_spec()
        return shown

    def _fetch_channel(self, channel: Channel, folder: Path, shown: dict[str, Path]) -> None:
        found = self.host.cache.channel_folder(self.folder.key, channel, folder)
        if found == folder:
            return
        if self.host.sandbox.confined:
            shown[f"input/{channel.name}"] = found
        else:
            folder.rmdir()
            folder.symlink_to(found)

    def _write_spec(self) -> None:
        spec = JobSpec(
            job_id=self.spec.job_id,
            attempt_number=self.spec.attempt_number,
            job_kind=self.spec.job_kind,
            parameters=self.spec.parameters,
            channels={channel.name: f"input/{channel.name}" for channel in self.spec.channels},
            resume_step=self.spec.checkpoint.step if self.spec.checkpoint else None,
            cpu_count=self.spec.cpu_count,
        )
        path = self.folder.job / "spec.json"
        path.write_bytes(msgspec.json.encode(spec))
        path.chmod(0o644)

    def _run_process(self, pump: JobPump, read_only: dict[str, Path]) -> Ended:
        """Start it, live with it, judge its end."""
        request = SandboxRequest(
            job_folder=self.folder.job,
            folders=SandboxedFolders(read_only=read_only, writable={"work": self.folder.work}),
            entrypoint=self.spec.entrypoint,
            environment={},
            limits=self._limits,
            uid=self._uid,
        )
        process = self.start_process(request)
        self.reporter.tell(Started(pid=process.pid))
        watch = Watch(
            process,
            self._limits,
            work=self.folder.work,
            grace_seconds=self.host.settings.stop_grace_seconds,
            max_runtime_seconds=self.spec.max_runtime_seconds,
        )
        try:
            pump.watch(process.output, process.exited)
            while process.alive:
                pump.turn(TURN_SECONDS)
                self.reporter.flush_due()
                watch.look(self.stop_request, self.abandoned)
            exit_code = process.wait()
            pump.drain()
            return self._judge(process, watch, exit_code)
        finally:
            process.kill()
            process.wait()
            process.close()

    def _judge(self, process: SandboxedProcess, watch: Watch, exit_code: int | None) -> Ended:
        if self._told is not None and self._result is not None and exit_code != 0:
            self._result = None
        end = outcome.ProcessEnd(
            exit_code=exit_code,
            verdict=watch.verdict,
            told=self._told,
            stop_request=self.stop_request,
            out_of_memory=watch.out_of_memory or process.group.out_of_memory(),
            peak_memory_bytes=watch.peak_memory_bytes,
            memory_limit_bytes=self._limits.memory_bytes,
            has_result=self._result is not None,
            tail=self.reporter.tail(),
        )
        return outcome.judge(end)

    def _take(self, message: ReceivedMessage) -> None:
        """One message of the process."""
        match message:
            case Progress():
                self.reporter.progress(message)
            case Metrics():
                self.reporter.metrics(message)
            case CheckpointWritten():
                if self._checkpoints is not None:
                    self._checkpoints.put(message)
            case ResultWritten():
                self._result = message
            case JobFailed():
                self._told = message.failure

    def _checkpoint_saved(self, saved: CheckpointSaved) -> None:
        if not self.abandoned.is_set():
            self.reporter.tell(saved)

    def _save_result(self, result: ResultWritten, ended: Ended) -> Ended:
        """Upload the artifact; an artifact that cannot be stored is the job's failure."""
        try:
            files = self._uploader.upload(result.folder)
        except OutputNotUsable as error:
            failure = Failure(
                failure_class="user_code",
                reason=f"The result cannot be stored: {error}",
                log_tail=self.reporter.tail(),
            )
            return Ended(outcome="failed", failure=failure)
        self.reporter.tell(ResultSaved(files=files, summary=result.summary))
        return ended


def _open_folder(path: Path) -> Path:
    """A folder that the process's user may read (the folders above are closed to everybody)."""
    return own(path, os.geteuid(), 0o755)

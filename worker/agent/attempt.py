"""One attempt of a job: inputs → sandbox → messages, checkpoints, limits → result → end."""

from functools import partial

import msgspec

from backend.core.wire import (
    AttemptSpec,
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
from worker.agent.sandbox import SandboxRequest, choose_uid, lay_out_job, open_folder
from worker.agent.state import AssignmentFolder
from worker.agent.uploads import CheckpointUploads, OutputNotUsable, Uploader
from worker.agent.utilisation import Sampler
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
        self._lay_out()
        try:
            self._fill()
            ended = self._run_process()
        finally:
            self._return_inputs()
        if ended.outcome == "completed" and self._result is not None and not self.abandoned.is_set():
            return self._save_result(self._result, ended)
        return ended

    def _lay_out(self) -> None:
        """The job folder: the one that a standby's sandbox shows already, or a new one."""
        if self.waiting is None:
            lay_out_job(self.folder.job, self._uid)
            return
        self._uid = self.waiting.uid
        self.waiting.move_job_to(self.folder.job)
        self.folder.state.cgroups = self.waiting.process.group.folders
        self.folder.save()
        self.waiting.forget_folder()

    def _fill(self) -> None:
        """Inputs, checkpoint and spec."""
        job = self.folder.job
        for channel in self.spec.channels:
            if "/" in channel.name or channel.name in {"", ".", ".."}:
                raise InputNotUsable(f"the channel name {channel.name!r} is not a folder name")
            target = open_folder(job / "input" / channel.name)
            self.patiently(partial(self.host.cache.fill_channel, self.folder.key, channel, target))
        if self.spec.checkpoint is not None:
            files, target = self.spec.checkpoint.files, open_folder(job / "checkpoint")
            self.patiently(partial(self.host.cache.link_files, self.folder.key, files, target))
        self._write_spec()

    def _return_inputs(self) -> None:
        """What is lent goes back to the cache; the process is gone, and could not write there."""
        for channel in self.spec.channels:
            self.host.cache.take_back(channel, self.folder.job / "input" / channel.name)

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

    def _run_process(self) -> Ended:
        """Run it, and settle its checkpoints."""
        pump = JobPump(self.folder.job, self._uid, on_line=self.reporter.line, on_message=self._take)
        self._checkpoints = CheckpointUploads(self._uploader, self._checkpoint_saved, self.reporter.line)
        try:
            ended = self._live_with(self.adopt_process(self.spec.entrypoint) or self._start_anew(), pump)
        finally:
            pump.close()
            if self.abandoned.is_set():
                self._uploader.over.set()
            self._checkpoints.finish()
        if self._checkpoints.stale:
            self.abandoned.set()
        return ended

    def _start_anew(self) -> SandboxedProcess:
        request = SandboxRequest(
            job_folder=self.folder.job,
            writable={"work": self.folder.work},
            entrypoint=self.spec.entrypoint,
            environment={},
            limits=self._limits,
            uid=self._uid,
        )
        return self.start_process(request)

    def _live_with(self, process: SandboxedProcess, pump: JobPump) -> Ended:
        """From its start to the judgement of its end."""
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
            with Sampler(process, self._limits, self.reporter.utilisation):
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

"""The training loop. `Trainer.train` is the story; the methods below it are its sentences."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.jobprocess import JobError, JobProcess, JobStopped
from worker.training.batches import DeviceSplit
from worker.training.checkpoint import (
    CheckpointWriter,
    random_state,
    read_checkpoint,
    restore_random_state,
    seed_random,
)
from worker.training.config import Settings
from worker.training.eager import EagerAdamW, EagerSGD, without_compiler
from worker.training.evaluation import Evaluation, evaluate
from worker.training.images import Dataset
from worker.training.metrics import MetricRecorder
from worker.training.precision import Compute, configure_backends
from worker.training.schedule import learning_rate
from worker.training.tasks import Built, Classifier, task_of

Weights = dict[str, Tensor]


@dataclass
class Position:
    """Where a training is. epoch: epochs closed. step_in_epoch: steps done of the open one."""

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    best_value: float | None = None
    best_epoch: int = 0
    epochs_without_improvement: int = 0
    seconds: float = 0.0


class Trainer:
    """One training of a new model, or of one that is `built` already.

    `advance` and `step` are public: benchmarks run the very same loop.
    """

    def __init__(
        self,
        process: JobProcess,
        settings: Settings,
        dataset: Dataset,
        compute: Compute | None = None,
        built: Built | None = None,
    ) -> None:
        self.settings = settings
        self.compute = compute or Compute.choose(settings.precision)
        device = self.compute.device
        self.task = task_of(settings, dataset)
        self.architecture = built.architecture if built else self.task.architecture
        configure_backends(device, self.task.threads(process.spec.cpu_count))
        without_compiler()
        seed_random(settings.seed)
        self.model: Classifier = (built.model if built else self.architecture.build()).to(device)
        # On a CPU and on tensor cores alike, convolutions are fastest with the channels last.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        # A fused SGD whose first step is skipped, as one that overflows is, takes its momentum from memory that
        # nobody has written. Unfused, the scaler does not call it at all.
        self.optimizer = _optimizer(self.model, settings, fused_sgd=not self.compute.scales_gradients)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.compute.scales_gradients)
        self.augmentation = self.task.augmentation().to(device)
        self.training = DeviceSplit(dataset.splits["train"], device)
        self.validation = DeviceSplit(dataset.splits["validation"], device)
        self.batch_size = min(settings.batch_size, self.training.count)
        self.steps_per_epoch = self.training.count // self.batch_size
        self.total_steps = self.steps_per_epoch * settings.epochs
        self.position = Position()
        self.best_weights: Weights = {}
        # Sums of loss and of right answers: row 0 since the last metric point, row 1 since the epoch began.
        self._sums = torch.zeros((2, 2), dtype=torch.float64, device=device)
        self._process = process
        self._recorder = MetricRecorder(process)
        self.checkpoints = CheckpointWriter(process.work_folder, process.checkpoint_written, self._no_room)
        self._started_at = self._told_at = self._checkpoint_at = time.monotonic()
        self._told_step, self._written_step = 0, -1

    def train(self) -> None:
        """Train to the end, or to early stopping; afterwards `best_weights` are there.

        Raises JobStopped once a checkpoint is written after SIGTERM, JobError where the loss diverges.
        """
        self.restore_or_start()
        while not self._finished():
            for indices in self._remaining_batches():
                self.advance(indices)
            self._tell()
            self._close_epoch(evaluate(self.model, self.validation, self.compute))
            self._checkpoint_if_due(epoch_closed=True)
        self.checkpoints.finish()
        self._recorder.flush()

    def advance(self, indices: Tensor) -> None:
        """One step and what the platform wants of it: metrics, progress, checkpoints, an ear for SIGTERM."""
        self.step(indices)
        self._tell_step()
        self._checkpoint_if_due()

    def step(self, indices: Tensor) -> None:
        """One optimizer step on the images at `indices`, int64 [batch]."""
        images, labels = self.training.batch(indices)
        with torch.no_grad():
            images = self.augmentation(images)
            if images.ndim == 4:  # noqa: PLR2004 - images, not tokens
                images = images.contiguous(memory_format=torch.channels_last)
        with self.compute.autocast():
            logits = self.model(images)
            loss = functional.cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, self.position.step + 1, self.total_steps)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        right = (logits.detach().argmax(1) == labels).sum()
        self._sums += torch.stack((loss.detach().double(), right.double()))
        self.position.step += 1
        self.position.step_in_epoch += 1

    @property
    def _classes(self) -> int:
        return self.architecture.classes

    def _finished(self) -> bool:
        stopping = self.settings.early_stopping
        out_of_patience = self.position.epochs_without_improvement >= stopping.patience
        return self.position.epoch >= self.settings.epochs or (stopping.enabled and out_of_patience)

    def _remaining_batches(self) -> Iterator[Tensor]:
        """The open epoch's batches that are still to do. An incomplete last batch is left out, as is
        usual.
        """
        self.model.train()
        order = self.training.order(self.settings.seed, self.position.epoch)
        for number in range(self.position.step_in_epoch, self.steps_per_epoch):
            yield order[number * self.batch_size : (number + 1) * self.batch_size]

    # --- telling ----------------------------------------------------------------------------------

    def _tell_step(self) -> None:
        """Metrics every `log_every_steps`; progress after the first step at once, then every half second."""
        step, every = self.position.step, self.settings.log_every_steps
        if step % every == 0:
            mean_loss, mean_right = self._sums[0].clone() / every
            values: dict[str, float | Tensor] = {
                "train/loss": mean_loss,
                "train/accuracy": mean_right / self.batch_size,
                "learning_rate": learning_rate(self.settings, step, self.total_steps),
            }
            self._recorder.add(step, values)
            self._sums[0] = 0
        if self._recorder.due or self._told_step == 0:
            self._tell()

    def _tell(self) -> None:
        if self._told_step == 0 and self.compute.device.type == "cuda":
            torch.cuda.synchronize()  # a step that is only queued has not happened
        position, now = self.position, time.monotonic()
        if 0 < self._told_step < position.step:
            rate = (position.step - self._told_step) * self.batch_size / (now - self._told_at)
            self._recorder.add(position.step, {"throughput": rate})
        self._process.progress(
            position.step,
            self.total_steps,
            f"training, epoch {min(position.epoch + 1, self.settings.epochs)} of {self.settings.epochs}",
        )
        self._recorder.flush()
        if self._told_step == 0:
            self._process.log(f"First step {now - self._started_at:.2f} s after the model was built.")
        self._told_step, self._told_at = position.step, now

    def _close_epoch(self, measured: Evaluation) -> None:
        """Keep the best weights, count towards early stopping, tell the epoch, open the next."""
        position = self.position
        mean_loss, right = (self._sums[1] / self.steps_per_epoch).tolist()
        if mean_loss != mean_loss or measured.loss != measured.loss:  # noqa: PLR0124 - NaN is unlike itself
            raise JobError(
                "user_code",
                f"The training diverged in epoch {position.epoch + 1}: its loss is no number.",
                "Lower learning_rate, or train in precision bf16 or fp32.",
            )
        position.epoch += 1
        position.step_in_epoch = 0
        self._sums[1] = 0
        self._keep_if_best(measured)
        self._recorder.add(position.step, {"validation/loss": measured.loss, "validation/accuracy": measured.accuracy})
        self._process.log(
            f"epoch {position.epoch}/{self.settings.epochs}  train loss {mean_loss:.4f} "
            f"accuracy {right / self.batch_size:.2%}  validation loss {measured.loss:.4f} "
            f"accuracy {measured.accuracy:.2%}{'  best' if position.best_epoch == position.epoch else ''}"
        )
        if self._finished() and position.epoch < self.settings.epochs:
            self._process.log(
                f"Stopping early: no better {self.settings.early_stopping.metric} "
                f"for {position.epochs_without_improvement} epochs."
            )
        self._recorder.flush()
        self._told_at = time.monotonic()

    def _keep_if_best(self, measured: Evaluation) -> None:
        position, stopping = self.position, self.settings.early_stopping
        value = measured.accuracy if stopping.metric == "validation/accuracy" else -measured.loss
        if position.best_value is None or value > position.best_value + stopping.min_delta:
            position.best_value, position.best_epoch = value, position.epoch
            position.epochs_without_improvement = 0
            self.best_weights = {name: weights.detach().clone() for name, weights in self.model.state_dict().items()}
        else:
            position.epochs_without_improvement += 1

    # --- checkpoints ------------------------------------------------------------------------------

    def restore_or_start(self) -> None:
        """Continue where the checkpoint handed to this attempt ends, if there is one."""
        folder = self._process.checkpoint_folder
        device = f"{self.compute.device.type}, {self.compute.precision}"
        self._process.log(
            f"{self.training.count} {self.task.items} to train on, {self.validation.count} to validate on, "
            f"{self._classes} classes; {self.settings.epochs} epochs of {self.steps_per_epoch} steps; "
            f"{device}."
        )
        if folder is not None:
            checkpoint = read_checkpoint(folder, self._process.spec.resume_step)
            self._restore(checkpoint.state)
            self._process.log(f"Resumed at step {self.position.step} of {self.total_steps}.")
            if checkpoint.torch_version != str(torch.__version__):
                self._process.log(
                    f"The checkpoint was written by PyTorch {checkpoint.torch_version}, this is {torch.__version__}: "
                    "the last bits of the weights may differ from an uninterrupted training's."
                )

    def _checkpoint_if_due(self, *, epoch_closed: bool = False) -> None:
        settings = self.settings
        since = time.monotonic() - self._checkpoint_at
        by_time = settings.checkpoint_every_seconds is not None and since >= settings.checkpoint_every_seconds
        every = settings.checkpoint_every_epochs
        by_epoch = epoch_closed and every is not None and self.position.epoch % every == 0
        if by_time or by_epoch or self._process.stop_requested:
            self._checkpoint()
        if self._process.stop_requested:
            self.checkpoints.finish()
            self._tell()
            raise JobStopped

    def _checkpoint(self) -> None:
        """Write and tell, beside the training; a checkpoint of the same step already begun is as good.

        Metrics go first: a training resumed from here does not measure what came before again.
        """
        if self._written_step != self.position.step:
            self._recorder.flush()
            self.checkpoints.write(self.position.step, self.state())
            self._written_step = self.position.step
        self._checkpoint_at = time.monotonic()

    def _no_room(self, error: OSError) -> None:
        self._process.log(
            f"No checkpoint was written: {error.strerror}. The training goes on; until one fits again, an interruption "
            "loses the steps since the last."
        )

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those of earlier attempts (up to their checkpoint) included."""
        return self.position.seconds + time.monotonic() - self._started_at

    def state(self) -> dict[str, Any]:
        """All that a resumed training needs; a checkpoint holds exactly this."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "position": asdict(self.position) | {"seconds": self.seconds},
            "best_weights": self.best_weights,
            "sums": self._sums,
            "random": random_state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.position = Position(**state["position"])
        self.best_weights = {name: weights.to(self.compute.device) for name, weights in state["best_weights"].items()}
        self._sums.copy_(state["sums"])
        restore_random_state(state["random"])
        self._written_step = self.position.step


def _optimizer(model: Classifier, settings: Settings, *, fused_sgd: bool) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return EagerSGD(
            model.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.momentum > 0,
            fused=fused_sgd,
        )
    return EagerAdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)

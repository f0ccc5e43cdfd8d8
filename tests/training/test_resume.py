"""A training interrupted anywhere, any number of times, ends as the uninterrupted one, bit for bit."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.training.interruptions import (
    EPOCHS,
    STEPS_PER_EPOCH,
    Configuration,
    Interruption,
    References,
    assert_same_end,
    open_trainer,
    run,
)
from worker.jobprocess import JobError
from worker.training.checkpoint import random_state, read_checkpoint
from worker.training.export import export_artifact
from worker.training.job import best_model
from worker.training.trainer import Trainer

ALWAYS = {"checkpoint_every_seconds": 1e-9}
"""A checkpoint after every step: one killed loses nothing but what it was doing."""
EPOCH_ENDS = {"checkpoint_every_seconds": None, "checkpoint_every_epochs": 1}
SGD = {
    "optimizer": "sgd",
    "schedule": "cosine",
    "label_smoothing": 0.1,
    "dropout": 0.5,
    "augmentation": {"crop_padding": 1, "horizontal_flip": True},
}
IMPATIENT = {
    "learning_rate": 0.5,
    "schedule": "constant",
    "early_stopping": {"patience": 1, "metric": "validation/accuracy", "min_delta": 0.2},
}
PLAIN = {"dropout": 0.0, "augmentation": {"enabled": False}, "early_stopping": {"enabled": False}}

SHORT = [
    Configuration("adamw-fp32", EPOCH_ENDS),
    Configuration("sgd-bf16", ALWAYS | SGD, "bf16"),
    Configuration("adamw-fp16", EPOCH_ENDS | {"dropout": 0.4}, "fp16"),
    Configuration("impatient", ALWAYS | IMPATIENT),
]
LONG = [
    *SHORT,
    Configuration("two-threads", ALWAYS | {"width": 16, "epochs": 2}, threads=2),
    Configuration("plain-bf16", EPOCH_ENDS | PLAIN, "bf16"),
    Configuration("sgd-fp16", ALWAYS | SGD, "fp16"),
    Configuration("impatient-fp16", EPOCH_ENDS | IMPATIENT | {"learning_rate": 0.02}, "fp16"),
    Configuration("never-saved", {"checkpoint_every_seconds": None}),
    Configuration("odd-batch", ALWAYS | {"batch_size": 19, "epochs": 2, "log_every_steps": 3}),
]

INTERRUPTIONS = st.lists(
    st.builds(
        Interruption,
        how=st.sampled_from(["stop", "kill", "kill-in-write"]),
        step=st.one_of(
            st.integers(0, EPOCHS * STEPS_PER_EPOCH),
            st.sampled_from([epoch * STEPS_PER_EPOCH for epoch in range(1, EPOCHS + 1)]),
        ),
    )
    | st.builds(
        Interruption, how=st.sampled_from(["stop", "kill", "kill-in-write"]), evaluation=st.integers(1, EPOCHS)
    ),
    min_size=1,
    max_size=5,
)
STRUCK_EVERYWHERE = [
    Interruption("stop", step=0),
    Interruption("kill", step=4),
    Interruption("stop", step=STEPS_PER_EPOCH),
    Interruption("kill-in-write", step=STEPS_PER_EPOCH + 2),
    Interruption("kill", evaluation=2),
    Interruption("stop", evaluation=EPOCHS),
]


@pytest.fixture(scope="session")
def references(tmp_path_factory: pytest.TempPathFactory, digits_channel: Path) -> References:
    return References(tmp_path_factory.mktemp("references"), digits_channel)


@pytest.fixture(autouse=True)
def _one_thread_again() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _hold(configurations: list[Configuration], examples: int, references: References, channel: Path) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(configuration=st.sampled_from(configurations), interruptions=INTERRUPTIONS)
    @example(configuration=configurations[0], interruptions=STRUCK_EVERYWHERE)
    def interrupted_equals_whole(configuration: Configuration, interruptions: list[Interruption]) -> None:
        reference = references.of(configuration)
        with TemporaryDirectory() as folder:
            assert_same_end(run(configuration, Path(folder), channel, interruptions), reference)

    interrupted_equals_whole()


@pytest.mark.unit
def test_wherever_it_is_interrupted_it_ends_the_same(references: References, digits_channel: Path) -> None:
    _hold(SHORT, 20, references, digits_channel)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_wherever_it_is_interrupted_it_ends_the_same_many_times(references: References, digits_channel: Path) -> None:
    _hold(LONG, 120, references, digits_channel)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("configuration", SHORT[:3], ids=lambda each: each.name)
def test_after_every_single_step_of_the_first_epoch_and_one_more(
    configuration: Configuration, references: References, digits_channel: Path, tmp_path: Path
) -> None:
    reference = references.of(configuration)
    for step in range(STEPS_PER_EPOCH + 2):
        for how in ("stop", "kill", "kill-in-write"):
            ended = run(configuration, tmp_path / f"{how}-{step}", digits_channel, [Interruption(how, step=step)])
            assert_same_end(ended, reference)


@pytest.mark.unit
def test_the_references_are_what_the_property_says_of_them(references: References) -> None:
    whole = references.of(SHORT[0])
    assert whole.trainer.steps_per_epoch == STEPS_PER_EPOCH
    assert whole.state["position"]["step"] == EPOCHS * STEPS_PER_EPOCH
    assert any(module.p > 0 for module in whole.trainer.model.modules() if isinstance(module, torch.nn.Dropout))
    assert len(whole.trainer.augmentation) > 0  # type: ignore[arg-type]  # a Sequential
    scaler = references.of(SHORT[2]).state["scaler"]
    assert scaler["scale"] < 2**24, "gradients overflowed, and the scale moved"
    assert references.of(SHORT[2]).state["optimizer"]["state"][0]["step"] < EPOCHS * STEPS_PER_EPOCH, (
        "steps were skipped"
    )
    early = references.of(SHORT[3])
    assert early.state["position"]["epoch"] < EPOCHS, "it stopped early"
    assert {name for name, _ in whole.points} >= {"train/loss", "validation/loss", "learning_rate"}


@pytest.mark.unit
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_first_step_that_overflows_changes_nothing(optimizer: str, digits_channel: Path, tmp_path: Path) -> None:
    configuration = Configuration("overflow", {"optimizer": optimizer}, "fp16")
    trainer = open_trainer(tmp_path, digits_channel, configuration)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**80)
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    trainer.model.train()
    trainer.step(trainer.training.order(0, 0)[:32])
    assert trainer.scaler.get_scale() == 2.0**79
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())
    momenta = [state.get("momentum_buffer") for state in trainer.optimizer.state.values()]
    assert not [momentum for momentum in momenta if momentum is not None], "nothing remembers a step that was skipped"


@pytest.mark.unit
def test_the_exported_model_is_the_same_file(references: References, digits_channel: Path, tmp_path: Path) -> None:
    configuration = SHORT[0]
    ended = run(configuration, tmp_path / "run", digits_channel, STRUCK_EVERYWHERE)
    assert ended.attempts == len(STRUCK_EVERYWHERE) + 1

    def exported(name: str, trainer: Trainer) -> dict[str, bytes]:
        images = trainer.validation.batch(slice(0, 2))[0].mul(255).byte().numpy()
        classes = [str(digit) for digit in range(10)]
        export_artifact(tmp_path / name, best_model(trainer), trainer.architecture, classes, images)
        return {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}

    whole = exported("whole", references.of(configuration).trainer)
    assert set(whole) == {"model.onnx", "model.safetensors", "signature.json"}
    assert exported("resumed", ended.trainer) == whole


# --- a checkpoint that is not what it should be -------------------------------------------------------


def _truncate(folder: Path) -> None:
    content = (folder / "state.pt").read_bytes()
    (folder / "state.pt").write_bytes(content[: len(content) // 2])


def _flip(folder: Path) -> None:
    content = bytearray((folder / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "state.pt").write_bytes(content)


def _claim(**fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        (folder / "manifest.json").write_text(json.dumps(manifest | fields))

    return change


DOCTORED = {
    "truncated": (_truncate, "step 6 is damaged"),
    "a bit flipped": (_flip, "step 6 is damaged"),
    "no state": (lambda folder: (folder / "state.pt").unlink(), "cannot be read"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "cannot be read"),
    "half a manifest": (lambda folder: (folder / "manifest.json").write_text('{"format": 1, "st'), "cannot be read"),
    "another format": (
        _claim(format=2, state_sha256=None),
        "has format 2; this version of the platform reads format 1",
    ),
    "another step": (_claim(step=7), "of step 6 holds step 7"),
}


@pytest.fixture(scope="session")
def checkpoint(references: References) -> Path:
    """The reference's checkpoint of the first epoch's end."""
    trainer = references.of(SHORT[0]).trainer
    kept = sorted(int(path.name) for path in (trainer._process.work_folder / "checkpoints").iterdir())  # noqa: SLF001 - the folder has no other name
    assert kept == [12, 18, 24], "the last three are kept"
    return trainer._process.work_folder / "checkpoints" / "12"  # noqa: SLF001 - see above


@pytest.mark.unit
@pytest.mark.parametrize("name", DOCTORED)
def test_a_doctored_checkpoint_is_refused_and_nothing_is_trained(
    name: str, checkpoint: Path, digits_channel: Path, tmp_path: Path
) -> None:
    doctor, message = DOCTORED[name]
    copy = tmp_path / "12"
    shutil.copytree(checkpoint, copy)
    doctor(copy)
    trainer = open_trainer(tmp_path / "job", digits_channel, SHORT[0], copy)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    with pytest.raises(JobError, match=message.replace("step 6", "step 12")) as refused:
        trainer.train()
    assert refused.value.failure_class == "platform"
    assert trainer.position.step == 0
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())


@pytest.mark.unit
def test_a_checkpoint_of_another_torch_is_used_and_said(
    checkpoint: Path, references: References, digits_channel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "12"
    shutil.copytree(checkpoint, copy)
    _claim(torch_version="1.0")(copy)
    trainer = open_trainer(tmp_path / "job", digits_channel, SHORT[0], copy)
    trainer.train()
    assert "written by PyTorch 1.0" in capsys.readouterr().out
    assert trainer.position.step == references.of(SHORT[0]).trainer.position.step


@pytest.mark.unit
def test_a_checkpoint_cut_short_by_a_kill_is_no_checkpoint(checkpoint: Path) -> None:
    """What a kill in the middle of writing leaves has another name, and is never told."""
    assert all(path.name.isdigit() for path in checkpoint.parent.iterdir())
    state = read_checkpoint(checkpoint, 12).state
    assert state["position"]["step"] == 12
    assert state.keys() == {"model", "optimizer", "scaler", "position", "best_weights", "sums", "random"}
    assert state["random"].keys() == random_state().keys()

"""`modelyard training-jobs` (in short `train`), `compression-jobs`, `sleep-jobs`: start a job of a kind."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.commands.jobs import LINES
from backend.commands.output import money, news, seconds, show_one
from backend.commands.parameters import (
    AttemptsOption,
    InstanceTypeOption,
    KeepAliveOption,
    MarketOption,
    ProjectOption,
    RuntimeOption,
    SetOption,
    TagsOption,
    WaitOption,
    nested,
    pairs,
)
from backend.commands.session import session_of
from backend.commands.waiting import wait_for_job

if TYPE_CHECKING:
    from modelyard.client import Client
    from modelyard.types import Job

training = typer.Typer(no_args_is_help=True, help="Train a model on a dataset version.")
compression = typer.Typer(no_args_is_help=True, help="Make a model version smaller and faster.")
sleeping = typer.Typer(no_args_is_help=True, help="Diagnostic jobs: queue, placement, agent, sandbox and bill.")

AlgorithmOption = Annotated[str, typer.Option(help="image-classification, or text-classification")]


TRAINING_ESTIMATE = {
    "like jobs": lambda one: one.like_jobs,
    "takes": lambda one: _spread(one.seconds_low, one.seconds_high, seconds),
    "costs": lambda one: _spread(one.amount_low, one.amount_high, money),
    "per second": lambda one: None if one.price_per_second is None else money(one.price_per_second),
    "at most": lambda one: _spread(None, one.at_most_amount, money),
}
COMPRESSION_ESTIMATE = {
    "like jobs": lambda one: one.like_jobs,
    "takes": lambda one: _spread(one.seconds, one.seconds, seconds),
    "costs": lambda one: _spread(one.amount, one.amount, money),
    "per second": lambda one: None if one.price_per_second is None else money(one.price_per_second),
    "at most": lambda one: _spread(None, one.at_most_amount, money),
}


def _spread(low: Any, high: Any, written: Callable[[Any], str]) -> str:  # noqa: ANN401 - seconds or dollars
    """From low to high; "not known" where no like job ran or there is no price."""
    if high is None:
        return "not known"
    return written(high) if low is None or low == high else f"{written(low)} to {written(high)}"


@training.command("create")
def train(
    context: typer.Context,
    name: str,
    project: ProjectOption,
    dataset: Annotated[str, typer.Option(help="dataset version: id, name:number, or name (the newest)")],
    model: Annotated[str, typer.Option(help="the model that gets a new version")],
    algorithm: AlgorithmOption = "image-classification",
    hyperparameter: SetOption = None,
    instance_type: InstanceTypeOption = "local.cpu",
    market: MarketOption = "on-demand",
    max_attempts: AttemptsOption = 3,
    max_runtime_seconds: RuntimeOption = 86_400,
    keep_alive_seconds: KeepAliveOption = 0,
    tag: TagsOption = None,
    wait: WaitOption = False,
) -> None:
    """Train a classifier of images or texts; the best weights become the next version of the model.

    Hyperparameters: --set epochs=5 --set precision=bf16 --set augmentation.enabled=false
    """
    from modelyard import lookup

    hyperparameters, tags = nested(hyperparameter, "--set"), pairs(tag, "--tag")
    with session_of(context).client() as client:
        job = client.training_jobs.create(
            lookup.project(client, project).id,
            name,
            dataset_version_id=lookup.dataset_version(client, dataset).id,
            model_name=model,
            hyperparameters=hyperparameters,
            algorithm=algorithm,
            instance_type=instance_type,
            market=market,
            max_attempts=max_attempts,
            max_runtime_seconds=max_runtime_seconds,
            keep_alive_seconds=keep_alive_seconds,
            tags=tags,
        )
        _tell(context, client, job, wait=wait)


@training.command("estimate")
def estimate_training(
    context: typer.Context,
    project: ProjectOption,
    dataset: Annotated[str, typer.Option(help="dataset version: id, name:number, or name (the newest)")],
    algorithm: AlgorithmOption = "image-classification",
    hyperparameter: SetOption = None,
    instance_type: InstanceTypeOption = "local.cpu",
    market: MarketOption = "on-demand",
) -> None:
    """Tell what a training would take and cost, from those like it. Starts nothing."""
    from modelyard import lookup

    hyperparameters = nested(hyperparameter, "--set")
    with session_of(context).client() as client:
        found = client.training_jobs.estimate(
            lookup.project(client, project).id,
            dataset_version_id=lookup.dataset_version(client, dataset).id,
            hyperparameters=hyperparameters,
            algorithm=algorithm,
            instance_type=instance_type,
            market=market,
        )
        show_one(session_of(context), found, TRAINING_ESTIMATE)


@compression.command("estimate")
def estimate_compression(
    context: typer.Context,
    project: ProjectOption,
    model_version: Annotated[str, typer.Option(help="model version: id, name:number, or name (the newest)")],
    instance_type: InstanceTypeOption = "local.cpu",
    market: MarketOption = "on-demand",
) -> None:
    """Tell what a compression would take and cost, from those that ran. Starts nothing."""
    from modelyard import lookup

    with session_of(context).client() as client:
        found = client.compression_jobs.estimate(
            lookup.project(client, project).id,
            model_version_id=lookup.model_version(client, model_version).id,
            instance_type=instance_type,
            market=market,
        )
        show_one(session_of(context), found, COMPRESSION_ESTIMATE)


@compression.command("create")
def compress(
    context: typer.Context,
    name: str,
    project: ProjectOption,
    model_version: Annotated[str, typer.Option(help="model version: id, name:number, or name (the newest)")],
    model: Annotated[str | None, typer.Option(help="the model that gets the new version (default: the same)")] = None,
    dataset: Annotated[str | None, typer.Option(help="dataset version of the gate (default: trained on)")] = None,
    parameter: SetOption = None,
    instance_type: InstanceTypeOption = "local.cpu",
    market: MarketOption = "on-demand",
    max_attempts: AttemptsOption = 3,
    max_runtime_seconds: RuntimeOption = 86_400,
    keep_alive_seconds: KeepAliveOption = 0,
    tag: TagsOption = None,
    wait: WaitOption = False,
) -> None:
    """Quantize, prune or both; a version that loses too much accuracy or is not faster is refused.

    Parameters: --set method=dynamic-int8 --set pruning.kind=structured --set pruning.amount=0.5
    --set max_accuracy_loss_points=0.5 --set minimum_speedup=1.2
    """
    from modelyard import lookup

    options: dict[str, Any] = {"tags": pairs(tag, "--tag")}
    parameters = nested(parameter, "--set")
    with session_of(context).client() as client:
        if dataset is not None:
            options["dataset_version_id"] = lookup.dataset_version(client, dataset).id
        job = client.compression_jobs.create(
            lookup.project(client, project).id,
            name,
            model_version_id=lookup.model_version(client, model_version).id,
            model_name=model,
            parameters=parameters,
            instance_type=instance_type,
            market=market,
            max_attempts=max_attempts,
            max_runtime_seconds=max_runtime_seconds,
            keep_alive_seconds=keep_alive_seconds,
            **options,
        )
        _tell(context, client, job, wait=wait)


@sleeping.command("create")
def sleep(
    context: typer.Context,
    name: str,
    project: ProjectOption,
    seconds: Annotated[float, typer.Option(min=0, help="how long")] = 1.0,
    instance_type: InstanceTypeOption = "local.cpu",
    market: MarketOption = "on-demand",
    wait: WaitOption = False,
) -> None:
    """Start a job that only sleeps, to see whether everything works."""
    from modelyard import lookup

    with session_of(context).client() as client:
        project_id = lookup.project(client, project).id
        job = client.jobs.sleep(project_id, name, seconds=seconds, instance_type=instance_type, market=market)
        _tell(context, client, job, wait=wait)


def _tell(context: typer.Context, client: "Client", job: "Job", *, wait: bool) -> None:
    if wait:
        job = wait_for_job(client, job.id)
    else:
        news(f"follow it with `modelyard jobs logs -f {job.name}`")
    show_one(session_of(context), job, LINES)

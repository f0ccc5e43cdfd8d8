"""`modelyard endpoints`: put model versions behind an address, split traffic, ask."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.commands.output import news, show_list, show_one, standing, write_json
from backend.commands.parameters import InstanceTypeOption, LimitOption, ProjectFilter, ProjectOption, numbers
from backend.commands.session import session_of
from backend.commands.waiting import wait_for_endpoint

if TYPE_CHECKING:
    from modelyard.types import Endpoint, EndpointConfig

app = typer.Typer(no_args_is_help=True, help="Addresses that answer inference.")

EndpointArgument = Annotated[str, typer.Argument(help="id or name")]
TimeoutOption = Annotated[float, typer.Option(min=1, help="how long --wait waits, in seconds")]


def _traffic(endpoint: "Endpoint") -> str:
    """The wanted split, and the one in force where that is still another."""
    wanted = _shares(endpoint.config)
    live = _shares(endpoint.live_config) if endpoint.live_config else wanted
    return wanted if live == wanted else f"{wanted} (now {live})"


def _shares(config: "EndpointConfig") -> str:
    whole = sum(variant.weight for variant in config.variants)
    return ", ".join(f"{one.name} {one.weight / whole:.1%}" if whole else one.name for one in config.variants)


def _replicas(endpoint: "Endpoint") -> str:
    serving = sum(replica.status == "in_service" for replica in endpoint.replicas)
    return f"{serving} of {endpoint.config.replica_count}"


COLUMNS = {
    "id": lambda one: one.id,
    "name": lambda one: one.name,
    "status": lambda one: one.status,
    "traffic": _traffic,
    ">replicas": _replicas,
    "created": lambda one: one.created_at,
}
LINES = {
    "id": lambda one: one.id,
    "name": lambda one: one.name,
    "status": lambda one: standing(one.status, one.status_reason),
    "traffic": _traffic,
    "variants": lambda one: [f"{each.name} = {each.model_version_id}" for each in one.config.variants],
    "instance type": lambda one: one.config.instance_type,
    "replicas": _replicas,
    "path": lambda one: one.infer_path,
    "created": lambda one: one.created_at,
    "in service": lambda one: one.in_service_at,
    "deletion asked": lambda one: one.delete_requested_at,
}


@app.command("list")
def list_endpoints(
    context: typer.Context,
    project: ProjectFilter = None,
    status: Annotated[str | None, typer.Option(help="in_service, …; deleted ones only with `deleted`")] = None,
    limit: LimitOption = 100,
) -> None:
    """List endpoints."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        project_id = lookup.project(client, project).id if project else None
        show_list(session, islice(client.endpoints.list(project_id=project_id, status=status), limit), COLUMNS)


@app.command()
def create(
    context: typer.Context,
    name: str,
    project: ProjectOption,
    variant: Annotated[
        list[str], typer.Option(metavar="NAME=VERSION[@WEIGHT]", help="a model version and its weight; repeated")
    ],
    instance_type: InstanceTypeOption = "local.cpu",
    replica_count: Annotated[int, typer.Option(min=1, help="replicas")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="serving processes per replica, at most")] = 1,
    protected: Annotated[bool, typer.Option("--protected", help="take approved model versions only")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="until it is in service")] = False,
    timeout_seconds: TimeoutOption = 180,
) -> None:
    """Create an endpoint: --variant fp32=digits:1@70 --variant int8=digits:2@30."""
    from modelyard import lookup

    session = session_of(context)
    wanted = [_variant(text) for text in variant]
    with session.client() as client:
        made = client.endpoints.create(
            lookup.project(client, project).id,
            name,
            variants=[
                {"name": one, "model_version_id": lookup.model_version(client, version).id, "weight": weight}
                for one, version, weight in wanted
            ],
            instance_type=instance_type,
            replica_count=replica_count,
            processes=processes,
            protected=protected,
        )
        if wait:
            made = wait_for_endpoint(client, made.id, "in_service", timeout_seconds=timeout_seconds)
            if session.gateway_address is not None:
                with session.inference() as inference:
                    inference.wait_ready(made.name)
        show_one(session, made, LINES)


def _variant(text: str) -> tuple[str, str, float | int]:
    """Name, version reference and weight (1 when not given) of NAME=VERSION[@WEIGHT]. Raises BadParameter."""
    name, equals, rest = text.partition("=")
    version, at, weight = rest.partition("@")
    if not equals or not name or not version:
        raise typer.BadParameter(f"'{text}' is not NAME=VERSION[@WEIGHT]", param_hint="--variant")
    return name, version, numbers([f"{name}={weight}"], "--variant")[name] if at else 1


@app.command()
def show(context: typer.Context, endpoint: EndpointArgument) -> None:
    """Show one endpoint."""
    from modelyard import lookup

    session = session_of(context)
    with session.client() as client:
        show_one(session, lookup.endpoint(client, endpoint), LINES)


@app.command()
def weights(
    context: typer.Context,
    endpoint: EndpointArgument,
    weight: Annotated[list[str], typer.Argument(metavar="VARIANT=WEIGHT…", help="variants left out keep theirs")],
) -> None:
    """Change how traffic is split; no replica is replaced."""
    from modelyard import lookup

    session = session_of(context)
    wanted = numbers(weight, "VARIANT=WEIGHT")
    with session.client() as client:
        found = lookup.endpoint(client, endpoint)
        show_one(session, client.endpoints.set_weights(found.id, wanted), LINES)


@app.command()
def delete(
    context: typer.Context,
    endpoint: EndpointArgument,
    wait: Annotated[bool, typer.Option("--wait", help="until its replicas have ended")] = False,
    timeout_seconds: TimeoutOption = 180,
) -> None:
    """Delete an endpoint: it stops answering at once."""
    from modelyard import lookup

    with session_of(context).client() as client:
        found = lookup.endpoint(client, endpoint)
        client.endpoints.delete(found.id)
        if wait:
            wait_for_endpoint(client, found.id, "deleted", timeout_seconds=timeout_seconds)
        else:
            news(f"endpoint '{found.name}' is being deleted")


@app.command()
def invoke(
    context: typer.Context,
    endpoint: EndpointArgument,
    image: Annotated[Path, typer.Argument(help="an image file")],
    variant: Annotated[str | None, typer.Option(help="ask this variant, whatever the weights")] = None,
    resize: Annotated[bool, typer.Option("--resize", help="fit the image to the model's size")] = False,
    top: Annotated[int, typer.Option(min=1, help="so many of the likeliest classes")] = 3,
) -> None:
    """Ask an endpoint what is in an image."""
    from modelyard import lookup
    from modelyard.classify import classify

    session = session_of(context)
    with session.client() as client, session.inference() as inference:
        found = lookup.endpoint(client, endpoint)
        config = found.live_config or found.config
        version = client.models.version(config.variants[0].model_version_id)
        answer = classify(inference, found.name, version.signature, image, variant=variant, resize=resize)
    if session.output == "json":
        write_json(answer)
        return
    news(f"answered by variant '{answer.variant}' in {answer.milliseconds:.1f} ms")
    show_list(session, answer.classes[:top], CLASS_COLUMNS)


CLASS_COLUMNS = {"class": lambda one: one.label, ">probability": lambda one: f"{one.probability:.2%}"}

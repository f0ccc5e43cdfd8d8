"""The endpoints API: what is accepted, what is refused and how."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from backend.billing.models import SpendingHold
from backend.core import wire
from backend.core.ids import new_id
from backend.endpoints import service
from tests.endpoints.conftest import TYPE, World
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
URL = "/api/v1/endpoints"


def test_an_endpoint_is_created_listed_and_read(client: TestClient, world: World) -> None:
    made = client.post(URL, json=world.body(tags={"team": "a"}, replica_count=2))
    assert made.status_code == 201, made.text
    endpoint = made.json()
    assert (endpoint["status"], endpoint["live_config"], endpoint["replicas"]) == ("creating", None, [])
    assert [(one["name"], one["weight"]) for one in endpoint["config"]["variants"]] == [("fp32", 70.0), ("int8", 30.0)]
    assert endpoint["infer_path"] == "/v2/models/digits/infer"
    assert client.get(f"{URL}/{endpoint['id']}").json() == endpoint
    assert [one["id"] for one in client.get(URL, params={"name": "digits"}).json()["items"]] == [endpoint["id"]]
    assert client.get(URL, params={"status": "deleted"}).json()["items"] == []
    (event,) = client.get(f"{URL}/{endpoint['id']}/events").json()["items"]
    assert (event["from_status"], event["to_status"]) == (None, "creating")


def variants(world: World, *weights: float, **other: Any) -> list[dict[str, Any]]:
    return [
        {"name": f"v{number}", "model_version_id": str(world.make_version()), "weight": weight} | other
        for number, weight in enumerate(weights)
    ]


@pytest.mark.parametrize("weights", [(), (-1, 2), (0, 0), (1e300,), (float("1e-9"),)])
def test_weights_that_mean_nothing_are_refused(client: TestClient, world: World, weights: tuple[float, ...]) -> None:
    answer = client.post(URL, json=world.body(variants=variants(world, *weights)))
    assert answer.status_code == 422, answer.text
    assert client.get(URL).json()["items"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"instance_type": "ml.none"},
        {"replica_count": 0},
        {"processes": 65},
        {"name": "no spaces"},
        {"max_body_bytes": 1},
        {"surprise": 1},
        {"tags": {"": "x"}},
        {"instance_type": "a\x00"},
        {"tags": {"a": "\x00"}},
        {"name": "a\x00"},
    ],
)
def test_bad_values_are_refused(client: TestClient, world: World, change: dict[str, Any]) -> None:
    assert client.post(URL, json=world.body(**change)).status_code == 422


@pytest.mark.parametrize("name", ["-a", "A", "a_b", "", "a" * 64, "ü"])
def test_a_variant_is_named_like_a_dns_label(client: TestClient, world: World, name: str) -> None:
    assert client.post(URL, json=world.body(variants=variants(world, 1, name=name))).status_code == 422


def test_variants_have_names_of_their_own(client: TestClient, world: World) -> None:
    answer = client.post(URL, json=world.body(variants=variants(world, 1, 1, name="same")))
    assert (answer.status_code, answer.json()["code"]) == (422, "variants_invalid")


def test_a_name_is_unique_in_the_organization_until_it_is_deleted(client: TestClient, world: World) -> None:
    first = client.post(URL, json=world.body()).json()
    again = client.post(URL, json=world.body())
    assert (again.status_code, again.json()["code"]) == (409, "endpoint_name_taken")
    assert client.delete(f"{URL}/{first['id']}").status_code == 202
    world.tick()
    assert world.status(first["id"]) == "deleted"
    assert client.post(URL, json=world.body()).status_code == 201


def test_unknown_and_foreign_things_are_not_found(
    client: TestClient, world: World, make_world: Callable[[Tenant], World], make_tenant: Callable[[], Tenant]
) -> None:
    other = make_world(make_tenant())
    foreign = {"name": "a", "model_version_id": str(other.make_version()), "weight": 1}
    unknown = foreign | {"model_version_id": str(new_id())}
    for variant in (foreign, unknown):
        assert client.post(URL, json=world.body(variants=[variant])).status_code == 404
    for project in (other.tenant.project_id, new_id()):
        assert client.post(URL, json=world.body(project_id=str(project))).status_code == 404
    assert client.get(f"{URL}/{new_id()}").status_code == 404


def test_another_organization_sees_and_changes_nothing(
    client: TestClient,
    world: World,
    make_client: Callable[..., TestClient],
    make_tenant: Callable[[], Tenant],
) -> None:
    endpoint = client.post(URL, json=world.body()).json()
    stranger = make_client(make_tenant())
    address = f"{URL}/{endpoint['id']}"
    assert stranger.get(URL).json()["items"] == []
    assert stranger.get(address).status_code == 404
    assert stranger.get(f"{address}/traffic").status_code == 404
    assert stranger.patch(f"{address}/weights", json={"weights": {"fp32": 1}}).status_code == 404
    config = {key: value for key, value in world.body().items() if key in ("instance_type", "variants")}
    assert stranger.put(f"{address}/config", json=config).status_code == 404
    assert stranger.patch(address, json={"protected": True}).status_code == 404
    assert stranger.delete(address).status_code == 404
    assert world.status(endpoint["id"]) == "creating"


def test_variants_take_the_same_input(client: TestClient, world: World) -> None:
    wide = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 3, 28, 28]}]}
    mixed = variants(world, 1)
    mixed.append({"name": "wide", "model_version_id": str(world.make_version(wide)), "weight": 1})
    answer = client.post(URL, json=world.body(variants=mixed))
    assert (answer.status_code, answer.json()["code"]) == (422, "signature_mismatch")
    assert "[-1, 3, 28, 28]" in answer.json()["detail"]


def test_a_rejected_version_may_not_serve(client: TestClient, world: World) -> None:
    rejected = {"name": "a", "model_version_id": str(world.make_version(approval="rejected")), "weight": 1}
    answer = client.post(URL, json=world.body(variants=[rejected]))
    assert (answer.status_code, answer.json()["code"]) == (422, "model_version_rejected")


def only(version: UUID) -> list[dict[str, Any]]:
    return [{"name": "a", "model_version_id": str(version), "weight": 1}]


def refused_as_not_approved(answer: Any) -> bool:
    return (answer.status_code, answer.json()["code"]) == (422, "model_version_not_approved")


def test_a_protected_endpoint_takes_approved_versions_only(client: TestClient, world: World) -> None:
    pending, approved = world.make_version(approval="pending"), world.make_version()
    assert refused_as_not_approved(client.post(URL, json=world.body(variants=only(pending), protected=True)))
    made = client.post(URL, json=world.body(variants=only(approved), protected=True))
    assert made.status_code == 201, made.text
    assert made.json()["protected"]
    config = {"instance_type": TYPE, "variants": only(pending)}
    answer = client.put(f"{URL}/{made.json()['id']}/config", json=config)
    assert refused_as_not_approved(answer)
    assert answer.json()["model_version_id"] == str(pending)
    assert "is pending" in answer.json()["detail"]
    assert client.post(f"/api/v1/model-versions/{pending}/approve").status_code == 200
    assert client.put(f"{URL}/{made.json()['id']}/config", json=config).status_code == 200


def test_an_endpoint_is_protected_once_all_it_has_is_approved(client: TestClient, world: World) -> None:
    pending = world.make_version(approval="pending")
    made = client.post(URL, json=world.body(variants=only(pending), tags={"team": "a"})).json()
    address = f"{URL}/{made['id']}"
    assert not made["protected"]
    assert refused_as_not_approved(client.patch(address, json={"protected": True}))
    assert not client.get(address).json()["protected"]
    client.post(f"/api/v1/model-versions/{pending}/approve")
    changed = client.patch(address, json={"protected": True}).json()
    assert (changed["protected"], changed["tags"]) == (True, {"team": "a"})
    assert client.get(address).json() == changed
    changed = client.patch(address, json={"protected": False, "tags": {}}).json()
    assert (changed["protected"], changed["tags"]) == (False, {})
    for bad in ({"protected": "yes"}, {"name": "other"}, {"tags": {"": "x"}}):
        assert client.patch(address, json=bad).status_code == 422
    client.delete(address)
    assert client.patch(address, json={"protected": True}).status_code == 409


def test_a_version_rejected_meanwhile_gets_less_traffic_but_not_more(client: TestClient, world: World) -> None:
    body = world.body(protected=True)
    address = f"{URL}/{client.post(URL, json=body).json()['id']}"
    spoilt = body["variants"][1]["model_version_id"]
    client.post(f"/api/v1/model-versions/{spoilt}/reject", json={"reason": "drifts"})
    assert refused_as_not_approved(client.patch(f"{address}/weights", json={"weights": {"int8": 31}}))
    assert client.patch(f"{address}/weights", json={"weights": {"fp32": 90, "int8": 0}}).status_code == 200


def test_where_versions_of_a_model_stand(client: TestClient, world: World) -> None:
    approved, other = world.make_version(), world.make_version()
    made = client.post(URL, json=world.body(variants=only(approved))).json()
    gone = client.post(URL, json=world.body(name="gone", variants=only(approved))).json()
    models = [UUID(client.get(f"/api/v1/model-versions/{version}").json()["model_id"]) for version in (approved, other)]

    def stands() -> list[tuple[str, UUID, bool]]:
        with world.app.unit_of_work(world.tenant.scope) as session:
            found = service.deployments(session, world.tenant.scope, models)
        return [(one.endpoint_name, one.model_version_id, one.live) for one in found]

    assert stands() == [("digits", approved, False), ("gone", approved, False)]
    client.delete(f"{URL}/{gone['id']}")
    (replica,) = (world.tick(), world.boot(), world.tick(), world.replicas(made["id"], "starting"))[-1]
    probes = [wire.VariantProbe(variant="a", ok=True, latency_ms=1.0, detail="")]
    world.say(replica, wire.Started(pid=7), wire.ReplicaReady(socket_path="/run/a.sock", probes=probes))
    world.tick()
    assert stands() == [("digits", approved, True)]
    client.put(f"{URL}/{made['id']}/config", json={"instance_type": TYPE, "variants": only(other)})
    assert stands() == [("digits", other, False), ("digits", approved, True)]


def test_a_hold_on_spending_stops_new_endpoints(client: TestClient, world: World) -> None:
    with world.controller.unit_of_work() as session:
        session.add(SpendingHold(organization_id=world.tenant.organization_id, project_id=None, reason="budget used"))
    answer = client.post(URL, json=world.body())
    assert (answer.status_code, answer.json()["code"]) == (403, "spending_on_hold")
    assert "budget used" in answer.json()["detail"]


def test_weights_change_by_name(client: TestClient, world: World) -> None:
    endpoint = client.post(URL, json=world.body()).json()
    address = f"{URL}/{endpoint['id']}/weights"
    changed = client.patch(address, json={"weights": {"int8": 0.5}}).json()
    assert [one["weight"] for one in changed["config"]["variants"]] == [70.0, 0.5]
    assert changed["config"]["number"] == 2
    for weights in ({"none": 1}, {"fp32": -1}, {"fp32": 0, "int8": 0}, {}):
        assert client.patch(address, json={"weights": weights}).status_code == 422
    client.delete(f"{URL}/{endpoint['id']}")
    gone = client.patch(address, json={"weights": {"int8": 1}})
    assert (gone.status_code, gone.json()["code"]) == (409, "endpoint_being_deleted")


def test_a_viewer_reads_and_changes_nothing(
    client: TestClient, make_client: Callable[..., TestClient], world: World
) -> None:
    endpoint = client.post(URL, json=world.body()).json()
    viewer = make_client(world.tenant, "viewer")
    assert viewer.get(f"{URL}/{endpoint['id']}").status_code == 200
    assert viewer.post(URL, json=world.body(name="b")).status_code == 403
    assert viewer.patch(f"{URL}/{endpoint['id']}", json={"protected": True}).status_code == 403
    assert viewer.delete(f"{URL}/{endpoint['id']}").status_code == 403


@pytest.mark.parametrize("query", ["name=%00", "status=%00", "project_id=7", "cursor=x", "limit=1000"])
def test_bad_filters_are_refused(client: TestClient, query: str) -> None:
    assert client.get(f"{URL}?{query}").status_code == 422


def test_pages_hold_every_endpoint_once(client: TestClient, world: World) -> None:
    body = world.body()
    ids = {client.post(URL, json=body | {"name": f"e{number}"}).json()["id"] for number in range(3)}
    first = client.get(URL, params={"limit": 2}).json()
    second = client.get(URL, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert {one["id"] for one in first["items"] + second["items"]} == ids
    assert second["next_cursor"] is None


def test_a_config_is_checked_like_a_new_endpoint(client: TestClient, world: World) -> None:
    endpoint = client.post(URL, json=world.body()).json()
    address = f"{URL}/{endpoint['id']}/config"
    assert client.put(address, json={"instance_type": TYPE, "variants": variants(world, 0)}).status_code == 422
    changed = client.put(address, json={"instance_type": TYPE, "replica_count": 3, "variants": variants(world, 1)})
    assert changed.json()["config"]["replica_count"] == 3

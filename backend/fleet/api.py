"""REST routes of the fleet: what can be had, what is running, and draining it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from backend.core.http import Manager, Reader, Transaction
from backend.core.problems import raises
from backend.fleet import service
from backend.fleet.errors import InstanceNotFound
from backend.fleet.schemas import Instances, InstanceTypes, InstanceTypeView, InstanceView

router = APIRouter(prefix="/api/v1", tags=["fleet"])


@router.get("/instance-types")
def list_instance_types(session: Transaction, principal: Reader) -> InstanceTypes:
    """The shapes that can be asked for."""
    rows = service.list_instance_types(session, principal.scope)
    return InstanceTypes(items=[InstanceTypeView.model_validate(row) for row in rows])


@router.get("/instances")
def list_instances(
    session: Transaction,
    principal: Reader,
    include_terminated: bool = False,  # noqa: FBT001, FBT002 - a query parameter
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Instances:
    """The organization's instances, newest first."""
    rows = service.list_instances(session, principal.scope, include_terminated=include_terminated, limit=limit)
    return Instances(items=[InstanceView.model_validate(row) for row in rows])


@router.get("/instances/{instance_id}", responses=raises(InstanceNotFound))
def get_instance(session: Transaction, principal: Reader, instance_id: UUID) -> InstanceView:
    """One instance."""
    return InstanceView.model_validate(service.get_instance(session, principal.scope, instance_id))


@router.post("/instances/{instance_id}/drain", status_code=202, responses=raises(InstanceNotFound))
def drain_instance(session: Transaction, principal: Manager, instance_id: UUID) -> InstanceView:
    """No new work on it; what it does is asked to checkpoint and move."""
    return InstanceView.model_validate(service.request_drain(session, principal.scope, instance_id))

"""Seed: what a platform needs before its first request. Idempotent; runs after `migrate`, as *controller*.

Every run: instance types of this host, the gateways' tokens, a price for each SKU that has none. First run only
(there is no organization yet): the organization "Default" with its quota, an owner with a random password, an API
key; these credentials go to `owner.json` in the home, mode 0600, written whole before the commit. A crash between
the two leaves a file that opens nothing, and the next run replaces it. Later runs renew the addresses in it.
"""

import ipaddress
import json
import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import psutil
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.billing.models import Price
from backend.core.crypto import hash_token
from backend.core.db import Database, Scope, make_engine
from backend.core.ids import new_account_id, new_id
from backend.core.settings import Settings, require
from backend.core.wire import GRPC_ROLE
from backend.core.wire import gateway_token as make_gateway_token
from backend.endpoints.models import Gateway
from backend.fleet.models import InstanceType, Quota
from backend.identity.keys import make_key
from backend.identity.models import Membership, Operator, Organization, User
from backend.identity.passwords import new_password
from backend.identity.security import Security, make_security

SEED_LOCK = 0x4D59_0002  # one seed at a time in the whole cluster
OWNER_EMAIL = "owner@modelyard.local"
OWNER_FILE = "owner.json"
ACTOR = "system:seed"
DEFAULT_QUOTA = 4
LOCAL_TYPE = "local.cpu"
PRICES = (
    (f"instance:{LOCAL_TYPE}:on-demand", "second", Decimal("0.000027778"), "local.cpu, about $0.10 an hour"),
    (f"instance:{LOCAL_TYPE}:spot", "second", Decimal("0.000008333"), "local.cpu, spot, about $0.03 an hour"),
    ("inference:call", "call", Decimal("0.0000004"), "one inference call, $0.40 a million"),
)
"""(SKU, unit, US dollars per unit, description)."""


@dataclass(frozen=True)
class SeedResult:
    """What the seed found or made. `owner_file` is written only when `created`."""

    created: bool
    organization_id: UUID
    owner_file: Path

    def __str__(self) -> str:
        """One line for people."""
        if self.created:
            return f"first boot: the owner's credentials are in {self.owner_file}"
        return f"seeded before: organization {self.organization_id}"


def seed(settings: Settings) -> SeedResult:
    """Seed the database of `settings`. Needs its controller URL, the master key and the gateway's token."""
    url = require(settings.database.controller_url, "MODELYARD_DATABASE__CONTROLLER_URL")
    gateway_token = require(settings.gateway.token, "MODELYARD_GATEWAY__TOKEN")
    security = make_security(settings.security)
    owner_file = settings.home.absolute() / OWNER_FILE
    database = Database(make_engine(url, pool_size=1, name="modelyard-seed"))
    try:
        with database.unit_of_work() as session:
            session.execute(select(func.pg_advisory_xact_lock(SEED_LOCK)))
            _seed_instance_type(session)
            _seed_prices(session)
            _seed_gateway(session, "default", gateway_token)
            _seed_gateway(session, GRPC_ROLE, make_gateway_token(gateway_token, GRPC_ROLE))
            first = session.scalar(select(Organization.id).order_by(Organization.id).limit(1))
            if first is not None:
                _renew_addresses(owner_file, settings)
                return SeedResult(created=False, organization_id=first, owner_file=owner_file)
            credentials = _make_first_organization(session, security)
            _write_private(owner_file, credentials | _addresses(settings))
            return SeedResult(created=True, organization_id=UUID(credentials["organization_id"]), owner_file=owner_file)
    finally:
        database.dispose()


def _seed_instance_type(session: Session) -> None:
    """The shape of this host; it may have changed since the last run."""
    shape = {
        "provider": "local",
        "vcpus": float(len(os.sched_getaffinity(0))),
        "memory_bytes": psutil.virtual_memory().total,
        "description": "A process group on this host, without a GPU",
    }
    statement = insert(InstanceType).values(name=LOCAL_TYPE, gpus=0, **shape)
    session.execute(statement.on_conflict_do_update(index_elements=[InstanceType.name], set_=shape))


def _seed_prices(session: Session) -> None:
    """A price for each SKU that never had one: prices that people set stay."""
    for sku, unit, amount, description in PRICES:
        if session.scalar(select(Price.id).where(Price.sku == sku).limit(1)) is None:
            session.add(
                Price(
                    sku=sku,
                    unit=unit,
                    amount=amount,
                    description=description,
                    effective_from=func.clock_timestamp(),
                )
            )


def _seed_gateway(session: Session, name: str, token: str) -> None:
    hashed = hash_token(token)
    statement = insert(Gateway).values(id=new_id(), name=name, token_hash=hashed)
    session.execute(statement.on_conflict_do_update(index_elements=[Gateway.name], set_={"token_hash": hashed}))


def _make_first_organization(session: Session, security: Security) -> dict[str, str]:
    """Organization, owner, key and quota; the credentials of `owner.json`."""
    scope, user_id, password = Scope(new_id()), new_id(), new_password()
    account_id = new_account_id()
    session.add(Organization(id=scope.organization_id, account_id=account_id, name="Default", slug="default"))
    session.add(User(id=user_id, email=OWNER_EMAIL, full_name="Owner", password_hash=security.passwords.hash(password)))
    session.flush()
    session.add(Membership(organization_id=scope.organization_id, user_id=user_id, role="owner"))
    session.add(Operator(user_id=user_id, granted_by=ACTOR))
    session.add(Quota(organization_id=scope.organization_id, instance_type="*", max_instances=DEFAULT_QUOTA))
    made = make_key(
        session,
        security.vault,
        scope,
        name="owner",
        role="owner",
        scopes=(),
        created_by=user_id,
        expires_at=None,
        tags={},
    )
    audit.record(
        session,
        ACTOR,
        scope,
        action="organization.create",
        resource_kind="organization",
        resource_id=scope.organization_id,
        detail={"name": "Default", "owner": OWNER_EMAIL, "access_key_id": made.key.access_key_id},
    )
    return {
        "api_key": made.token,
        "access_key_id": made.key.access_key_id,
        "email": OWNER_EMAIL,
        "password": password,
        "organization_id": str(scope.organization_id),
        "account_id": account_id,
    }


def _addresses(settings: Settings) -> dict[str, str]:
    return {
        "api_url": f"http://{_reachable(settings.api.host)}:{settings.api.port}",
        "gateway_url": f"http://{_reachable(settings.gateway.host)}:{settings.gateway.port}",
        "grpc_address": f"{_reachable(settings.gateway.host)}:{settings.gateway.grpc_port}",
    }


def _renew_addresses(owner_file: Path, settings: Settings) -> None:
    """Ports may differ from the last start's: `owner.json` names those of this one. Nothing else in it changes."""
    try:
        content = json.loads(owner_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # moved away by its owner, or no longer ours to understand
    if isinstance(content, dict) and content != (renewed := content | _addresses(settings)):
        _write_private(owner_file, renewed)


def _reachable(host: str) -> str:
    """Where this host reaches itself, for a server that listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1"
    return f"[{host}]" if address.version == 6 else host  # noqa: PLR2004 - IP version 6


def _write_private(path: Path, content: dict[str, str]) -> None:
    """Write JSON that only its owner may read; others see the whole file or none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)

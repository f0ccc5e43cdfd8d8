"""The walk: ancestors and descendants of one thing, level by level, until the answer is full."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.lineage.errors import LineageNotFound
from backend.lineage.nodes import Node, Ref, read_line
from backend.lineage.repository import CHECKPOINTS, CHILDREN, LineageRepository, Step
from backend.lineage.schemas import Direction, Kind

DEFAULT_NODES: Final = 200
MOST_NODES: Final = 500
MOST_LEVELS: Final = 40
__all__ = ["DEFAULT_NODES", "MOST_NODES", "Edge", "Lineage", "Node", "Ref", "read_lineage"]
Steps = list[tuple[Ref, Node]]
"""(where it starts, where it leads)."""


@dataclass(frozen=True)
class Edge:
    """`target` was made of, or with, `source`."""

    source: str
    target: str


@dataclass
class Lineage:
    """What was found. `nodes` begins with the root."""

    root: Node
    limit: int
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    truncated: bool = False
    known: dict[Ref, Node] = field(default_factory=dict)
    shown: Counter[tuple[Ref, Kind]] = field(default_factory=Counter)
    """Steps down from a thing by the kind that they lead to."""
    _drawn: set[Edge] = field(default_factory=set)

    def __post_init__(self) -> None:
        """The root is the first of them."""
        self._keep(self.root)

    def add(self, start: Ref, node: Node, *, level: int, down: bool) -> Node | None:
        """Keep a step and where it leads; returns the node if it is new, None if it is known or does not fit."""
        known = self.known.get(node.ref)
        if known is None and len(self.nodes) >= self.limit:
            self.truncated = self.known[start].more = True
            return None
        pair = (start, node.ref) if down else (node.ref, start)
        edge = Edge(str(pair[0]), str(pair[1]))
        if edge not in self._drawn:
            self._drawn.add(edge)
            self.edges.append(edge)
            self.shown[start, node.kind] += down
        if known is not None:
            return None
        node.level = level
        self._keep(node)
        return node

    def _keep(self, node: Node) -> None:
        self.known[node.ref] = node
        self.nodes.append(node)


def read_lineage(
    session: Session,
    scope: Scope,
    kind: Kind,
    identity: str,
    *,
    direction: Direction = "both",
    limit: int = DEFAULT_NODES,
) -> Lineage:
    """Everything that `kind`, `identity` was made of, and that was made of it. Raises LineageNotFound."""
    repository = LineageRepository(session, scope)
    root = _root(repository, kind, identity)
    if root is None:
        raise LineageNotFound(f"there is no {kind.replace('_', ' ')} {identity}")
    found = Lineage(root, limit)
    if direction in {"both", "up"}:
        _walk(found, [root], Upwards(repository), down=False)
    if direction in {"both", "down"}:
        beginning = _variants(found, repository) if kind == "endpoint" else [root]
        _walk(found, beginning, Downwards(repository), down=True)
    return found


def _variants(found: Lineage, repository: LineageRepository) -> list[Node]:
    """An endpoint is billed for what its variants serve: they are shown in either direction."""
    root = found.root
    for _, node in repository.variants_of_endpoints([root.ref.uuid]):
        found.add(root.ref, node, level=-1, down=False)
    return [node for node in found.nodes if node.kind == "variant" and node.level == -1]


def _root(repository: LineageRepository, kind: Kind, identity: str) -> Node | None:
    if kind == "invoice_line":
        key = read_line(identity)
        return repository.line(key) if key is not None else None
    try:
        ids = [UUID(identity)]
    except ValueError:
        return None
    readers: Mapping[Kind, Callable[[Sequence[UUID]], list[Node]]] = {
        "dataset_version": repository.dataset_versions,
        "job": repository.jobs,
        "attempt": repository.attempts,
        "checkpoint": repository.checkpoints,
        "model_version": repository.model_versions,
        "endpoint": repository.endpoints,
        "variant": repository.variants,
    }
    return next(iter(readers[kind](ids)), None)


def _walk(found: Lineage, beginning: Iterable[Node], steps: "Upwards | Downwards", *, down: bool) -> None:
    frontier = list(beginning)
    seen = {node.ref for node in frontier}
    for _ in range(MOST_LEVELS):
        if not frontier or len(found.nodes) >= found.limit:
            found.truncated = found.truncated or bool(frontier and _leads_on(frontier))
            return
        following: list[Node] = []
        for start, node in steps.from_all(frontier):
            if start in found.known and _is_more(found, start, node, down=down):
                found.truncated = found.known[start].more = True
                continue
            level = found.known[start].level + (1 if down else -1)
            found.add(start, node, level=level, down=down)
            if node.ref in found.known and node.ref not in seen:
                seen.add(node.ref)
                following.append(found.known[node.ref])
        frontier = following


def _leads_on(frontier: Sequence[Node]) -> bool:
    return any(node.kind not in {"invoice_line", "dataset_version"} for node in frontier)


def _is_more(found: Lineage, start: Ref, node: Node, *, down: bool) -> bool:
    """Whether this is the step beyond what is shown of one kind from one thing."""
    if not down:
        return False
    return found.shown[start, node.kind] >= (CHECKPOINTS if node.kind == "checkpoint" else CHILDREN)


def _ids(frontier: Iterable[Node], kind: Kind) -> list[UUID]:
    return [node.ref.uuid for node in frontier if node.kind == kind]


def _from(kind: Kind, steps: Iterable[Step]) -> Steps:
    return [(Ref(kind, str(start)), node) for start, node in steps]


class Downwards:
    """Steps to what was made of something."""

    def __init__(self, repository: LineageRepository) -> None:
        self._repository = repository

    def from_all(self, frontier: Sequence[Node]) -> Steps:
        """One level on, with one statement for each kind of step."""
        repository = self._repository
        found: Steps = []
        plain: tuple[tuple[Kind, Callable[[Sequence[UUID]], list[Step]]], ...] = (
            ("dataset_version", repository.jobs_reading_dataset),
            ("model_version", repository.jobs_reading_model),
            ("model_version", repository.variants_of_versions),
            ("job", repository.attempts_of),
            ("job", repository.lines_of_jobs),
            ("attempt", repository.checkpoints_of),
            ("checkpoint", repository.attempts_resuming),
        )
        for kind, read in plain:
            ids = _ids(frontier, kind)
            if ids:
                found += _from(kind, read(ids))
        return found + self._versions(frontier) + self._lines(frontier)

    def _versions(self, frontier: Sequence[Node]) -> Steps:
        """Attempt → model version; from a job only where the attempt is not known."""
        attempts = {node.ref.uuid: UUID(str(node.belongs)) for node in frontier if node.kind == "attempt"}
        jobs = set(_ids(frontier, "job"))
        wanted = sorted(jobs | set(attempts.values()))
        found: Steps = []
        for job_id, attempt_id, node in self._repository.versions_of_jobs(wanted) if wanted else ():
            if attempt_id in attempts:
                found.append((Ref("attempt", str(attempt_id)), node))
            elif attempt_id is None and job_id in jobs:
                found.append((Ref("job", str(job_id)), node))
        return found

    def _lines(self, frontier: Sequence[Node]) -> Steps:
        """Variant → invoice lines that its config's replicas were billed on; those not split belong to each variant."""
        variants = [node for node in frontier if node.kind == "variant"]
        if not variants:
            return []
        details = self._repository.places_of_variants([node.ref.uuid for node in variants])
        by_place: dict[UUID, list[tuple[str, Ref]]] = defaultdict(list)
        for variant_id, config_id, name in details:
            by_place[config_id].append((name, Ref("variant", str(variant_id))))
        endpoints = sorted({UUID(str(node.belongs)) for node in variants})
        found: Steps = []
        for _, billed, variant, line in self._repository.lines_of_configs(endpoints):
            if billed is not None:
                found += [(ref, line) for name, ref in by_place.get(billed, ()) if variant in {"", name}]
        return found


class Upwards:
    """Steps to what something was made of."""

    def __init__(self, repository: LineageRepository) -> None:
        self._repository = repository

    def from_all(self, frontier: Sequence[Node]) -> Steps:
        """One level on, with one statement for each kind of step."""
        repository = self._repository
        found: Steps = []
        plain: tuple[tuple[Kind, Callable[[Sequence[UUID]], list[Step]]], ...] = (
            ("endpoint", repository.variants_of_endpoints),
            ("variant", repository.version_of_variants),
            ("attempt", repository.resumed_from),
        )
        for kind, read in plain:
            ids = _ids(frontier, kind)
            if ids:
                found += _from(kind, read(ids))
        wanted = self._inputs(frontier) + self._origins(frontier) + self._owners(frontier)
        return found + self._read(wanted) + self._billed(frontier)

    def _inputs(self, frontier: Sequence[Node]) -> list[tuple[Ref, Ref]]:
        ids = _ids(frontier, "job")
        found: list[tuple[Ref, Ref]] = []
        for job_id, dataset_version_id, model_version_id in self._repository.inputs_of_jobs(ids) if ids else ():
            start = Ref("job", str(job_id))
            if dataset_version_id is not None:
                found.append((start, Ref("dataset_version", str(dataset_version_id))))
            if model_version_id is not None:
                found.append((start, Ref("model_version", str(model_version_id))))
        return found

    def _origins(self, frontier: Sequence[Node]) -> list[tuple[Ref, Ref]]:
        ids = _ids(frontier, "model_version")
        found: list[tuple[Ref, Ref]] = []
        origins = self._repository.origins_of_versions(ids) if ids else []
        for version_id, job_id, attempt_id, dataset_version_id, parent_id in origins:
            start = Ref("model_version", str(version_id))
            if attempt_id is not None:
                found.append((start, Ref("attempt", str(attempt_id))))
            elif job_id is not None:
                found.append((start, Ref("job", str(job_id))))
            elif dataset_version_id is not None:
                found.append((start, Ref("dataset_version", str(dataset_version_id))))
            if job_id is None and parent_id is not None:
                found.append((start, Ref("model_version", str(parent_id))))
        return found

    def _owners(self, frontier: Sequence[Node]) -> list[tuple[Ref, Ref]]:
        """Attempt → job. A checkpoint's attempt is read with it."""
        attempts = [(node.ref, Ref("job", str(node.belongs))) for node in frontier if node.kind == "attempt"]
        ids = _ids(frontier, "checkpoint")
        makers = self._repository.makers_of_checkpoints(ids) if ids else ()
        return attempts + [(Ref("checkpoint", str(one)), Ref("attempt", str(attempt))) for one, attempt in makers]

    def _read(self, wanted: Sequence[tuple[Ref, Ref]]) -> Steps:
        """The nodes that these references mean; those that are gone are left out."""
        readers: Mapping[Kind, Callable[[Sequence[UUID]], list[Node]]] = {
            "dataset_version": self._repository.dataset_versions,
            "job": self._repository.jobs,
            "attempt": self._repository.attempts,
            "model_version": self._repository.model_versions,
        }
        nodes: dict[Ref, Node] = {}
        for kind, read in readers.items():
            ids = sorted({ref.uuid for _, ref in wanted if ref.kind == kind})
            nodes.update({node.ref: node for node in (read(ids) if ids else ())})
        return [(start, nodes[ref]) for start, ref in wanted if ref in nodes]

    def _billed(self, frontier: Sequence[Node]) -> Steps:
        """Invoice line → the job, or the variants, that it is about."""
        found: Steps = []
        for node in frontier:
            key = read_line(node.id) if node.kind == "invoice_line" else None
            if key is None:
                continue
            if key.resource_kind == "job":
                found += [(node.ref, job) for job in self._repository.jobs([key.resource_id])]
            if key.resource_kind == "endpoint":
                configs = sorted(self._repository.configs_of_line(key))
                made = self._repository.variants_of_configs(configs, key.variant) if configs else []
                found += [(node.ref, variant) for variant in made]
        return found

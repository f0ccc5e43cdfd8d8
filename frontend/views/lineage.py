"""A lineage as a picture, laid out here in layers, and as a tree that is read from top to bottom."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from sqlalchemy.orm import Session

from backend.core.auth import Principal
from backend.lineage import service as lineage
from backend.lineage.schemas import Kind

BOX_WIDTH, BOX_HEIGHT = 184, 52
COLUMN, ROW, MARGIN, ABOVE = 220, 68, 8, 40
LONGEST_NAME, LONGEST_DETAIL = 22, 28
SWEEPS = 4
DEEPEST = 24
PAGES: Mapping[str, str] = {
    "dataset_version": "/data/versions/{id}",
    "job": "/training/{id}",
    "attempt": "/training/{belongs}",
    "checkpoint": "/training/{belongs}",
    "model_version": "/models/versions/{id}",
    "endpoint": "/endpoints/{id}",
    "variant": "/endpoints/{belongs}",
    "invoice_line": "/costs/invoices/{month}",
}


@dataclass(frozen=True, kw_only=True)
class Box:
    """One node of the picture. `x`, `y`: its upper left corner."""

    key: str
    kind: str
    name: str
    short: str
    detail: str
    short_detail: str
    path: str
    """Its own lineage."""
    page: str
    """Its page."""
    x: int
    y: int
    is_root: bool
    more: bool


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """From one box to another, as an SVG path."""

    path: str


@dataclass(kw_only=True)
class Branch:
    """A node in the tree, with what comes after it. `again`: its branches stand further up."""

    box: Box
    branches: list["Branch"] = field(default_factory=list)
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A lineage. `made_of` and `made_into` are trees that begin with the root's neighbours."""

    root: Box
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    width: int
    height: int
    made_of: Sequence[Branch]
    made_into: Sequence[Branch]
    truncated: bool


def read_picture(session: Session, viewer: Principal, kind: Kind, identity: str, *, limit: int) -> Picture:
    """The lineage of one thing. Raises LineageNotFound."""
    return draw(lineage.read_lineage(session, viewer.scope, kind, identity, limit=limit))


def address(kind: str, identity: str) -> str:
    """The page of a thing's lineage."""
    return f"/lineage/{kind}/{quote(identity, safe='~:.')}"


def draw(found: lineage.Lineage) -> Picture:
    """Boxes in layers from left to right, each after all it was made of, with few crossings."""
    keys = [str(node.ref) for node in found.nodes]
    pairs = [(edge.source, edge.target) for edge in found.edges]
    layer_of = _layers(keys, pairs)
    layers = _ordered(keys, pairs, layer_of)
    height = ABOVE * 2 + max(len(layer) for layer in layers) * ROW - (ROW - BOX_HEIGHT)
    places: dict[str, tuple[int, int]] = {}
    for column, layer in enumerate(layers):
        top = (height - (len(layer) * ROW - (ROW - BOX_HEIGHT))) // 2
        places.update({key: (MARGIN + column * COLUMN, top + row * ROW) for row, key in enumerate(layer)})
    boxes = {str(node.ref): _box(node, places[str(node.ref)], is_root=node is found.root) for node in found.nodes}
    root = boxes[str(found.root.ref)]
    after: dict[str, list[str]] = defaultdict(list)
    before: dict[str, list[str]] = defaultdict(list)
    for source, target in pairs:
        after[source].append(target)
        before[target].append(source)
    return Picture(
        root=root,
        boxes=[boxes[key] for layer in layers for key in layer],
        arrows=[_arrow(boxes[source], boxes[target]) for source, target in pairs],
        width=MARGIN * 2 + len(layers) * COLUMN - (COLUMN - BOX_WIDTH),
        height=height,
        made_of=_branches(root.key, before, boxes),
        made_into=_branches(root.key, after, boxes),
        truncated=found.truncated,
    )


def _layers(keys: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The longest way to each node; as many passes as there are layers (nothing is made of itself)."""
    layer = dict.fromkeys(keys, 0)
    for _ in range(len(keys)):
        moved = False
        for source, target in pairs:
            if layer[target] <= layer[source]:
                layer[target], moved = layer[source] + 1, True
        if not moved:
            break
    return layer


def _ordered(keys: Sequence[str], pairs: Sequence[tuple[str, str]], layer_of: Mapping[str, int]) -> list[list[str]]:
    """Nodes by layer, each near the middle of its neighbours (the barycentre heuristic, Sugiyama 1981)."""
    layers: list[list[str]] = [[] for _ in range(max(layer_of.values()) + 1)]
    for key in keys:
        layers[layer_of[key]].append(key)
    near: dict[str, list[str]] = defaultdict(list)
    for source, target in pairs:
        near[source].append(target)
        near[target].append(source)
    place = {key: row - len(layer) / 2 for layer in layers for row, key in enumerate(layer)}
    for _ in range(SWEEPS):
        for layer in layers:
            middle = {key: sum(place[one] for one in near[key]) / len(near[key]) if near[key] else 0.0 for key in layer}
            layer.sort(key=middle.__getitem__)
            place.update({key: row - len(layer) / 2 for row, key in enumerate(layer)})
    return layers


def _box(node: lineage.Node, place: tuple[int, int], *, is_root: bool) -> Box:
    month = node.id.partition("~")[0]
    return Box(
        key=str(node.ref),
        kind=node.kind,
        name=node.name,
        short=_short(node.name, LONGEST_NAME),
        detail=node.detail,
        short_detail=_short(node.detail, LONGEST_DETAIL),
        path=address(node.kind, node.id),
        page=PAGES[node.kind].format(id=node.id, belongs=node.belongs, month=month),
        x=place[0],
        y=place[1],
        is_root=is_root,
        more=node.more,
    )


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _arrow(source: Box, target: Box) -> Arrow:
    x1, y1 = source.x + BOX_WIDTH, source.y + BOX_HEIGHT // 2
    x2, y2 = target.x, target.y + BOX_HEIGHT // 2
    bend = max(24, (x2 - x1) // 2)
    # A way past other layers goes around the boxes that stand in between.
    bow = BOX_HEIGHT if x2 - source.x > COLUMN and abs(y2 - y1) < ROW else 0
    return Arrow(path=f"M{x1} {y1}C{x1 + bend} {y1 - bow} {x2 - bend} {y2 - bow} {x2 - 4} {y2}")


def _branches(root: str, steps: Mapping[str, Sequence[str]], boxes: Mapping[str, Box]) -> list[Branch]:
    """The tree of what follows the root; a node that follows from several stands with the first."""
    shown: set[str] = {root}

    def grow(key: str, depth: int) -> list[Branch]:
        grown: list[Branch] = []
        for one in dict.fromkeys(steps.get(key, ())):
            branch = Branch(box=boxes[one], again=one in shown and bool(steps.get(one)))
            grown.append(branch)
            if one not in shown and depth < DEEPEST:
                shown.add(one)
                branch.branches = grow(one, depth + 1)
        return grown

    return grow(root, 0)

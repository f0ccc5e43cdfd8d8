"""Which variant answers: the one asked for, the one a sticky key falls on, or a weighted draw."""

import bisect
import hashlib
import itertools
import random
from collections.abc import Iterable

from backend.core.wire import RouteVariant
from worker.serving.errors import RequestError

_SPAN = float(1 << 53)


class Chooser:
    """Chooses among the variants hosted here by the weights in force.

    A sticky key is hashed to a point in [0, 1) that falls on the variants in order of name, so it
    always meets the same variant, and a change of weights moves no more keys than it must.
    """

    def __init__(self, endpoint_id: str, hosted: Iterable[str], weights: list[RouteVariant]) -> None:
        self._endpoint_id = endpoint_id
        self.hosted = frozenset(hosted)
        drawn = sorted(
            (variant for variant in weights if variant.name in self.hosted and variant.weight > 0),
            key=lambda variant: variant.name,
        )
        self._names = [variant.name for variant in drawn]
        self._bounds = list(itertools.accumulate(variant.weight for variant in drawn))

    def choose(self, target: str | None, sticky_key: str | None) -> str:
        """The variant's name; raises RequestError 400 for an unknown target, 503 when all weigh nothing."""
        if target is not None:
            if target not in self.hosted:
                raise RequestError(400, f"unknown variant {target!r}; there are {sorted(self.hosted)}")
            return target
        if not self._names:
            raise RequestError(503, "no variant of this endpoint takes traffic", (("retry-after", "2"),))
        if len(self._names) == 1:
            return self._names[0]
        point = self._point(sticky_key) if sticky_key else random.random()  # noqa: S311  no secret
        at = bisect.bisect_right(self._bounds, point * self._bounds[-1])
        return self._names[min(at, len(self._names) - 1)]

    def _point(self, sticky_key: str) -> float:
        digest = hashlib.sha256(f"{self._endpoint_id}/{sticky_key}".encode()).digest()
        return (int.from_bytes(digest[:8], "big") >> 11) / _SPAN

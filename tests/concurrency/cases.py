"""The register of cases: which unique constraint is raced for where. A case is a function (place, count)."""

from collections.abc import Callable

from tests.concurrency.place import Place

Case = Callable[[Place, int], None]
CASES: dict[str, Case] = {}


def races(*constraints: str) -> Callable[[Case], Case]:
    """The function races `count` callers for one value of each of these constraints, and says who wins."""

    def register(case: Case) -> Case:
        for name in constraints:
            assert name not in CASES, name
            CASES[name] = case
        return case

    return register

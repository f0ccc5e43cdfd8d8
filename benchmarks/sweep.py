"""What a control sweep costs with a long past behind it, and how many jobs are placed in a second.

Run `python -m benchmarks.sweep` (`--short` in small, for the tests); the last line is a JSON list.

*Sweep*: the controls in the tick's order until they have looked at 10,000 ready instances with a running job each, all
of them due; 1 % have a report to apply and a slice of usage to write. Once in a database with 1,000,000 ended jobs
(with attempts, assignments, events, usage and charges), once in one without; interleaved, medians.
*Placements*: jobs that wait, an idle instance for each, of 20 tenants; from the first claim until every job has
its attempt and its assignment, committed, by the control as the worker runs it, in the database with the past.

The machines are rows; what says that they run is a provider that stands in for ten thousand of them: it speaks the
local provider's protocol on a Unix socket and answers lists. Everything else is the product: Postgres as `modelyard up`
configures it, Valkey with the agents' users and doorbells, the controls themselves.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from pydantic import SecretStr
from sqlalchemy import make_url

from backend import kinds
from backend.core.migrate import migrate
from backend.core.settings import BrokerSettings, DatabaseSettings, RolePasswords, Settings
from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.embedded_valkey import EmbeddedValkey
from benchmarks.estate import Estate
from benchmarks.machines import stand_in_provider
from worker.app import controls
from worker.context import ControlContext, build_context

ROLES = ("owner", "app", "controller", "operator")
RATIO_GOAL, RATIO_STRETCH = 1.2, 1.05
PLACED_GOAL, PLACED_STRETCH = 200, 500


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    live: int
    ended: int
    waiting: int
    tenants: int
    sweeps: int
    rounds: int


FULL = Size(live=10_000, ended=1_000_000, waiting=2_000, tenants=20, sweeps=5, rounds=5)
SHORT = Size(live=200, ended=2_000, waiting=100, tenants=4, sweeps=2, rounds=1)


def settings_of(postgres: EmbeddedPostgres, valkey: EmbeddedValkey, base: Path, name: str) -> Settings:
    """Settings of a control worker on the database `name`."""
    admin = make_url(postgres.superuser_url())

    def url(role: str) -> SecretStr:
        as_role = admin.set(username=f"modelyard_{role}", password=f"{role}-password", database=name)
        return SecretStr(as_role.render_as_string(hide_password=False))

    return Settings(
        home=base / "home",
        environment="test",
        database=DatabaseSettings(
            admin_url=SecretStr(admin.render_as_string(hide_password=False)),
            **{f"{role}_url": url(role) for role in ROLES},
        ),
        roles=RolePasswords(**{role: SecretStr(f"{role}-password") for role in ROLES}),
        broker=BrokerSettings(url=SecretStr(valkey.broker_url()), agent_secret=SecretStr("a secret of this benchmark")),
        localhost_socket=base / "provider.sock",
    )


@contextmanager
def servers() -> Iterator[tuple[Path, EmbeddedPostgres, EmbeddedValkey]]:
    """Postgres and Valkey of this run, gone with it."""
    with tempfile.TemporaryDirectory(prefix="my-") as folder, ExitStack() as stack:
        base = Path(folder)
        # The servers' own users must pass through; the folders inside are closed to all others.
        base.chmod(0o711)
        postgres, valkey = EmbeddedPostgres(base / "home", base / "run"), EmbeddedValkey(base / "home", base / "run")
        for server in (postgres, valkey):
            server.start()
            stack.callback(server.stop)
        yield base, postgres, valkey


@dataclass(frozen=True)
class Side:
    """One database and the control worker on it."""

    estate: Estate
    context: ControlContext
    postgres: EmbeddedPostgres

    def sweep(self, busy: int) -> tuple[float, float]:
        """(wall, CPU of this process and Postgres) seconds until the controls have looked at everything live."""
        moment = self.estate.make_due(busy)
        began, cpu = time.perf_counter(), self._cpu()
        # A control gives way after some seconds; on a slow machine the next pass goes on where it stopped.
        while self.estate.count_due(moment):
            for name in controls.by_name:
                controls.by_name[name](self.context)
        wall, used = time.perf_counter() - began, self._cpu() - cpu
        return wall, used

    def _cpu(self) -> float:
        """Seconds that this process and Postgres have computed."""
        server = psutil.Process(self.postgres.pid)
        times = [one.cpu_times() for one in (server, *server.children(recursive=True))]
        return time.process_time() + sum(one.user + one.system for one in times)

    def place(self, name: str, count: int) -> tuple[float, float]:
        """(placements per second, CPU seconds of each) of `count` jobs that wait."""
        self.estate.add_waiting(name, count)
        self.estate.analyze()
        began, cpu = time.perf_counter(), self._cpu()
        while controls.by_name["jobs.control"](self.context) and self.estate.count_placed(name) < count:
            pass
        seconds, used = time.perf_counter() - began, self._cpu() - cpu
        assert self.estate.count_placed(name) == count, "not every job was placed"
        return count / seconds, used / count


def build(size: Size, stack: ExitStack) -> tuple[Side, Side]:
    """(with the past, without). Both have the same live rows."""
    base, postgres, valkey = stack.enter_context(servers())
    sides, tags = [], set[str]()
    for name, ended in (("past", size.ended), ("fresh", 0)):
        settings = settings_of(postgres, valkey, base, name)
        migrate(settings)
        estate = Estate(postgres.superuser_dsn(name))
        stack.callback(estate.close)
        estate.add_tenants(size.tenants)
        if ended:
            estate.add_past(ended)
        tags.update(estate.add_live(size.live))
        estate.analyze()
        context = build_context(settings)
        stack.callback(context.database.dispose)
        sides.append(Side(estate, context, postgres))
    stack.enter_context(stand_in_provider(base / "provider.sock", sorted(tags)))
    return sides[0], sides[1]


def run(size: Size) -> list[dict[str, Any]]:
    """Measure; returns the JSON lines."""
    kinds.install()
    with ExitStack() as stack:
        began = time.perf_counter()
        past, fresh = build(size, stack)
        print(f"rows written in {time.perf_counter() - began:.0f} s", flush=True)
        busy = max(size.live // 100, 1)
        times: dict[str, list[tuple[float, float]]] = {"past": [], "fresh": []}
        for side in (past, fresh):
            side.sweep(busy)  # the first pass fills caches
        for number in range(size.sweeps):
            pairs = [("past", past), ("fresh", fresh)]
            for name, side in pairs if number % 2 else reversed(pairs):
                times[name].append(side.sweep(busy))
                print(f"sweep {name}: {times[name][-1][0]:.2f} s, CPU {times[name][-1][1]:.2f} s", flush=True)
        rates = [past.place(str(number), size.waiting) for number in range(size.rounds)]
        for rate, used in rates:
            print(f"placements: {rate:.0f}/s, CPU {used * 1000:.2f} ms each", flush=True)
    return [_sweep_line(times), _placed_line(rates)]


def _sweep_line(times: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    wall = {name: median(seconds for seconds, _ in found) for name, found in times.items()}
    cpu = {name: median(used for _, used in found) for name, found in times.items()}
    ratio = wall["past"] / wall["fresh"]
    return {
        "name": "sweep_with_a_past",
        "value": round(wall["past"], 3),
        "unit": "s, median",
        "against": f"{wall['fresh']:.3f} s without ended jobs",
        "ratio": round(ratio, 3),
        "goal": RATIO_GOAL,
        "stretch": RATIO_STRETCH,
        "met": ratio <= RATIO_GOAL,
        "cpu_seconds": {name: round(used, 3) for name, used in cpu.items()},
    }


def _placed_line(rates: list[tuple[float, float]]) -> dict[str, Any]:
    value = median(rate for rate, _ in rates)
    return {
        "name": "placements",
        "value": round(value, 1),
        "unit": "jobs/s, median",
        "against": f"a limit of {PLACED_GOAL}/s",
        "ratio": round(value / PLACED_GOAL, 3),
        "goal": PLACED_GOAL,
        "stretch": PLACED_STRETCH,
        "met": value >= PLACED_GOAL,
        "all": [round(rate, 1) for rate, _ in rates],
        "cpu_ms": round(median(used for _, used in rates) * 1000, 2),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the JSON lines; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="in small: shows that it runs, not how fast it is")
    chosen = parser.parse_args(arguments)
    lines = run(SHORT if chosen.short else FULL)
    print(json.dumps(lines))
    return 0 if all(line["met"] for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())

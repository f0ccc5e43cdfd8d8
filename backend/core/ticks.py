"""What the control workers' ticks last did: one row per control, for whoever asks whether the platform moves.

Written by control workers every few seconds (role *controller*), read by the admin console (role *operator*).
`beat` is a row too: when a worker last heard the clock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from backend.core.db import Base

BEAT = "beat"
_LONGEST_FAILURE = 500


class ControlTick(Base):
    """The last run of one control. `failure`: what the last run that failed said."""

    __tablename__ = "control_ticks"

    name: Mapped[str] = mapped_column(primary_key=True)
    worker: Mapped[str]
    ran_at: Mapped[datetime]
    seconds: Mapped[float]
    every_seconds: Mapped[float]
    """How long it may rest between two runs; 0 = it runs with every tick."""
    failed_at: Mapped[datetime | None]
    failure: Mapped[str | None]


@dataclass(frozen=True)
class Run:
    """One run of a control. `ago_seconds`: since it ended; `seconds`: how long it took."""

    name: str
    ago_seconds: float
    seconds: float
    failure: str | None = None
    every_seconds: float = 0.0


def note(session: Session, worker: str, runs: Iterable[Run]) -> None:
    """Write these runs over the ones before, by Postgres's clock."""
    for run in runs:
        at = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, run.ago_seconds)
        values = {"name": run.name, "worker": worker, "ran_at": at, "seconds": run.seconds}
        values["every_seconds"] = run.every_seconds
        if run.failure is not None:
            values |= {"failed_at": at, "failure": run.failure[:_LONGEST_FAILURE]}
        session.execute(
            insert(ControlTick)
            .values(**values)
            .on_conflict_do_update(
                index_elements=[ControlTick.name], set_={key: value for key, value in values.items() if key != "name"}
            )
        )


def read(session: Session) -> Sequence[Row[ControlTick, float]]:
    """(row, seconds since it ran) of every control that ever ran, by name."""
    age = func.extract("epoch", func.clock_timestamp() - ControlTick.ran_at)
    return session.execute(select(ControlTick, age).order_by(ControlTick.name)).all()

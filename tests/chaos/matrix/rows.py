"""Rows as the operator may read them, over one connection that is made anew when a fault has broken it."""

import time
from typing import Any

import psycopg

from backend.platform.folders import runtime_folder
from tests.chaos.matrix.patience import Red
from tests.fixtures.platform import RunningPlatform

Row = tuple[Any, ...]
PATIENCE_SECONDS = 60.0
AGAIN_SECONDS = 0.2


class Rows:
    """One thread's view of the platform's database."""

    def __init__(self, platform: RunningPlatform, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._conninfo = psycopg.conninfo.make_conninfo(
            host=str(runtime_folder(platform.home) / "postgres"),
            port=5432,
            dbname="modelyard",
            user="modelyard_operator",
            password=platform.secrets.operator_password,
            connect_timeout=5,
            application_name="matrix",
        )
        self._connection: psycopg.Connection[Row] | None = None

    def all(self, query: str, *values: object) -> list[Row]:
        """Rows of a query, asked again while Postgres is away.."""
        until = time.monotonic() + self._patience_seconds
        while True:
            try:
                return self._connected().execute(query.encode(), values).fetchall()
            except psycopg.OperationalError as error:
                self.close()
                if time.monotonic() > until:
                    raise Red(f"Postgres was away for {self._patience_seconds:.0f} s: {error}") from error
                time.sleep(AGAIN_SECONDS)

    def one(self, query: str, *values: object) -> Any:
        """The first column of the first row, or None."""
        found = self.all(query, *values)
        return found[0][0] if found else None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> "psycopg.Connection[Row]":
        if self._connection is None:
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
        return self._connection

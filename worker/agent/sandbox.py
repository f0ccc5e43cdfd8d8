"""The sandbox: what a process of a tenant sees, and as whom.

bubblewrap gives it mount, pid, ipc, uts and network namespaces of its own, a fresh `/proc`, a minimal `/dev`,
small `/tmp` and `/dev/shm`, and of the host only: `/usr` (read-only), the interpreter, its packages and our code
under neutral paths in `/opt` (they may lie under a home that only root may enter), and its own folder as `/job`.
It has no network, no environment but an allow-list, no credential, and dies with the agent.

Started as root there is no user namespace (root in one is still the host's root): the process becomes a host
user of its own, per assignment, without capabilities or a way to gain any. Otherwise a user namespace maps the
starting user alone, and may not be nested. Either way a system call filter (`worker.agent.seccomp`) refuses new
namespaces and what else no job needs of the kernel.

Without bubblewrap nothing is run, unless `MODELYARD_UNSAFE_NO_SANDBOX=1`: then processes are plain children,
with the agent's own rights.
"""

import hashlib
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from worker.agent.limits import Limits
from worker.agent.seccomp import MachineNotKnown, open_filter

JOB_PATH = Path("/job")
AGENT_SOCKET_NAME = "agent.sock"
FIRST_UID = 2_000_000_000
UID_COUNT = 147_000_000
TEMPORARY_BYTES = 256 << 20
OPEN_FILES = 16_384
UNSAFE = "unsafe"
BUBBLEWRAP = "bubblewrap"
_PASSED_ON = ("TZ", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/etc/mime.types")
_FIX = "install bubblewrap 0.8 or newer and util-linux (setpriv, prlimit) on this instance"


class SandboxMissing(Exception):
    """No tenant's process may run here; the message names the fix."""


class SandboxRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One process to be run in a sandbox."""

    job_folder: Path
    writable: dict[str, Path]
    """Folders shown below `/job`, which is read-only; keys are paths below it that exist there."""
    entrypoint: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str]
    limits: Limits
    uid: int


class Sandbox:
    """How processes are run on this host. `kind` is `bubblewrap`, `unsafe` or `none: <why and the fix>`."""

    def __init__(self, *, code: Path, code_roots: tuple[Path, ...] = (), unsafe: bool = False) -> None:
        self.kind = UNSAFE if unsafe else _detect()
        self._code = code
        self._code_roots = code_roots

    def require(self) -> None:
        """Raises SandboxMissing where nothing may be run."""
        if self.kind not in {BUBBLEWRAP, UNSAFE}:
            raise SandboxMissing(f"This instance has no sandbox ({self.kind.removeprefix('none: ')}).")

    @property
    def confined(self) -> bool:
        """True when processes see only their own files and `/job` is their folder."""
        return self.kind == BUBBLEWRAP

    def command(self, request: SandboxRequest, status_descriptor: int, filter_descriptor: int) -> list[str]:
        """The command that runs the request.

        bubblewrap's status lines go to `status_descriptor`; it reads the system call filter from `filter_descriptor`.
        """
        self.require()
        python = ["-P", "-m", request.entrypoint, *request.arguments]
        if not self.confined:
            return ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, *python]
        interpreter, binds, paths = self._python()
        environment = _environment(request, os.pathsep.join(paths))
        return [
            *_namespaces(),
            *(part for name, value in environment.items() for part in ("--setenv", name, value)),
            *_system(),
            *binds,
            *_job(request),
            *(
                "--json-status-fd",
                str(status_descriptor),
                "--seccomp",
                str(filter_descriptor),
                "--remount-ro",
                "/",
                "--remount-ro",
                "/dev",
                "--chdir",
                str(JOB_PATH),
                "--",
            ),
            *_confinement(request),
            *(interpreter, "-S", *python),
        ]

    def environment(self, request: SandboxRequest) -> dict[str, str]:
        """The environment to start `command` with (inside the sandbox it is cleared and set anew)."""
        if self.confined:
            return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        paths = [str(self._code), *map(str, self._code_roots), *_package_folders()]
        values = _environment(request, os.pathsep.join(paths))
        return values | {"MODELYARD_AGENT_SOCKET": str(request.job_folder / AGENT_SOCKET_NAME)}

    def _python(self) -> tuple[str, list[str], list[str]]:
        """The interpreter inside, the binds it needs, and its import path."""
        binds = ["--perms", "0755", "--dir", "/opt"]
        base = Path(sys.base_prefix).resolve()
        executable = Path(sys.executable).resolve()
        if not base.is_relative_to("/usr"):
            executable = Path("/opt/python") / executable.relative_to(base)
            binds += ["--ro-bind", str(base), "/opt/python"]
        paths = []
        packages = [("code", self._code), *((f"extra{n}", root) for n, root in enumerate(self._code_roots))]
        packages += [(f"site{n}", Path(path)) for n, path in enumerate(_package_folders())]
        for name, path in packages:
            if path.is_relative_to("/usr"):
                paths.append(str(path))
            elif path.is_relative_to(base):
                paths.append(str(Path("/opt/python") / path.relative_to(base)))
            else:
                binds += ["--ro-bind", str(path), f"/opt/{name}"]
                paths.append(f"/opt/{name}")
        return str(executable), binds, paths


def _package_folders() -> list[str]:
    found = [Path(path).resolve() for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    return [str(path) for path in dict.fromkeys(found) if path.is_dir()]


def _environment(request: SandboxRequest, python_path: str) -> dict[str, str]:
    threads = str(max(1, int(request.limits.cpu_count)))
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108 # the sandbox's own tmpfs
        "TMPDIR": "/tmp",  # noqa: S108 # same
        "USER": "job",
        "LOGNAME": "job",
        "LANG": "C.UTF-8",
        "LD_LIBRARY_PATH": "/opt/python/lib",
        "PYTHONPATH": python_path,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MODELYARD_AGENT_SOCKET": str(JOB_PATH / AGENT_SOCKET_NAME),
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        **request.environment,
    }


def _namespaces() -> list[str]:
    command = [
        *("bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--hostname", "job", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
    ]
    if os.geteuid() == 0:
        return [
            *command,
            *(part for name in ("SETUID", "SETGID", "SETPCAP") for part in ("--cap-add", f"CAP_{name}")),
        ]
    return [*command, "--unshare-user", "--disable-userns"]


def _system() -> list[str]:
    command = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/") / name
        if path.is_symlink():
            command += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            command += ["--ro-bind", str(path), str(path)]
    command += ["--perms", "0755", "--dir", "/etc"]
    for file in _SYSTEM_FILES:
        command += ["--ro-bind-try", file, file]
    command += ["--proc", "/proc", "--dev", "/dev"]
    for folder in ("/dev/shm", "/tmp"):  # noqa: S108 # inside the sandbox
        command += ["--perms", "1777", "--size", str(TEMPORARY_BYTES), "--tmpfs", folder]
    for device in sorted(Path("/dev").glob("nvidia*")):
        command += ["--dev-bind", str(device), str(device)]
    return command


def _job(request: SandboxRequest) -> list[str]:
    command = ["--ro-bind", str(request.job_folder), str(JOB_PATH)]
    for name, source in request.writable.items():
        command += ["--bind", str(source), str(JOB_PATH / name)]
    return command


def _open_files() -> int:
    """Descriptors of one process, such as connections of a replica's: no more than the agent itself may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)


def _confinement(request: SandboxRequest) -> list[str]:
    """Run inside the sandbox: resource limits, then another user."""
    limits = request.limits
    command = [
        *("/usr/bin/prlimit", "--core=0", f"--nproc={limits.process_limit}", f"--fsize={limits.disk_bytes}"),
        *(f"--nofile={_open_files()}", "--"),
    ]
    user = [f"--reuid={request.uid}", f"--regid={request.uid}", "--clear-groups"] if os.geteuid() == 0 else []
    return [
        *command,
        *(
            "/usr/bin/setpriv",
            *user,
            *(["--bounding-set=-all"] if user else []),
            "--inh-caps=-all",
            "--no-new-privs",
            "--",
        ),
    ]


def _detect() -> str:
    """Which sandbox works here: tried, not guessed."""
    for tool in ("bwrap", "setpriv", "prlimit"):
        if shutil.which(tool) is None:
            return f"none: {tool} is not installed; {_FIX}"
    try:
        tried = _try()
    except MachineNotKnown as error:
        return f"none: {error}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"none: bubblewrap does not work ({error}); {_FIX}"
    if tried.returncode != 0:
        said = tried.stderr.decode(errors="replace").strip()[-300:]
        return f"none: bubblewrap does not work ({said}); allow unprivileged user namespaces, or {_FIX}"
    return BUBBLEWRAP


def _try() -> subprocess.CompletedProcess[bytes]:
    descriptor = open_filter()
    try:
        return subprocess.run(
            [*_namespaces(), *_system(), "--seccomp", str(descriptor), "--", "/usr/bin/true"],
            capture_output=True,
            timeout=20,
            check=False,
            pass_fds=(descriptor,),
        )
    finally:
        os.close(descriptor)


def choose_uid(assignment_id: str, epoch: int) -> int:
    """A host user id for one assignment: its own, and nobody's who has a process here. Not root: one's own."""
    if os.geteuid() != 0:
        return os.geteuid()
    taken = {_owner(path) for path in Path("/proc").glob("[0-9]*")}
    start = int.from_bytes(hashlib.sha256(f"{assignment_id}-{epoch}".encode()).digest()[:8], "big") % UID_COUNT
    return next(
        uid for uid in (FIRST_UID + (start + step) % UID_COUNT for step in range(UID_COUNT)) if uid not in taken
    )


def _owner(process: Path) -> int | None:
    try:
        return process.stat().st_uid
    except OSError:
        return None


def own(path: Path, uid: int, mode: int) -> Path:
    """Make a folder that belongs to the process's user."""
    path.mkdir(mode=mode)
    path.chmod(mode)
    if uid != os.geteuid():
        os.chown(path, uid, uid)
    return path


def open_folder(path: Path) -> Path:
    """Make a folder that the process's user may read (the folders above are closed to everybody)."""
    return own(path, os.geteuid(), 0o755)


def lay_out_job(job: Path, uid: int) -> None:
    """Make an attempt's job folder: `input` to be filled, and `work`, which alone is the process's."""
    for folder in (job, job / "input"):
        open_folder(folder)
    own(job / "work", uid, 0o700)

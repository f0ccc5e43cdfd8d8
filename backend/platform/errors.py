"""What can go wrong in the machine room. Messages are for the person at the terminal: what, and the fix.

PlatformError
├── UnsafeFolder        a folder of ours belongs to somebody else or is open to others
├── PathTooLong         a Unix socket would not fit into 107 bytes
├── ServerNotStarted    an embedded server exited or did not accept log-ins in time
├── PortBusy            something else listens where we should
├── AlreadyRunning      another supervisor holds the home folder
├── ChildNotReady       a supervised process did not become ready
├── BackupRefused       a backup or restore would overwrite something, has no room, or has nothing to work on
├── BackupFailed        PostgreSQL said no, or an object is damaged
└── BackupDamaged       a backup is not what it was when it was taken, or not for this build
"""


class PlatformError(Exception):
    """Root of the errors of this room."""


class UnsafeFolder(PlatformError):
    """A folder of ours belongs to somebody else, is a link, or is open to others."""


class PathTooLong(PlatformError):
    """A Unix socket path would exceed the kernel's 107 bytes."""


class ServerNotStarted(PlatformError):
    """An embedded server exited or did not accept log-ins in time; the message ends with its log's tail."""


class PortBusy(PlatformError):
    """Something else listens on a port we were to use."""


class AlreadyRunning(PlatformError):
    """Another supervisor holds the lock of this home folder."""


class ChildNotReady(PlatformError):
    """A supervised process did not become ready; the message ends with its log's tail."""


class BackupRefused(PlatformError):
    """A backup or restore would overwrite something, has no room, or has nothing to work on."""


class BackupFailed(PlatformError):
    """PostgreSQL said no, or an object of the home is damaged."""


class BackupDamaged(PlatformError):
    """A backup is not what it was when it was taken, or not one that this build can read."""

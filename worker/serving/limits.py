"""What a data plane process asks of its host."""

import resource

RESERVED_DESCRIPTORS = 256
UNLIMITED_CONNECTIONS = 1_000_000


def raise_descriptor_limit() -> None:
    """As many open connections as the host allows this process: the soft limit up to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connection_limit() -> int:
    """How many connections this process may hold, so that descriptors are left for all else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return UNLIMITED_CONNECTIONS
    return soft - min(RESERVED_DESCRIPTORS, soft // 4)

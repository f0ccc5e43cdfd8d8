"""What a data plane process asks of its host."""

import resource


def raise_descriptor_limit() -> None:
    """As many open connections as the host allows this process: the soft limit up to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

"""Out of memory, told as what it is."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from worker.jobprocess import JobError


@contextmanager
def memory_failures() -> Iterator[None]:
    """The two ways in which torch runs out of memory become JobError (out_of_memory)."""
    hint = "Lower batch_size or width, or choose an instance type with more memory."
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise JobError("out_of_memory", "The GPU's memory ran out.", hint) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise JobError("out_of_memory", "The instance's memory ran out.", hint) from error

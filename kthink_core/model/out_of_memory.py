"""One error for memory that runs out, whichever device it is of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SAID = "allocate memory"
"""By the allocator of a CPU, which raises what anything else may raise."""


@contextmanager
def out_of_memory() -> Iterator[None]:
    """Raises torch.OutOfMemoryError where memory runs out in this block, of a CPU too."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or _SAID not in str(error):
            raise
        raise torch.OutOfMemoryError(str(error).splitlines()[0]) from error

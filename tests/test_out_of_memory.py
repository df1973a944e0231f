"""Memory that runs out is one error, of a CPU too."""

from __future__ import annotations

import pytest
import torch

from kthink_core.model.out_of_memory import out_of_memory


def test_a_cpu_has_not_enough() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="allocate memory"), out_of_memory():
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="size") as caught, out_of_memory():
        _ = torch.ones(2) + torch.ones(3)
    assert not isinstance(caught.value, torch.OutOfMemoryError)
    with pytest.raises(torch.OutOfMemoryError, match="of a GPU"), out_of_memory():
        raise torch.OutOfMemoryError("of a GPU")

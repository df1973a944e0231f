"""What it costs to trust no file: the checks of weights, databases and chat templates.

python -m benchmarks.checks
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.report import machine, markdown
from kthink_core import demo
from kthink_core.model.chat_template import frames
from kthink_core.model.language_model import load_model
from kthink_core.model.model_files import admitted
from kthink_core.model.weights import not_finite
from kthink_core.store.damage import sha256_of

GIGABYTE = 10**9


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """The quickest of some runs."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def main() -> None:
    rows = {}
    for kind in (torch.float32, torch.bfloat16):
        weights = {"weights": torch.randn(GIGABYTE // kind.itemsize).to(kind)}
        rows[f"every number finite, 1 GB of {str(kind).removeprefix('torch.')}"] = (
            f"{seconds(lambda weights=weights: not_finite(weights)):.2f} s"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(os.urandom(GIGABYTE))
        rows["a database is what was built, 1 GB"] = f"{seconds(lambda: sha256_of(path)):.2f} s"

    def template() -> None:
        frames((demo.MODEL / "chat_template.jinja").read_text() + f"{{# {time.perf_counter()} #}}", {})

    def admit() -> None:
        with admitted(demo.MODEL):
            pass

    rows["a chat template in its own process"] = f"{seconds(template):.2f} s"
    rows["the demo's model files, checked and written anew"] = f"{seconds(admit) * 1e3:.1f} ms"
    rows["the demo's model loaded, all checks but the template's"] = (
        f"{seconds(lambda: load_model('demo', None, torch.device('cpu'))):.2f} s"
    )
    print(markdown("Checks", rows, machine()))


if __name__ == "__main__":
    main()

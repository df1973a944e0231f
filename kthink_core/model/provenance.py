"""What an experiment was made with: versions, revisions, device. Stored beside its configuration."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import torch

import kthink_core
from kthink_core.model.language_model import LanguageModel
from kthink_core.records import Problem

_LIBRARIES = ("torch", "transformers", "eai-sparsify", "duckdb", "pyarrow", "numpy")


def provenance(lm: LanguageModel, problems: Sequence[Problem]) -> dict[str, str]:
    """Facts by name: `created` (UTC, ISO 8601), `model_revision` and `sae_revision` (hub commit, or SHA-256 of the
    files), `problems` (SHA-256 of questions and references), `device`, `dtype`, `python`, `kthink` and libraries."""
    digest = hashlib.sha256(repr([tuple(problem) for problem in problems]).encode()).hexdigest()
    return made_with(lm) | {"problems": f"sha256:{digest[:16]}"}


def made_with(lm: LanguageModel) -> dict[str, str]:
    """The same without the problems."""
    device = lm.device
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})",
        "dtype": lm.dtype_name,
        "python": platform.python_version(),
        "kthink": kthink_core.__version__,
        **{name: version(name) for name in _LIBRARIES},
    }

"""What tests share: the bundle, and tiny stand-ins in the real formats."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported: no test reaches for the hub

from benchmarks.stand_in import SHAPES, make_stand_in
from kthink_core.model import LanguageModel, load_model

torch.set_num_threads(2)
settings.register_profile(
    "machines differ",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,  # what CI tries is the same each time; a developer's machine looks further
)
settings.load_profile("machines differ")


@pytest.fixture(scope="session")
def bundle() -> LanguageModel:
    """The bundled language model on the CPU."""
    return load_model("demo", None, torch.device("cpu"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `model/` and `saes/` of the tiny shape."""
    folder = tmp_path_factory.mktemp("tiny")
    make_stand_in(SHAPES["tiny"], folder)
    return folder


@pytest.fixture(scope="session")
def tiny_lm(tiny: Path) -> LanguageModel:
    return load_model(str(tiny / "model"), None, torch.device("cpu"))

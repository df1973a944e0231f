"""What tests share: the bundle, and tiny stand-ins in the real formats."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported: no test reaches for the hub
# Read when torch is imported, here and in what tests start: several run beside each other.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
# Read when sparsify is imported: tests decode by its own code, on a CPU, where triton's, if installed, fails.
os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

import pytest
import torch
from filelock import FileLock
from httpx._transports import default
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser
from streamlit.components.v2 import manifest_scanner

from benchmarks.browser import chromium, open_browser
from benchmarks.stand_in import SHAPES, make_stand_in
from kthink_core.config import ExperimentConfig
from kthink_core.model.language_model import LanguageModel, load_model
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.presets import preset
from kthink_core.store import writer
from tests.browsing import Tabs, Visit, visiting
from tests.worker_process import QUESTIONS

settings.register_profile(
    "machines differ",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,  # what CI tries is the same each time; a developer's machine looks further
)
settings.register_profile("thorough", settings.get_profile("machines differ"), max_examples=1000)
settings.load_profile("machines differ")  # unless `--hypothesis-profile thorough` is given


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The modules that take longest come first: then processes that share them out end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is None)


@pytest.fixture(scope="session", autouse=True)
def packages_searched_once() -> Iterator[None]:
    """Streamlit's test runner searches all installed packages for components, for each app that it opens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture(scope="session", autouse=True)
def authorities_read_once() -> Iterator[None]:
    """httpx reads the certificates of all authorities for each client, over plain HTTP too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(default, "create_ssl_context", cache(default.create_ssl_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_clock_decides_what_is_built() -> Iterator[None]:
    """Readers see what is committed when the writer has ended, or where a test asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "PATIENCE", math.inf)
        yield


@pytest.fixture(scope="session")
def bundle() -> LanguageModel:
    """The bundled language model on the CPU."""
    return load_model("demo", None, torch.device("cpu"))


Contents = dict[str, tuple[int, int]]
"""The size of each file, and when it was written."""
_shared: dict[Path, Contents] = {}


def contents(folder: Path | str) -> Contents:
    found: Contents = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                found |= contents(entry.path)
            else:
                about = entry.stat()
                found[entry.path] = about.st_size, about.st_mtime_ns
    return found


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first of pytest's processes that needs it makes for all of them."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, whole = root / name, root / f"{name}.whole"
    with FileLock(root / f"{name}.lock"):
        if not whole.exists():
            folder.mkdir()
            make(folder)
            whole.touch()
    _shared[folder] = contents(folder)
    return folder


@pytest.fixture(autouse=True)
def shared_folders_stay_as_they_are() -> Iterator[None]:
    """Whoever would change one takes a copy."""
    yield
    for folder, before in _shared.items():
        if (now := contents(folder)) != before:
            _shared[folder] = now  # the next test is not to be blamed
            raise AssertionError(f"changed in {folder}: {sorted({path for path, _ in now.items() ^ before.items()})}")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `model/` and `saes/` of the tiny shape."""
    return made_once(tmp_path_factory, "tiny", lambda folder: make_stand_in(SHAPES["tiny"], folder))


@pytest.fixture(scope="session")
def tiny_lm(tiny: Path) -> LanguageModel:
    return load_model(str(tiny / "model"), None, torch.device("cpu"))


@pytest.fixture(scope="session")
def tiny_plan(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """An experiment of three questions on the tiny shape."""
    problems = tmp_path_factory.mktemp("problems") / "problems.jsonl"
    problems.write_text("".join(json.dumps({"question": question}) + "\n" for question in QUESTIONS))
    config = ExperimentConfig(
        model=str(tiny / "model"), sae=str(tiny / "saes"), hookpoints=SHAPES["tiny"].hookpoints,
        problems=str(problems), max_new_tokens=24, temperature=1.0,
    )  # fmt: skip
    return plan("tiny", config, "cpu", Silent())


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the bundle's demo, complete."""

    def make(cache: Path) -> None:
        precompute(plan("demo", preset("demo"), "cpu", Silent()), cache, 32, Silent())

    return made_once(tmp_path_factory, "demo", make)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        message = "no Chromium on the PATH; `apt-get install chromium`"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def tabs(browser: Browser) -> Tabs:
    return Tabs(browser)


@pytest.fixture
def visit(tabs: Tabs, address: str) -> Iterator[Visit]:
    """Opens pages of the server whose `address` the test's module gives."""
    with visiting(tabs, address) as opened:
        yield opened

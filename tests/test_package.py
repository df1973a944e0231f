"""What `pip install .` puts on a machine: the package, the app that Streamlit runs, and a command."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import kthink_core
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment
from tests.import_graph import ROOT

NAME = f"kthink-{kthink_core.__version__}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from the project's files."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(folder / f"{NAME}-py3-none-any.whl")


def test_it_holds_all_that_a_checkout_runs(wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    package = [path for path in (ROOT / "kthink_core").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {str(path.relative_to(ROOT)) for path in package} <= inside
    app = [ROOT / "app.py", ROOT / ".streamlit/config.toml", *(ROOT / "pages").glob("*.py")]
    assert {f"kthink_core/site/{path.relative_to(ROOT)}" for path in app} <= inside
    assert not [name for name in inside if name.startswith(("tests/", "benchmarks/", "bundle/"))]


def test_its_dependencies_are_the_required_ones(wheel: zipfile.ZipFile) -> None:
    told = message_from_string(wheel.read(f"{NAME}.dist-info/METADATA").decode())
    lines = "".join((ROOT / f"requirements{part}.txt").read_text("utf-8") for part in ("-app", "")).splitlines()
    wanted = {line.lower().replace("_", "-") for line in lines if line and line[0] not in "#-"}
    assert {line for line in told.get_all("Requires-Dist", []) if "extra ==" not in line} == wanted
    assert "kthink = kthink_core.cli:main" in wheel.read(f"{NAME}.dist-info/entry_points.txt").decode()


def test_it_finds_its_app_without_the_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    script = "from kthink_core.worker.supervisor import APP; print(APP)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    app = Path(done.stdout.strip())
    assert app == tmp_path / "kthink_core/site/app.py"
    assert "pages/overview.py" in app.read_text("utf-8") and (app.parent / "pages/overview.py").is_file()


def test_installed_it_works_from_an_empty_folder(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """As `pip install .` leaves it, its dependencies being there: the command, the package and the way in from
    Python."""
    target, here, cache = tmp_path / "target", tmp_path / "empty", tmp_path / "cache"
    here.mkdir()
    write_experiment(cache, sample_experiment("demo", 3))
    options = [
        "--no-deps",
        "--no-index",
        "--quiet",
        "--no-compile",
        "--disable-pip-version-check",
        "--target",
        str(target),
    ]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel.filename)], cwd=here, check=True)
    command = target / "bin/kthink"
    # A folder of packages that this interpreter looks into, as it looks into site-packages: no PYTHONPATH.
    hook = f"import runpy, sys; sys.path[0] = {str(target)!r}; sys.argv = sys.argv[1:]; "
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(body: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", hook + body, *arguments],
            cwd=here, env=environment | {"KTHINK_CACHE": str(cache)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    as_command = "runpy.run_path(sys.argv[0], run_name='__main__')"
    assert run(as_command, str(command), "--version") == f"kthink {kthink_core.__version__}\n"
    assert '"experiment":"demo"' in run(as_command, str(command), "experiments", "--format", "json")
    asked = ["query", "top-tokens", "--experiment", "demo", "--hookpoint", HOOKPOINTS[0], "--feature", "7"]
    assert "max_activation" in run(as_command, str(command), *asked)
    as_module = "runpy.run_module('kthink_core', run_name='__main__')"
    assert run(as_module, "kthink", "--version") == f"kthink {kthink_core.__version__}\n"
    script = "import kthink_core; print(kthink_core.__file__, len(kthink_core.open_experiment('demo').inferences()))"
    assert run(script, "script").split() == [str(target / "kthink_core/__init__.py"), "3"]
    assert not list(here.iterdir())

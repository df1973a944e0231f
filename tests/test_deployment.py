"""What is deployed from: the image's recipe, the compose file, the lists of requirements. No engine is needed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker.utils.build import exclude_paths
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kthink_core.access.role_rules import RoleRules
from kthink_core.cli import main
from kthink_core.settings import AccessSettings, Settings, WorkerSettings
from tests.import_graph import CODE, ROOT, graph, module_of, reached
from tests.test_architecture import HEAVY

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = ("worker", "worker-cpu")
AGAIN = {"authlib"}
"""Optional, but tests need it."""


def pins(name: str) -> list[str]:
    """The lines of a list that pin something."""
    return [line for line in (ROOT / name).read_text("utf-8").splitlines() if line and line[0] not in "#-"]


def copied() -> list[str]:
    """What the Dockerfile takes from the project's folder."""
    lines = [line.split()[1:] for line in DOCKERFILE if line.startswith("COPY") and "--from=" not in line]
    return [path for line in lines for path in line[:-1]]


def test_what_an_image_is_made_of_is_sent_and_nothing_else(tmp_path: Path) -> None:
    for path in copied():
        source, target = ROOT / path, tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    wanted = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    private = (
        ".streamlit/secrets.toml", "secrets/oidc.toml", ".env", ".git/config", "cache/.access/key", "cache/demo/x.duck",
        "tests/x.py", "docs/x.md", "pages/__pycache__/guide.pyc", "kthink_core/ui/__pycache__/x.pyc",
    )  # fmt: skip
    for path in private:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    rules = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    sent = {path for path in exclude_paths(str(tmp_path), rules) if (tmp_path / path).is_file()}
    assert sent == {path for path in wanted if "__pycache__" not in path}


def test_a_change_of_code_installs_nothing_anew() -> None:
    """What follows a copied file is made anew when that changes: in every stage, requirements come before code."""
    copies = 0
    for stage in "\n".join(DOCKERFILE).split("\nFROM ")[1:]:
        before, code, after = stage.partition("COPY --from=code" if "--from=code" in stage else "COPY .streamlit")
        copies += bool(code)
        assert not code or "install" not in after, before.splitlines()[0]
    assert copies == 3


def test_nothing_is_required_twice_and_all_that_is_listed_is_pinned() -> None:
    lists = {name: pins(name) for name in ("requirements-app.txt", "requirements.txt", "requirements-auth.txt")}
    names = [canonicalize_name(Requirement(line).name) for lines in lists.values() for line in lines]
    assert len(names) == len(set(names))
    everything = [line for name in ("requirements-dev.txt", "constraints.txt") for line in pins(name)]
    assert not set(names) & {canonicalize_name(Requirement(line).name) for line in pins("requirements-dev.txt")} - AGAIN
    assert all(re.fullmatch(r"[\w.-]+(\[[\w,]+\])?==[\w.]+", line) for lines in lists.values() for line in lines)
    assert all("==" in line for line in everything)
    assert "-r requirements-app.txt" in (ROOT / "requirements.txt").read_text("utf-8").splitlines()


def brought(names: list[str]) -> set[str]:
    """Distributions by canonical name, with all that they require here."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            asked = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:
            continue
        waiting += [
            canonicalize_name(each.name) for each in asked if not each.marker or each.marker.evaluate({"extra": ""})
        ]
    return found


IMPORT_ALL = """
import ast, importlib, json, sys
from pathlib import Path
absent, modules = json.load(sys.stdin)

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for module in modules:
    importlib.import_module(module)
for page in sorted(Path("pages").glob("*.py")):  # what they import, without drawing anything
    tree = ast.parse(page.read_text("utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(tree, page, "exec"), {})
from kthink_core.cli import main
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
assert main(["precompute", "--experiment", "new"]) == 2
"""


def test_the_app_needs_no_more_than_its_own_list_and_all_of_that(tmp_path: Path) -> None:
    """In an interpreter that has only what requirements-app.txt and requirements-auth.txt bring along."""
    listed = [
        Requirement(line).name for name in ("requirements-app.txt", "requirements-auth.txt") for line in pins(name)
    ]
    inside = brought(listed)
    assert not inside & {"torch", "transformers", "eai-sparsify", "datasets"}
    of = {top: {canonicalize_name(each) for each in owners} for top, owners in packages_distributions().items()}
    absent = [top for top, owners in of.items() if not owners & inside]
    assert set(absent) >= HEAVY
    edges = graph({module_of(path): path.read_text("utf-8") for path in CODE})
    seen = {
        target for start in edges if start.partition(".")[0] in ("app", "pages") for target in reached(edges, start)
    }
    modules = [*sorted(name for name in seen if name.startswith("kthink_core")), "kthink_core.live.healthy"]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        cwd=ROOT, input=json.dumps([absent, modules]), capture_output=True, text=True,
        env={"KTHINK_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "which is not installed here: run it where the worker is" in done.stderr
    loaded = {owner for top in {*json.loads(done.stdout), *seen} for owner in of.get(top, ())}
    # Streamlit takes the first when somebody signs in, the second when a chart is drawn; the third's files are read.
    assert {canonicalize_name(name) for name in listed} - loaded <= {"authlib", "altair", "fastapi-offline"}


def test_the_compose_file_is_one() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def started(*profiles: str) -> set[str]:
    """The services that compose starts with these profiles."""
    return {name for name, of in SERVICES.items() if not of.get("profiles") or set(of["profiles"]) & set(profiles)}


def settings_given() -> dict[str, str]:
    """What `.env` says, and what it would say without its comment signs."""
    text = (ROOT / ".env").read_text("utf-8")
    return dict(line.lstrip("#").split("=", 1) for line in text.splitlines() if re.match(r"#?[A-Z_]+=", line))


def test_profiles_start_one_worker_each_and_the_gpu_is_the_default() -> None:
    assert started("gpu") == {"worker", "app"} and started("cpu") == {"worker-cpu", "app"}
    assert started("gpu", "tls") == {"worker", "app", "caddy"}
    assert "COMPOSE_PROFILES=gpu" in (ROOT / ".env").read_text("utf-8").splitlines()
    (device,) = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert "gpu" in device["capabilities"] and "deploy" not in SERVICES["worker-cpu"]
    assert SERVICES["worker-cpu"]["build"]["args"] == {"TORCH": "cpu"}


def test_nobody_but_the_app_reaches_a_worker() -> None:
    for name in WORKERS:
        worker = SERVICES[name]
        assert not {"ports", "expose", "network_mode"} & worker.keys()
        assert worker["networks"] == {"inside": {"aliases": ["worker"]}}
    assert [name for name, of in SERVICES.items() if "inside" in of["networks"]] == [*WORKERS, "app"]
    assert SERVICES["app"]["environment"]["KTHINK_WORKER_URL"] == f"http://worker:{WorkerSettings().port}"
    assert SERVICES["app"]["ports"] == ["${KTHINK_PUBLISH:-127.0.0.1:8501}:8501"]


def test_every_service_is_confined_and_comes_back() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["restart"] == "unless-stopped" and not service.get("privileged"), name
    for name in (*WORKERS, "app"):
        assert (
            "cache:/data/cache" in SERVICES[name]["volumes"] and f"{SERVICES[name]['build']['target']}" in "app worker"
        )
    waits = SERVICES["app"]["depends_on"]
    assert {name: waits[name]["condition"] for name in waits} == dict.fromkeys(WORKERS, "service_healthy")
    assert not any(waits[name]["required"] for name in waits)
    assert SERVICES["caddy"]["depends_on"]["app"]["condition"] == "service_healthy"


def test_targets_that_are_built_exist_and_say_whether_they_are_well() -> None:
    stages = "\n".join(DOCKERFILE).split("\nFROM ")[1:]
    targets = {stage.split()[2]: stage for stage in stages if stage.split()[1:2] == ["AS"]} | {"": stages[-1]}
    for target in ("app", "worker", ""):
        assert "HEALTHCHECK" in targets[target] and "VOLUME" in targets[target]
    assert {service["build"]["target"] for service in SERVICES.values() if "build" in service} <= targets.keys()
    assert 'ENTRYPOINT ["tini", "--"]' in DOCKERFILE and DOCKERFILE.count("USER kthink") == 2


def test_every_setting_that_is_given_is_one() -> None:
    known = {
        f"{kind.model_config.get('env_prefix')}{field}".upper()
        for kind in (Settings, AccessSettings, WorkerSettings)
        for field in kind.model_fields
    }
    of_compose = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text("utf-8"))) | {"COMPOSE_PROFILES"}
    of_caddy = set(re.findall(r"\{\$(\w+)\}", (ROOT / "docs/deploy/Caddyfile").read_text("utf-8")))
    assert set(settings_given()) <= known | of_compose | of_caddy
    assert set(SERVICES["app"]["environment"]) <= known
    assert {"KTHINK_APP_URL", "KTHINK_TLS"} == of_caddy


@pytest.mark.parametrize("given", [None, settings_given()["KTHINK_SERVE"], "--experiment=mine"])
def test_what_compose_runs_is_understood(given: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    *command, last = SERVICES["worker"]["command"]
    usual = re.fullmatch(r"\$\{KTHINK_SERVE:-(.*)\}", last)
    assert command[:3] == ["python", "-m", "kthink_core"] and usual
    with pytest.raises(SystemExit) as ended:
        main([*command[3:], given or usual[1], "--help"])
    assert ended.value.code == 0 and "usage: kthink worker" in capsys.readouterr().out


def test_files_that_compose_mounts_let_nobody_in_until_they_are_filled_in(tmp_path: Path) -> None:
    for kind in ("secrets", "configs"):
        for each in COMPOSE[kind].values():
            assert (ROOT / re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", each["file"])).is_file()
    for name in ("roles", "oidc"):
        text = (ROOT / f"docs/deploy/{name}.toml").read_text("utf-8")
        assert tomllib.loads(text) == {}
        filled = "\n".join(line[2:] for line in text.splitlines() if re.match(r"# (\[|\w+ = )", line))
        (tmp_path / f"{name}.toml").write_text(filled)
    allowed = RoleRules(tmp_path / "roles.toml").of("ada@lab.example", True, {})
    assert allowed is not None and allowed.role == "runner" and allowed.experiments == ("demo",)
    assert RoleRules(ROOT / "docs/deploy/roles.toml").of("ada@lab.example", True, {}) is None
    assert tomllib.loads((tmp_path / "oidc.toml").read_text())["auth"]["redirect_uri"].endswith("/oauth2callback")


@pytest.mark.skipif(shutil.which("caddy") is None, reason="no caddy")
@pytest.mark.parametrize("tls", ["", "tls internal"])
def test_caddy_understands_its_file(tls: str) -> None:
    done = subprocess.run(
        ["caddy", "adapt", "--config", "docs/deploy/Caddyfile", "--adapter", "caddyfile"],
        cwd=ROOT, env={"KTHINK_APP_URL": "https://kthink.lab.example", "KTHINK_TLS": tls},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.dumps(json.loads(done.stdout))
    assert '"dial": "app:8501"' in told and '"X-Forwarded-Email"' in told and '"parameter": "invite"' in told

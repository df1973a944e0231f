"""The shape of the code: who may import whom, who may import torch, and what must not appear at all."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = [ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py")), *sorted((ROOT / "kthink_core").rglob("*.py"))]
TORCH = {
    "model",
    "generate",
    "growing",
    "sampling",
    "live",
    "hookpoints",
    "replay",
    "sae",
    "steering",
    "pipeline",
    "engine",
    "provenance",
    "directions",
    "weights",
    "chat_template",
}
HEAVY = {"torch", "transformers", "sparsify"}


def imports(path: Path) -> set[str]:
    """Dotted names imported anywhere in a file, except under `if TYPE_CHECKING`."""
    found: set[str] = set()
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", CODE, ids=module_of)
def test_torch_stays_where_it_computes(path: Path) -> None:
    if (path.stem in TORCH and path.parent.name == "kthink_core") or "demo" in path.parts:
        return
    heavy = {name for name in imports(path) if name.split(".")[0] in HEAVY}
    assert not heavy, f"{module_of(path)} imports {heavy}"


def test_imports_go_one_way() -> None:
    """pages → ui → client, queries → store, config, records."""
    rank = {"pages": 0, "app": 0, "ui": 1, "client": 2, "queries": 2, "listing": 2, "store": 3}
    for path in CODE:
        parts = module_of(path).split(".")
        own = rank.get(parts[0]) if parts[0] != "kthink_core" else next((rank[p] for p in parts[1:] if p in rank), None)
        if own is None:
            continue
        for name in imports(path):
            target = name.split(".")
            if target[0] == "kthink_core" and len(target) > 1 and target[1] in rank:
                assert rank[target[1]] >= own, f"{module_of(path)} imports {name}"


def test_streamlit_is_in_app_pages_and_ui_only() -> None:
    for path in CODE:
        if not module_of(path).startswith(("app", "pages", "kthink_core.ui")):
            assert not {name for name in imports(path) if name.split(".")[0] == "streamlit"}, path


def test_pages_ask_and_draw_only() -> None:
    for path in (ROOT / "pages").glob("*.py"):
        assert not {name for name in imports(path) if name.split(".")[0] in {"duckdb", "numpy", "sqlite3"}}, path


@pytest.mark.parametrize("path", CODE, ids=module_of)
def test_what_must_not_appear(path: Path) -> None:
    assert not imports(path) & {"pickle", "shelve", "marshal", "dill"}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.keyword) and node.arg in {"unsafe_allow_html", "trust_remote_code"}:
            assert isinstance(node.value, ast.Constant) and node.value.value is False
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}


@pytest.mark.parametrize("command", [["--help"], ["experiments"], ["precompute", "--help"]])
def test_commands_that_do_not_compute_import_no_torch(command: list[str], tmp_path: Path) -> None:
    script = (
        "import sys; from kthink_core.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'streamlit'} & set(sys.modules), 'heavy import'"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], cwd=ROOT, env={"KTHINK_CACHE": str(tmp_path)}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_modules_are_small() -> None:
    large = {module_of(path): lines for path in CODE if (lines := len(path.read_text("utf-8").splitlines())) > 300}
    assert not large

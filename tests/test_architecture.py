"""The shape of the code: which room reaches which, by any chain of imports, and what must not appear at all."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.import_graph import CODE, ROOT, graph, module_of, reached

CORE = "kthink_core"
SOURCES = {module_of(path): path.read_text("utf-8") for path in CODE}

HEAVY = {"torch", "transformers", "sparsify"}
SHARED = {
    "arguments", "cells", "config", "documents", "errors", "identity", "lift", "listing", "outline", "presets",
    "prompts", "records", "revisions", "sentence_splitting", "settings", "signs", "steer_options", "threads",
}  # fmt: skip
"""Modules at the top of the package that are no room: none of them may reach one, but for the command line's tables."""

REACHES: dict[str, set[str]] = {
    "access": set(),
    "store": set(),
    "notes": {"store"},
    "queries": {"store"},
    "live": {"access", "queries", "store"},
    "evidence": {"queries", "store"},
    "saved": {"access", "evidence", "live", "notes", "queries", "store", "travel", "ui"},
    "plain_queries": {"queries", "store"},
    "query_options": {"evidence", "queries", "store"},
    "programs": {"access", "evidence", "listing", "live", "plain_queries", "queries", "query_options", "store"},
    "listing": {"evidence", "plain_queries", "queries", "store"},
    "demo": set(),
    "model": {"demo"},
    "precompute": {"demo", "model", "store"},
    "reproduction": {"demo", "model", "queries", "store"},
    "interventions": {"demo", "evidence", "model", "precompute", "queries", "store"},
    "training": {"demo", "model", "store"},
    "worker": {
        "access",
        "demo",
        "evidence",
        "interventions",
        "live",
        "model",
        "precompute",
        "programs",
        "queries",
        "store",
    },
    "ui": {
        "access",
        "evidence",
        "listing",
        "live",
        "notes",
        "plain_queries",
        "programs",
        "queries",
        "query_options",
        "store",
        "travel",
    },
    "pages": {"access", "evidence", "live", "notes", "queries", "saved", "store", "travel", "ui"},
    "app": {
        "access",
        "evidence",
        "listing",
        "live",
        "notes",
        "plain_queries",
        "programs",
        "queries",
        "query_options",
        "saved",
        "store",
        "travel",
        "ui",
    },
    "travel": {"notes", "store"},
    "commands": {
        "access",
        "demo",
        "evidence",
        "interventions",
        "listing",
        "live",
        "model",
        "notes",
        "plain_queries",
        "precompute",
        "programs",
        "queries",
        "query_options",
        "reproduction",
        "saved",
        "store",
        "training",
        "travel",
        "ui",
    },
    "scripting": {
        "access",
        "commands",
        "demo",
        "evidence",
        "listing",
        "live",
        "model",
        "notes",
        "plain_queries",
        "precompute",
        "programs",
        "queries",
        "store",
        "worker",
    },
    "cli": {
        "access",
        "commands",
        "demo",
        "evidence",
        "interventions",
        "listing",
        "live",
        "model",
        "notes",
        "plain_queries",
        "precompute",
        "programs",
        "queries",
        "query_options",
        "reproduction",
        "saved",
        "store",
        "training",
        "travel",
        "ui",
        "worker",
    },
}
"""The rooms that a room may reach besides itself, by any chain of imports."""
COMPUTES = {
    "commands", "interventions", "model", "precompute", "reproduction", "training", "worker", "cli", "bundle",
    "scripting",
}  # fmt: skip
"""Who may reach torch."""
SHOWS = {"ui", "pages", "app"}
"""Who may reach Streamlit."""


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    return graph(SOURCES)


def room(module: str) -> str:
    """`store` for `kthink_core.store.files`, `config` for `kthink_core.config`, `pages` for `pages.live`."""
    parts = module.split(".")
    return parts[1] if parts[0] == CORE and len(parts) > 1 else parts[0]


def offences(edges: Mapping[str, set[str]]) -> list[str]:
    """Every chain of imports that goes through a wall."""
    found = []
    for module in edges:
        own = room(module)
        if own in {CORE, "bundle", "__main__"}:
            continue
        for target, chain in reached(edges, module).items():
            there = room(target)
            if there in {own, CORE}:
                continue
            allowed = there in REACHES.get(own, set()) or (there in SHARED and there != "listing")
            heavy = there in HEAVY and own not in COMPUTES
            shown = there == "streamlit" and own not in SHOWS
            if heavy or shown or (target in edges and not allowed):
                found.append(" → ".join(chain))
    return found


def test_no_chain_of_imports_goes_through_a_wall(edges: dict[str, set[str]]) -> None:
    assert offences(edges) == []


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("kthink_core.ui.view.page", "kthink_core.precompute.pipeline"),
        ("kthink_core.ui.parts.charts", "torch"),
        ("kthink_core.store.files", "kthink_core.live.api"),
        ("kthink_core.store.files", "kthink_core.worker.jobs"),
        ("kthink_core.records", "kthink_core.model.sae"),
        ("kthink_core.records", "torch"),
        ("kthink_core.live.client", "kthink_core.worker.jobs"),
        ("kthink_core.live.client", "streamlit"),
        ("kthink_core.notes.text", "streamlit"),
        ("kthink_core.queries.inference", "kthink_core.ui.view.page"),
        ("kthink_core.model.sae", "kthink_core.store.reader"),
        ("kthink_core.worker.jobs", "kthink_core.scripting.opened"),
        ("pages.live", "kthink_core.worker.engine"),
        ("pages.notes", "transformers"),
    ],
)
def test_a_planted_import_is_seen(module: str, imported: str) -> None:
    planted = graph(SOURCES | {module: f"{SOURCES[module]}\nimport {imported}\n"})
    assert offences(planted), f"{module} may import {imported}"


def test_every_room_has_its_walls() -> None:
    rooms = {room(module) for module in SOURCES} - SHARED - {CORE, "__main__", "bundle"}
    assert rooms == REACHES.keys() - {"listing"}


def test_no_name_of_a_module_is_used_twice() -> None:
    names: dict[str, list[str]] = {}
    for path in CODE:
        if path.name != "__init__.py" and path.parts[len(ROOT.parts)] == CORE:
            names.setdefault(path.stem, []).append(module_of(path))
    assert {name: modules for name, modules in names.items() if len(modules) > 1} == {}


def test_pages_ask_and_draw_only(edges: dict[str, set[str]]) -> None:
    for module, imported in edges.items():
        if room(module) == "pages":
            assert not imported & {"duckdb", "numpy", "sqlite3"}, module


def test_what_must_not_appear(edges: dict[str, set[str]]) -> None:
    for module, source in SOURCES.items():
        assert not edges[module] & {"pickle", "shelve", "marshal", "dill"}, module
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.keyword) and node.arg in {"unsafe_allow_html", "trust_remote_code"}:
                assert isinstance(node.value, ast.Constant) and node.value.value is False, module
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec"}, module


def test_commands_that_do_not_compute_import_no_torch(tmp_path: Path) -> None:
    script = """import sys
from kthink_core.cli import main
for command in ["--help"], ["experiments"], ["mcp", "--help"], ["precompute", "--help"], ["train-sae", "--help"]:
    try:
        main(command)
    except SystemExit as ended:
        assert ended.code in (0, None), command
    assert not {"torch", "transformers", "streamlit"} & set(sys.modules), command
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={"KTHINK_CACHE": str(tmp_path)}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_modules_are_small() -> None:
    assert not {module: lines for module, source in SOURCES.items() if (lines := len(source.splitlines())) > 300}

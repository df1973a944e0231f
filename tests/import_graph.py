"""Which module imports which, by any chain: read from the source, imports within functions included."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = sorted(
    [ROOT / "app.py"] + [path for name in ("pages", "kthink_core", "bundle") for path in (ROOT / name).rglob("*.py")]
)


def module_of(path: Path, root: Path = ROOT) -> str:
    """`kthink_core.store` for `kthink_core/store/__init__.py`."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(source: str) -> frozenset[str]:
    """Dotted names imported anywhere in a source, except under `if TYPE_CHECKING`."""
    found: set[str] = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """By module: what it imports directly. Own modules by their names and with their packages, which run as well; of
    others the first part of the name. An own package that only holds rooms says nothing."""
    edges: dict[str, set[str]] = {}
    for module, source in sources.items():
        targets: set[str] = set()
        for name in imports(source):
            parts = name.split(".")
            own = {".".join(parts[: end + 1]) for end in range(len(parts))} & sources.keys()
            targets |= own or {parts[0]}
        edges[module] = targets - {module}
    return edges


def reached(edges: Mapping[str, set[str]], module: str) -> dict[str, tuple[str, ...]]:
    """What a module reaches by any chain of imports, with one chain that leads there."""
    chains: dict[str, tuple[str, ...]] = {module: (module,)}
    waiting = [module]
    while waiting:
        here = waiting.pop()
        for target in sorted(edges.get(here, ())):
            if target not in chains:
                chains[target] = (*chains[here], target)
                waiting.append(target)
    return chains

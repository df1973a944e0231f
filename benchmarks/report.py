"""How figures are printed: a Markdown table with machine and versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("torch", "transformers", "eai-sparsify", "duckdb", "streamlit")


def machine() -> str:
    """Processor, cores, and the versions that matter, in one line."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return f"{processor}, {os.cpu_count()} cores; Python {platform.python_version()}, {libraries}"


def markdown(title: str, rows: Mapping[str, str], where: str) -> str:
    """A titled two-column table."""
    lines = [f"### {title}", "", where, "", "| what | measured |", "| --- | --- |"]
    return "\n".join(lines + [f"| {name} | {value} |" for name, value in rows.items()]) + "\n"

"""The browser's side of components: files that are put together into the one module that Streamlit takes."""

from __future__ import annotations

from pathlib import Path

_UI = Path(__file__).parents[1]


def joined(*files: str) -> str:
    """The text of files below `ui`, one after the other: what one declares, those after it use."""
    return "\n".join((_UI / file).read_text(encoding="utf-8") for file in files)

"""A button that copies the address of the view."""

from __future__ import annotations

from pathlib import Path

from streamlit.components.v2 import component

_HERE = Path(__file__).parent
_component = component(
    "kthink_link",
    css=(_HERE / "controls.css").read_text(encoding="utf-8"),
    js=(_HERE / "share.js").read_text(encoding="utf-8"),
)


def copy_button() -> None:
    """Copies the address as the browser shows it, and says so. Once a page."""
    _component(key="copy_link", width="content", height="content")

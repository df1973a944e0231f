"""A button that copies the address of the view."""

from __future__ import annotations

from streamlit.components.v2 import component

from kthink_core.ui.parts.scripts import joined

_component = component(
    "kthink_link",
    css=joined("parts/controls.css"),
    js=joined("parts/controls.js", "parts/share.js"),
)


def copy_button() -> None:
    """Copies the address as the browser shows it, and says so. Once a page."""
    _component(key="copy_link", width="content", height="content")

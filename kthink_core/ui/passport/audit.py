"""Two capture sites side by side: at which of them the SAE is at home."""

from __future__ import annotations

from kthink_core.ui.parts import header
from kthink_core.ui.view.page import Page


def draw(page: Page) -> None:
    """The tab of the page."""
    header.nothing(f"Nothing is shown of {page.view.hookpoint} yet.")

"""What on a page breaks the rules of WCAG 2.2 AA, as axe-core finds it."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browsing import Scheme

_LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_BEYOND = {"heading-order": {"enabled": True}, "target-size": {"enabled": True}}
EVERYTHING: dict[str, Any] = {"runOnly": {"type": "tag", "values": _LEVELS}, "rules": _BEYOND}
CONTRAST: dict[str, Any] = {"runOnly": ["color-contrast"]}
"""What another theme can break."""

_IN_TRANSITION = "document.getAnimations().some(one => one instanceof CSSTransition && one.playState === 'running')"


def violations(page: Page, rules: dict[str, Any] = EVERYTHING) -> list[str]:
    """Each as rule, element and reason; a page that breaks no rule has none."""
    page.wait_for_function(f"!{_IN_TRANSITION}")  # a colour on its way is neither here nor there
    found = Axe().run(page, options=rules | {"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for rule in found
        for node in rule["nodes"]
    ]  # fmt: skip


def assert_accessible(page: Page) -> None:
    """In both themes."""
    assert violations(page) == []
    seen = page.locator(".stApp").evaluate("app => getComputedStyle(app).colorScheme")
    other: Scheme = "light" if seen == "dark" else "dark"
    page.emulate_media(color_scheme=other)
    expect(page.locator(".stApp")).to_have_css("color-scheme", other)
    assert violations(page, CONTRAST) == []

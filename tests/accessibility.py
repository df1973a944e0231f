"""What on a page breaks the rules of WCAG 2.2 AA, as axe-core finds it."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.browsing import Scheme

_LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_BEYOND = {"heading-order": {"enabled": True}, "target-size": {"enabled": True}}
EVERYTHING: dict[str, Any] = {"runOnly": {"type": "tag", "values": _LEVELS}, "rules": _BEYOND}
CONTRAST: dict[str, Any] = {"runOnly": ["color-contrast"]}
"""What another theme can break."""

_AXE = Axe().axe_script
_IN_TRANSITION = "document.getAnimations().some(one => one instanceof CSSTransition && one.playState === 'running')"


def violations(page: Page, rules: dict[str, Any] = EVERYTHING, within: Locator | None = None) -> list[str]:
    """Each as rule, element and reason; a page, or what is `within` an element, that breaks no rule has none."""
    page.wait_for_function(f"!{_IN_TRANSITION}")  # a colour on its way is neither here nor there
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE)
    place = within or page.locator("html")
    run = "(place, rules) => axe.run(place, rules)"
    found = place.evaluate(run, rules | {"resultTypes": ["violations"]})["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for rule in found
        for node in rule["nodes"]
    ]  # fmt: skip


def turn(page: Page, scheme: Scheme) -> None:
    """To the other theme of the app, to the end."""
    page.emulate_media(color_scheme=scheme)
    expect(page.locator(".stApp")).to_have_css("color-scheme", scheme)
    page.wait_for_function(f"!{_IN_TRANSITION}")


def assert_accessible(page: Page) -> None:
    """In both themes."""
    found = violations(page)
    assert not found, found
    seen = page.locator(".stApp").evaluate("app => getComputedStyle(app).colorScheme")
    turn(page, "light" if seen == "dark" else "dark")
    found = violations(page, CONTRAST)
    assert not found, found

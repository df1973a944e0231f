"""Pages in a real browser, for tests: each in a session of its own, drawn to the end, with a silent console."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from playwright.sync_api import Browser, ConsoleMessage, Page, expect

Visit = Callable[..., Page]
Scheme = Literal["light", "dark"]
PATIENCE = 120_000
"""Milliseconds: a busy machine is no failure."""
expect.set_options(timeout=60_000)


@contextmanager
def visiting(browser: Browser, address: str) -> Iterator[Visit]:
    """A function that opens a path in a session of its own. At the end the sessions close; none may have complained."""
    contexts, complaints = [], []

    def opened(
        path: str, scheme: Scheme = "light", width: int = 1440, base: str = address, touch: bool = False
    ) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme, has_touch=touch)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if _is_complaint(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(base + path)
        settled(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


def settled(page: Page) -> None:
    """Waits until nothing on the page is being computed or drawn."""
    expect(page.locator("h1").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator("[data-testid=stStatusWidget], [data-testid=stSkeleton], [data-stale=true]")).to_have_count(
        0, timeout=PATIENCE
    )


def _is_complaint(message: ConsoleMessage) -> bool:
    """Streamlit looks for its own server below a page's address before it looks at the root."""
    return message.type == "error" and "/_stcore/" not in message.location.get("url", "")

"""Pages in a real browser, for tests: each as if the first of its browser, drawn to the end, with a silent console."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urljoin

from playwright.sync_api import Browser, ConsoleMessage, Page, expect

Visit = Callable[..., Page]
Scheme = Literal["light", "dark"]
PATIENCE = 120_000
"""Milliseconds: a busy machine is no failure."""
HEALTH = "/_stcore/health"
expect.set_options(timeout=60_000)


class Tabs:
    """Tabs, each in a browser context of its own, that are used again and again.

    A new context starts a process, fetches Streamlit's scripts and compiles them: two thirds of what a visit costs.
    So does a way over `about:blank`: free tabs stay in their process, at a server's sign of life.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: dict[bool, list[Page]] = {False: [], True: []}
        self._complaints: dict[Page, list[str]] = {}

    def take(self, touch: bool) -> Page:
        """A tab that no other visit has, with nothing stored, allowed or logged."""
        return self._free[touch].pop() if self._free[touch] else self._new(touch)

    def give_back(self, page: Page, touch: bool) -> list[str]:
        """Empties a tab, which ends what runs in it, for the next visit. What it complained about.

        One that a test closed is not used again.
        """
        complaints = list(self._complaints[page])
        if page.is_closed():
            page.context.close()
            return complaints
        if page.url.startswith("http"):
            page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
            leave(page, page.url)
        page.mouse.up()
        page.mouse.move(0, 0)  # nothing on the next page is under the pointer
        page.context.clear_cookies()
        page.context.clear_permissions()
        self._complaints[page].clear()
        self._free[touch].append(page)
        return complaints

    def _new(self, touch: bool) -> Page:
        context = self._browser.new_context(has_touch=touch)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        self._complaints[page] = complaints_of(page)
        return page


@contextmanager
def visiting(tabs: Tabs, address: str) -> Iterator[Visit]:
    """A function that opens a path in a tab of its own. At the end the tabs are emptied; none may have complained."""
    taken: list[tuple[Page, bool]] = []

    def opened(
        path: str, scheme: Scheme = "light", width: int = 1440, base: str = address, touch: bool = False
    ) -> Page:
        page = tabs.take(touch)
        taken.append((page, touch))
        page.set_viewport_size({"width": width, "height": 1000})
        page.emulate_media(color_scheme=scheme)
        page.goto(base + path)
        settled(page)
        return page

    yield opened
    complaints = [complaint for page, touch in taken for complaint in tabs.give_back(page, touch)]
    assert not complaints, complaints


def complaints_of(page: Page) -> list[str]:
    """What a page complains about from now on; the list grows."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if _is_complaint(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def leave(page: Page, address: str) -> None:
    """Ends what runs on a page, whose server may then go; the tab stays in its process."""
    page.goto(urljoin(address, HEALTH))


def settled(page: Page) -> None:
    """Waits until nothing on the page is being computed or drawn, a run that was asked for included."""
    expect(page.locator("h1").first).to_be_visible(timeout=PATIENCE)
    under_way = "[data-testid=stStatusWidget], [data-testid=stSkeleton], [data-stale=true]"
    expect(
        page.locator(f"[data-testid=stApp][data-test-script-state=notRunning]:not(:has({under_way}))")
    ).to_have_count(1, timeout=PATIENCE)


def _is_complaint(message: ConsoleMessage) -> bool:
    """Streamlit looks for its own server below a page's address before it looks at the root."""
    return message.type == "error" and "/_stcore/" not in message.location.get("url", "")

"""Pages in a real browser, for tests: each as if the first of its browser, drawn to the end, with a silent console."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar
from urllib.parse import urljoin, urlsplit
from weakref import WeakKeyDictionary

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, WebSocket, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

T = TypeVar("T")
Visit = Callable[..., Page]
Scheme = Literal["light", "dark"]
PATIENCE = 120_000
"""Milliseconds: a busy machine is no failure."""
HEALTH = "/_stcore/health"
expect.set_options(timeout=PATIENCE)

_DRAWN = """async () => {
    const isDrawn = () => {
        const root = document.getElementById("root");
        const container = root && Object.keys(root).find((key) => key.startsWith("__reactContainer$"));
        const app = document.querySelector("[data-testid=stApp][data-test-script-state=notRunning]");
        if (!container || !app || root[container].stateNode.pendingLanes !== 0) return false;
        const coming = "[data-testid=stStatusWidget], [data-testid=stSkeleton], [data-stale=true]";
        const charts = [...app.querySelectorAll("[data-testid=stVegaLiteChart]")];
        return !app.querySelector(coming) && charts.every((one) => !one.clientWidth || one.querySelector(".marks"));
    };
    for (let turn = 0; turn < 4; turn++) {
        if (!isDrawn()) return false;
        await new Promise((done) => setTimeout(done));
    }
    return isDrawn();
}"""
"""Whether all that has come is drawn. What React was told and has not yet drawn is nowhere in the document: until then
it looks as before the click. Components draw in the turns that follow."""


class Runs:
    """The runs of its script that a tab asks its server for: whether the last one has come, by what the two tell each
    other. Nothing in the document says that a run was asked for before it has begun."""

    def __init__(self, page: Page) -> None:
        self.have_come = False
        self._fragment, self._run = "", None
        page.on("websocket", self._listen)

    def _listen(self, connection: WebSocket) -> None:
        self.have_come = False
        connection.on("framesent", self._sent)
        connection.on("framereceived", self._received)

    def _sent(self, frame: bytes | str) -> None:
        asked = BackMsg.FromString(bytes(frame)) if isinstance(frame, bytes) else BackMsg()
        if asked.WhichOneof("type") == "rerun_script":
            self.have_come, self._fragment, self._run = False, asked.rerun_script.fragment_id, None

    def _received(self, frame: bytes | str) -> None:
        told = ForwardMsg.FromString(frame) if isinstance(frame, bytes) else ForwardMsg()
        kind, run = told.WhichOneof("type"), told.metadata.run
        if kind == "new_session" and (not run.fragment_ids or self._run or self._fragment in run.fragment_ids):
            self._run = run.script_run_id  # else that of a part that was asked for before
        elif kind == "script_finished" and told.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            self.have_come = self.have_come or run.script_run_id == self._run


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
        context.on("page", runs_known)
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
    page.on("console", lambda message: complaints.append(_told(message)) if _is_complaint(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def leave(page: Page, address: str) -> None:
    """Ends what runs on a page, whose server may then go; the tab stays in its process."""
    page.goto(urljoin(address, HEALTH))


_runs: WeakKeyDictionary[Page, Runs] = WeakKeyDictionary()


def runs_known(page: Page) -> None:
    """Of a page that has opened nothing yet: `settled` can be asked about it."""
    _runs.setdefault(page, Runs(page))


def settled(page: Page) -> None:
    """Waits until nothing on the page is being computed or drawn, a run that was asked for included.

    What asks for its run a moment later, as a click in a table or chart does, is to be waited for by what it brings.
    """
    expect(title(page)).to_be_visible()
    end = time.monotonic() + PATIENCE / 1000
    while not (_runs[page].have_come and page.evaluate(_DRAWN)):
        assert time.monotonic() < end, f"{page.url}: a run has {'come' if _runs[page].have_come else 'not come'}"
        page.wait_for_timeout(20)


def title(page: Page) -> Locator:
    """The page's own. One that is being left, or drawn anew, may have two for a moment, which is an error at once."""
    return page.locator("[data-testid=stApp] h1").first


def becomes(page: Page, read: Callable[[], T], wanted: T) -> None:
    """Waits until what is read of a page, or beside it, is as wanted."""
    end = time.monotonic() + PATIENCE / 1000
    while (found := read()) != wanted and time.monotonic() < end:
        page.wait_for_timeout(50)
    assert found == wanted


def _is_complaint(message: ConsoleMessage) -> bool:
    """Streamlit looks for its own server below a page's address before it looks at the root; a browser asks for the
    icon of a text that was refused, or that a tab was left at, whenever it likes, and is refused that, too."""
    address = urlsplit(message.location.get("url", ""))
    return message.type == "error" and "/_stcore/" not in address.path and not address.path.endswith("/favicon.ico")


def _told(message: ConsoleMessage) -> str:
    return f"{message.text} {message.location.get('url', '')}".rstrip()

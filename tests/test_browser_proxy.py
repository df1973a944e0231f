"""The app under a path behind a real nginx with TLS, as a lab has it: from a link of an invitation to a link shared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from benchmarks.served import ROOT, UP, free_port, served
from kthink_core.access.gate import COOKIE
from kthink_core.live.healthy import complaint
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from tests.browsing import PATIENCE, complaints_of, runs_known, settled, title
from tests.nginx_process import HOST, nginx, proxied

pytestmark = pytest.mark.browser
BASE = "/kthink"


class Lab(NamedTuple):
    address: str
    """As others know it."""
    app: str
    """As it is known on this machine."""
    cache: Path
    logs: Path

    def link(self, role: str, view: str) -> str:
        """What `invite` prints."""
        command = [sys.executable, "-m", "kthink_core", "invite", "--role", role, "--name", role, "--view", view]
        given = {"KTHINK_CACHE": str(self.cache), "KTHINK_ACCESS": "invitations", "KTHINK_APP_URL": self.address}
        made = subprocess.run(command, cwd=ROOT, env=os.environ | given, capture_output=True, text=True, check=True)
        return made.stdout.strip()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_plan: Plan, browser: Browser) -> Iterator[Lab]:
    nginx()
    cache, logs, port = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("nginx"), free_port()
    precompute(tiny_plan, cache, 8, Silent())
    given = {"KTHINK_BASE_PATH": BASE, "KTHINK_ACCESS": "invitations", "KTHINK_APP_NAMES": HOST}
    with served(cache, (*UP, "--experiment", "tiny"), **given) as app, proxied(app, port, logs) as address:
        yield Lab(address, app, cache, logs)


def test_a_container_finds_it_healthy(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTHINK_APP_PORT", str(urlsplit(lab.app).port))
    assert complaint("app") == "HTTP 401"
    monkeypatch.setenv("KTHINK_BASE_PATH", BASE)
    assert complaint("app") is None


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(ignore_https_errors=True, viewport={"width": 1440, "height": 1000}) as context:
        context.set_default_timeout(PATIENCE)
        context.on("page", runs_known)
        yield context


def test_a_whole_visit_under_a_path_behind_nginx(lab: Lab, context: BrowserContext, browser: Browser) -> None:
    link = lab.link("runner", "/inference?experiment=tiny&inference=1")
    assert link.startswith(f"{lab.address}/invited/inference?experiment=tiny&inference=1#")
    token = link.partition("#")[2]
    page = context.new_page()
    complaints = complaints_of(page)
    page.goto(link)
    settled(page)
    assert page.url == f"{lab.address}/inference?experiment=tiny&inference=1"
    (cookie,) = [each for each in context.cookies() if each.get("name") == COOKIE]
    assert (cookie.get("path"), cookie.get("secure"), cookie.get("httpOnly")) == (BASE, True, True)

    page.get_by_role("link", name="Overview").click()
    expect(title(page)).to_contain_text("tiny")
    settled(page)
    assert page.url.partition("?")[0] == f"{lab.address}/"
    page.goto(f"{lab.address}/inference?experiment=tiny&inference=2")
    settled(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save this view").click()
    assert saved.value.url.startswith(f"{lab.address}/media/")
    assert "save-view &#x27;inference?" in (text := saved.value.path().read_text()) or "save-view 'inference?" in text
    page.locator(".transcript .feature").first.click()
    expect(page.locator(".legend")).to_contain_text("locked")
    settled(page)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    shared = page.evaluate("navigator.clipboard.readText()")
    assert shared.startswith(f"{lab.address}/inference?experiment=tiny&inference=2") and "locked=" in shared

    run_live(page)

    other = context.new_page()
    other.goto(shared)
    settled(other)
    expect(title(other)).to_have_text("Inference 2")
    expect(other.locator(".legend")).to_contain_text("locked")
    assert complaints == []
    with browser.new_context(ignore_https_errors=True) as stranger:
        answer = stranger.new_page().goto(shared, timeout=PATIENCE)
        assert answer is not None and answer.status == 401

    page.get_by_role("link", name="Sign out").click()
    expect(page.get_by_text("You are signed out")).to_be_visible()
    assert page.url == f"{lab.address}/sign-out"
    log = (lab.logs / "access.log").read_text() + (lab.logs / "error.log").read_text()
    assert "/kthink/_stcore/stream" in log and token not in log and str(cookie.get("value")) not in log


def run_live(page: Page) -> None:
    """What the worker writes comes while it is written."""
    page.get_by_role("link", name="Live").click()
    expect(title(page)).to_have_text("Live")
    settled(page)
    box = page.get_by_role("textbox", name="Prompt", exact=True)
    box.fill("Two?")
    expect(page.locator(".prompt .count")).to_contain_text("of at most")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator(".transcript .token").nth(20)).to_be_attached()
    expect(page.get_by_text("Done, ").first).to_be_visible()
    settled(page)

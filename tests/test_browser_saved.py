"""Saved views in a real browser, opened from a file with the network off: they are read as in the app."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from benchmarks.served import served
from kthink_core import cells, queries
from kthink_core.notes import FILE, FeatureSubject, InferenceSubject, Notebook
from kthink_core.saved import save_view
from kthink_core.store.reader import open_reader
from tests.accessibility import CONTRAST, violations
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment
from tests.browsing import PATIENCE, Visit

pytestmark = pytest.mark.browser

SCRIPT = "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
Show = Callable[[str], Page]
LINKS = {
    "inference": "inference?experiment=demo&inference=0&feature=12&also=7&span=12.20",
    "feature": "feature?experiment=demo&feature=12",
    "across": "across?experiment=demo",
    "compare": "compare?experiment=demo&inference=0&against=3&feature=12",
    "experiments": "compare?experiment=demo&other=other&facet=features",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 6, problems=SCRIPT))
    write_experiment(folder, sample_experiment("other", 6))
    book = Notebook(folder / FILE)
    book.write(FeatureSubject("demo", "", HOOKPOINTS[1], 12), "label", SCRIPT, author=SCRIPT[-50:], experiment="demo")
    book.write(InferenceSubject("demo", 0), "note", SCRIPT, author=SCRIPT[-50:], experiment="demo")
    return folder


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(offline=True, accept_downloads=True, viewport={"width": 1440, "height": 1000})
    made.set_default_timeout(PATIENCE)
    yield made
    made.close()


@pytest.fixture
def show(context: BrowserContext, cache: Path, tmp_path: Path) -> Iterator[Show]:
    """Opens the file of a link. It may ask for nothing but itself, complain of nothing, and run nothing of others."""
    asked: list[str] = []
    complaints: list[str] = []

    def shown(link: str) -> Page:
        file = save_view(cache, "demo", link, tmp_path / f"{len(asked)}.html", pytest.fail)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(file.as_uri())
        expect(page.get_by_role("heading", name="Where this is from")).to_be_visible()
        return page

    yield shown
    assert asked and all(url.startswith(("file:", "blob:")) for url in asked)
    assert not complaints
    assert not [page.title() for page in context.pages if page.title() == "owned"]


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_it_breaks_no_rule_in_either_theme_and_no_text_of_others_is_more_than_text(show: Show, link: str) -> None:
    page = show(link)
    assert page.locator("img, iframe, a").count() == 0
    expect(page.locator("body")).to_contain_text(SCRIPT)
    assert page.evaluate("document.scripts.length") == page.evaluate(
        "document.querySelectorAll('body > script').length"
    )
    assert violations(page) == []
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert violations(page, CONTRAST) == []


def test_a_transcript_is_hovered_and_locked_without_a_server(show: Show) -> None:
    page = show(LINKS["inference"])
    token = page.locator(".transcript .token").nth(30)
    token.hover()
    expect(page.locator(".tooltip.open")).to_contain_text("position")
    row = page.locator(".transcript .row .feature[data-feature='12']")
    row.hover()
    expect(page.locator(".transcript .heading .name")).to_contain_text("Feature 12 ")
    row.click()
    expect(row).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".transcript .locked")).to_have_text("locked")
    page.locator(".transcript .scroller").focus()
    page.keyboard.press("n")
    focus = page.locator(".transcript .token.focus")
    expect(focus).to_have_count(1)
    expect(focus).to_have_class(re.compile("fires"))
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help for the transcript")).not_to_contain_text("J K")


def test_what_fires_is_what_the_store_says(show: Show, cache: Path) -> None:
    page = show("inference?experiment=demo&inference=1&feature=12")
    lit = page.locator(".transcript").evaluate(
        "root => [...root.querySelectorAll('.token.fires')].map(token => token.position)"
    )
    with open_reader(cache, "demo") as reader:
        tracks = queries.feature_tracks(reader, 1, HOOKPOINTS[1], (12,))
    assert sorted(lit) == tracks["position"].tolist()


def test_opening_a_feature_leads_to_its_row_and_names_the_app_s_link(show: Show) -> None:
    page = show(LINKS["inference"])
    page.locator(".transcript .row .open[data-feature='12']").click()
    expect(page.locator("tr[data-feature='12']:focus")).to_have_count(1)
    expect(page.get_by_role("status")).to_contain_text("feature?experiment=demo")


def test_contexts_widen(show: Show) -> None:
    page = show(LINKS["feature"])
    text = page.locator(".snippets .text").first
    near = text.locator(".token").count()
    text.click()
    expect(text).to_have_attribute("aria-expanded", "true")
    assert text.locator(".token").count() > near
    page.locator(".snippets .place").first.click()
    expect(page.get_by_role("status")).to_contain_text("inference?experiment=demo")


def test_a_row_of_the_matrix_is_told_and_locked_by_pointer_and_keys(show: Show) -> None:
    page = show(LINKS["across"])
    cell = page.locator(".matrix td[aria-label]").nth(3)
    cell.hover()
    expect(page.locator(".told")).to_have_text(cell.get_attribute("aria-label") or "")
    cell.click()
    expect(page.locator(".matrix tr.lit")).to_have_count(1)
    assert page.locator(".matrix tr.other").count() > 1
    page.keyboard.press("Escape")
    expect(page.locator(".matrix tr.lit")).to_have_count(0)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    locked = page.locator(".matrix tr.lit")
    expect(locked.get_by_role("button")).to_have_attribute("aria-pressed", "true")
    assert locked.get_attribute("data-locks") == page.locator(".matrix tbody tr").nth(1).get_attribute("data-locks")


def test_two_transcripts_stand_side_by_side(show: Show) -> None:
    page = show(LINKS["compare"])
    expect(page.locator(".transcript")).to_have_count(2)
    left, right = (page.locator(".transcript").nth(at).bounding_box() for at in (0, 1))
    assert left and right and left["x"] + left["width"] <= right["x"] and left["y"] == right["y"]


def test_its_files_are_the_query_s_answer(show: Show, cache: Path) -> None:
    page = show(LINKS["inference"])
    page.get_by_text("Tokens (").click()
    with open_reader(cache, "demo") as reader:
        tokens = queries.transcript(reader, 0)
    with page.expect_download() as downloaded:
        page.get_by_role("button", name="CSV of transcript of inference 0").click()
    content = Path(downloaded.value.path()).read_text("utf-8")
    assert downloaded.value.suggested_filename == "demo-transcript-of-inference-0.csv"
    comments = [line for line in content.splitlines() if line.startswith("# ")]
    assert "# experiment: demo" in comments and "# query: transcript of inference 0" in comments
    found = pd.read_csv(StringIO(content), skiprows=len(comments), keep_default_na=False, na_values=[""])
    texts = found["text"].replace(r"^'(?='*[=+\-@\t\r])", "", regex=True).tolist()
    assert texts == tokens["text"].tolist() and found["token_id"].tolist() == tokens["token_id"].tolist()
    own = cells.as_csv(tokens.filter(items=["text"])).splitlines()
    assert all(line in content for line in own[1:])
    with page.expect_download() as downloaded:
        page.get_by_role("button", name="JSON of features of inference 0").click()
    rows = json.loads(Path(downloaded.value.path()).read_text("utf-8"))["rows"]
    with open_reader(cache, "demo") as reader:
        ranked = queries.ranked_features(reader, 0, HOOKPOINTS[1])
    assert [row["feature"] for row in rows] == ranked["feature"].tolist()[:100]


@pytest.fixture(scope="module")
def address(cache: Path, browser: Browser) -> Iterator[str]:
    with served(cache) as url:
        yield url


@pytest.mark.parametrize("kind", ["inference", "feature", "across", "compare"])
def test_the_button_of_a_page_saves_the_view_of_its_link(visit: Visit, cache: Path, tmp_path: Path, kind: str) -> None:
    page = visit(f"/{LINKS[kind]}")
    with page.expect_download() as downloaded:
        page.get_by_role("button", name="Save this view").click()
    assert (
        downloaded.value.suggested_filename.startswith("demo-") and downloaded.value.suggested_filename[-5:] == ".html"
    )
    made = Path(downloaded.value.path()).read_text("utf-8")
    again = save_view(cache, "demo", LINKS[kind], tmp_path / "again.html", pytest.fail).read_text("utf-8")
    at = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
    assert at.sub("", made) == at.sub("", again)

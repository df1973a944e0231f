"""What only a browser shows of notes, links and files: the clipboard, downloads, what others write, the keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Browser, Download, Page, expect

from benchmarks.served import served
from kthink_core.notes import FILE, FeatureLists, FeatureSubject, Notebook, SpanSubject
from tests.app_samples import HOOKPOINTS, SILENT, sample_experiment, write_experiment
from tests.browsing import Visit, settled, title

pytestmark = pytest.mark.browser

FEATURE = FeatureSubject("demo", "", HOOKPOINTS[1], 12)
HERE = f"/feature?experiment=demo&hookpoint={HOOKPOINTS[1]}&feature=12&scope=think"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 6))
    return folder


@pytest.fixture(scope="module")
def address(cache: Path, browser: Browser) -> Iterator[str]:
    with served(cache) as url:
        yield url


@pytest.fixture
def book(cache: Path) -> Iterator[Notebook]:
    yield Notebook(cache / FILE)
    for path in cache.glob(f"{FILE}*"):
        path.unlink()


def saved(download: Download) -> bytes:
    return Path(download.path()).read_bytes()


def form(page: Page) -> None:
    """Opens the form of the first panel."""
    page.get_by_text("Name, rate or note").click()
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_visible()


def test_the_link_is_copied_as_the_browser_shows_it(visit: Visit) -> None:
    page = visit(HERE)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name="Copy link")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.url
    assert parse_qs(urlsplit(copied).query)["feature"] == ["12"]
    expect(button).to_be_focused()
    other = visit(copied.removeprefix(copied.split("/feature")[0]))
    expect(title(other)).to_contain_text("Feature 12")


def test_the_link_is_copied_where_the_clipboard_is_not_to_be_had(visit: Visit) -> None:
    """Plain http under a name other than localhost."""
    page = visit(HERE)
    page.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false })")
    page.evaluate("document.addEventListener('copy', () => window.copied = document.activeElement.value, true)")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    assert page.evaluate("window.copied") == page.url
    assert page.locator("body > textarea").count() == 0


def test_files_of_a_table_are_downloaded_with_their_stamp(visit: Visit) -> None:
    page = visit(HERE)
    with page.expect_download() as csv:
        page.get_by_role("button", name="CSV").first.click()
    content = saved(csv.value).decode()
    assert csv.value.suggested_filename.endswith(".csv")
    for fact in ("experiment: demo", "scope: think", f"hookpoint: {HOOKPOINTS[1]}", "sae: demo", "made.kthink: 0.1.0"):
        assert f"# {fact}\n" in content
    table = pd.read_csv(StringIO(content), comment="#", keep_default_na=False, na_values=[""])
    with page.expect_download() as parquet:
        page.get_by_role("button", name="Parquet").first.click()
    same = pd.read_parquet(BytesIO(saved(parquet.value)))
    pd.testing.assert_frame_equal(table, same, check_dtype=False)
    assert len(table)


def test_a_table_is_asked_for_once_its_file_is(visit: Visit) -> None:
    page = visit(f"/inference?experiment=demo&hookpoint={HOOKPOINTS[1]}&feature=12&inference=3")
    with page.expect_download() as csv:
        page.get_by_role("button", name="CSV").first.click()
    content = saved(csv.value).decode()
    assert "# query: transcript of inference 3\n" in content
    table = pd.read_csv(StringIO(content), comment="#", keep_default_na=False, na_values=[""])
    assert table["position"].tolist() == list(range(len(table)))
    assert table["activation"].notna().any()


def test_a_chart_is_downloaded_as_png_and_svg(visit: Visit) -> None:
    page = visit(HERE)
    chart = page.locator("[data-testid=stVegaLiteChart] svg.marks").first
    expect(chart).to_be_visible()
    box = chart.bounding_box()
    assert box is not None
    with page.expect_download() as png:
        page.get_by_role("button", name="PNG", exact=True).first.click()
    picture = Image.open(BytesIO(saved(png.value))).convert("RGB")
    assert picture.size == pytest.approx((2 * box["width"] + 32, 2 * box["height"] + 32), abs=2)
    assert len(picture.getcolors(2**24) or ()) > 10
    assert picture.getpixel((1, 1)) == (255, 255, 255)
    with page.expect_download() as svg:
        page.get_by_role("button", name="SVG", exact=True).first.click()
    root = ElementTree.fromstring(saved(svg.value))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "experiment: demo" in (root.findtext("{http://www.w3.org/2000/svg}desc") or "")
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 10


def test_a_label_is_seen_at_once_here_and_soon_elsewhere(visit: Visit, book: Notebook) -> None:
    other = visit(HERE)
    expect(other.get_by_text("No label or note yet.")).to_be_visible()
    page = visit(HERE)
    form(page)
    page.get_by_label("Label", exact=True).fill("says <b>Hmm</b>")
    page.get_by_label("Note", exact=True).fill("at the start\nof a thought")
    page.get_by_label("Your name").fill("Ann")
    page.get_by_role("button", name="Save", exact=True).click()
    for seen in (page, other):
        expect(seen.get_by_text("says <b>Hmm</b>").last).to_be_visible()
        expect(seen.get_by_test_id("stText").get_by_text("at the start")).to_be_visible()
        expect(seen.get_by_text("by Ann").first).to_be_visible()
    assert {entry.what: entry.value for entry in book.entries(FEATURE)} == {
        "label": "says <b>Hmm</b>", "note": "at the start\nof a thought",
    }  # fmt: skip
    other.get_by_role("button", name="Delete").click()  # there it asks who one is
    other.get_by_label("Your name, as it stands beside the note").fill("Bob")
    other.get_by_role("button", name="Delete the note").click()
    expect(other.get_by_text("only its author, Ann, can take this note back").first).to_be_visible()
    assert len(book.entries(FEATURE)) == 2
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_test_id("stText").get_by_text("at the start")).to_have_count(0)
    expect(other.get_by_test_id("stText").get_by_text("at the start")).to_have_count(0)


def test_what_is_being_typed_survives_what_others_write(visit: Visit, book: Notebook) -> None:
    page = visit(HERE)
    form(page)
    page.get_by_label("Note", exact=True).fill("half a sen")
    book.write(FEATURE, "note", "from elsewhere", "Bob", "demo")
    book.write(FEATURE, "label", "named elsewhere", "Bob", "demo")
    expect(page.get_by_text("from elsewhere")).to_be_visible()
    expect(page.get_by_label("Note", exact=True)).to_have_value("half a sen")


def test_stars_and_flag(visit: Visit, book: Notebook) -> None:
    page = visit(HERE)
    form(page)
    page.get_by_role("radio").nth(3).click()
    page.get_by_text("Flag", exact=True).click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("★★★★☆")).to_be_visible()
    expect(page.get_by_text("flagged")).to_be_visible()
    assert {entry.what: entry.value for entry in book.entries(FEATURE)} == {"rating": "4", "flag": "1"}


def test_the_notes_are_taken_along(visit: Visit, book: Notebook) -> None:
    book.write(FEATURE, "label", "the one", "Ann", "demo")
    book.write(FEATURE, "note", "another", "Bob", "demo")
    page = visit("/notes?search=ONE")
    expect(page.get_by_label("Search labels and notes")).to_have_value("ONE")
    with page.expect_download() as lines:
        page.get_by_role("button", name="JSON lines").click()
    assert pd.read_json(BytesIO(saved(lines.value)), lines=True)["value"].tolist() == ["the one"]


def test_a_row_of_the_notes_leads_to_its_feature(visit: Visit, book: Notebook) -> None:
    book.write(FEATURE, "label", "the one", "Ann", "demo")
    page = visit("/notes")
    page.locator("[data-testid=stDataFrame]:visible").click(position={"x": 60, "y": 35 + 17})
    page.wait_for_url(re.compile("/feature.*feature=12"))
    settled(page)
    expect(title(page)).to_contain_text("Feature 12")


def test_a_feature_goes_on_a_list_whose_rows_a_link_shows_to_somebody_else(
    visit: Visit, book: Notebook, cache: Path
) -> None:
    """From its page by the list's own to the matrix; then the same link where there is no such list any more."""
    page = visit(HERE)
    page.get_by_role("button", name="Add to list…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill("doubt <b>x</b>")
    dialog.get_by_role("combobox").press("Enter")
    dialog.get_by_label("Your name").fill("Ann")
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("which holds 1 now").first).to_be_visible()  # for four seconds
    expect(dialog).to_have_count(0)
    settled(page)
    page.get_by_role("link", name="doubt <b>x</b>").click()
    page.wait_for_url(re.compile("/notes.*kept=lists"))
    settled(page)
    lists = FeatureLists(cache / FILE)
    (made,) = lists.all()
    assert (made.name, made.author, made.features) == ("doubt <b>x</b>", "Ann", 1)
    lists.add(made.id, [FeatureSubject("demo", "", HOOKPOINTS[1], SILENT)], "demo")
    page.reload()
    settled(page)
    page.get_by_role("link", name="2 rows by inferences").click()
    page.wait_for_url(re.compile("/across.*list="))
    settled(page)
    other = urlsplit(page.url)
    for rows, gone in (((12, SILENT), False), ((12, SILENT), True)):
        if gone:
            lists.delete(made.id)
        fresh = visit(f"{other.path}?{other.query}")
        expect(fresh.get_by_text("was deleted on")).to_have_count(int(gone))
        labels = fresh.locator("[data-testid=stVegaLiteChart] .role-axis-label text")
        for feature in rows:
            expect(labels.filter(has_text=re.compile(f"^{feature}( ·|$)"))).to_have_count(1)


def test_a_note_on_a_span_leads_to_it_again_and_again(visit: Visit, book: Notebook) -> None:
    for first, last in ((3, 5), (40, 44)):
        book.write(SpanSubject("demo", 1, first, last), "note", f"about {first}", "Ann")
    page = visit("/inference?experiment=demo&inference=1&feature=12")
    listed = page.locator("[data-testid=stDataFrame]:visible").first
    spanned = page.locator(".spanned")
    for row, first, length in ((1, 40, 5), (0, 3, 3), (1, 40, 5)):
        listed.click(position={"x": 60, "y": 35 * (row + 1) + 17})
        page.wait_for_url(re.compile(f"span={first}[.].*position={first}"))
        expect(spanned).to_have_count(length)
        expect(spanned.first).to_be_in_viewport()
        settled(page)
        expect(page.get_by_test_id("stText").filter(has_text=f"about {first}")).to_be_visible()
        page.get_by_role("button", name="Clear the span").last.click()
        page.wait_for_url(lambda url: "span=" not in url and "position=" not in url)
        expect(page.get_by_role("heading", name="What stands out")).to_have_count(0)
        settled(page)


def test_the_guided_reading_can_be_followed_and_dismissed(visit: Visit) -> None:
    page = visit("/?experiment=demo")
    page.get_by_role("link", name="Think or word?").click()
    page.wait_for_url(re.compile("/feature.*section=phase"))
    settled(page)
    page.get_by_role("link", name="Overview").click()
    settled(page)
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text("Find a feature of thinking words")).to_have_count(0)
    page.reload()
    settled(page)
    expect(page.get_by_role("heading", name="Inferences", exact=True)).to_be_visible()
    expect(page.get_by_text("Find a feature of thinking words")).to_have_count(0)
    page.get_by_role("link", name="Guide").click()
    expect(page.get_by_text("Find a feature of thinking words")).to_be_visible()
    other = visit("/?experiment=demo")  # of another browser
    expect(other.get_by_text("Find a feature of thinking words")).to_be_visible()


@pytest.mark.parametrize("path", ["/notes", "/guide"])
def test_a_narrow_screen(visit: Visit, book: Notebook, path: str) -> None:
    book.write(FEATURE, "note", "x" * 200, "Ann", "demo")
    page = visit(path, width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400

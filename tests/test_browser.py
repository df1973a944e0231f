"""What only a browser shows of the pages: clicks in tables and charts, links opened elsewhere, themes, widths."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from benchmarks.served import served
from kthink_core import queries
from kthink_core.notes import FILE, FeatureSubject, Notebook
from kthink_core.store.reader import open_reader
from tests.accessibility import turn
from tests.app_samples import HOOKPOINTS, PAYLOADS, sample_experiment, write_experiment
from tests.browsing import Scheme, Visit, becomes, leave, settled, title

pytestmark = pytest.mark.browser
PATHS = ("/", "/inference", "/feature", "/across", "/compare")
WIDTH_OF_CONTENT = "document.querySelector('[data-testid=stMain]').scrollWidth"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 6))
    write_experiment(folder, sample_experiment("growing", 6), committed=range(3))
    write_experiment(folder, sample_experiment("wide", 6, latents=256))
    return folder


@pytest.fixture(scope="module")
def address(cache: Path, browser: Browser) -> Iterator[str]:
    with served(cache) as url:
        yield url


def click_row(page: Page, table: int, row: int, x: int = 40) -> None:
    """Click a row of a table, -1 its header. It is drawn on a canvas with lines of 35 pixels, after boxes of 32."""
    page.locator("[data-testid=stDataFrame]:visible").nth(table).click(position={"x": x, "y": 35 * (row + 1) + 17})


def ranked(cache: Path, inference: int, ranking: queries.Ranking = "maximum") -> list[int]:
    """The features of an inference in the order of its list and table."""
    with open_reader(cache, "demo") as reader:
        return queries.ranked_features(reader, inference, "layers.4.mlp", "generated", ranking, 100)["feature"].tolist()


def at_cell(page: Page, row: int) -> None:
    """Waits until the keyboard is in a row of the page's first table, as a screen reader is told."""
    chosen = page.locator("[data-testid=stDataFrame]:visible").first.locator("td[aria-selected=true]")
    expect(chosen).to_have_attribute("id", re.compile(rf"-{row}$"))


def parameter(page: Page, name: str) -> str:
    found = re.search(rf"[?&]{name}=([^&]*)", page.url)
    assert found, f"{name} is not in {page.url}"
    return found[1]


def features_shown(page: Page) -> str:
    """The legend over the tokens: each feature, and what its shading is divided by."""
    return page.locator(".legend").inner_text()


def test_the_first_experiment_appears_by_itself(tmp_path: Path, visit: Visit, address: str) -> None:
    with served(tmp_path) as url:
        page = visit("/", base=url)
        expect(title(page)).to_have_text("Nothing to explore yet")
        write_experiment(tmp_path, sample_experiment("demo", 3))
        expect(title(page)).to_have_text("demo")
        settled(page)
        expect(page.get_by_text("Inferences", exact=True)).to_be_visible()
        leave(page, address)  # before its server goes


def test_the_first_visitor_of_a_server_may_come_with_a_link(cache: Path, visit: Visit, address: str) -> None:
    with served(cache) as url:
        page = visit("/inference?inference=3&feature=12", base=url)
        expect(title(page)).to_have_text("Inference 3")
        expect(page.get_by_role("link", name="Overview")).to_be_visible()
        expect(page.get_by_text("app", exact=True)).to_have_count(0)
        leave(page, address)


def test_a_click_in_the_table_of_features_makes_it_the_main_one(visit: Visit) -> None:
    page = visit("/inference?inference=1&feature=3&also=7")
    click_row(page, 0, 3)
    page.wait_for_url(lambda url: "feature=3&" not in url)
    settled(page)
    feature = parameter(page, "feature")
    assert parameter(page, "also") == "7"
    expect(page.get_by_label("Feature (0 to 63)")).to_have_value(feature)
    expect(page.locator(".legend")).to_contain_text(re.compile(rf"^1{feature}\D"))


def test_arrow_keys_move_in_a_table_and_enter_opens_its_row(visit: Visit, cache: Path) -> None:
    page = visit("/inference?inference=1&feature=3")
    before = page.url
    features = ranked(cache, 1)
    page.locator("[data-testid=stDataFrame]:visible canvas").first.focus()
    for row in range(1, 4):
        page.keyboard.press("ArrowDown")
        at_cell(page, row)
    page.keyboard.press("ArrowUp")
    at_cell(page, 2)
    settled(page)
    assert page.url == before
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(rf"feature={features[2]}(&|$)"))
    settled(page)
    page.keyboard.press("ArrowDown")
    at_cell(page, 3)
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(rf"feature={features[3]}(&|$)"))


def test_a_row_is_opened_again_and_by_its_box_and_a_header_only_sorts(visit: Visit, cache: Path) -> None:
    page = visit("/inference?inference=1&feature=3")
    features = ranked(cache, 1)
    for x in (16, 60):
        click_row(page, 0, 5, x=x)
        page.wait_for_url(re.compile(rf"feature={features[5]}(&|$)"))
        settled(page)
        page.get_by_label("Feature (0 to 63)").fill("63")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("feature=63"))
        settled(page)
    click_row(page, 0, -1, x=60)
    expect(page.locator("[data-testid=stDataFrame]:visible td").first).to_have_text(str(min(features)))
    settled(page)
    assert parameter(page, "feature") == "63"
    click_row(page, 0, 1, x=60)
    page.wait_for_url(re.compile(rf"feature={sorted(features)[1]}(&|$)"))


def test_a_link_opened_elsewhere_shows_the_same(visit: Visit, cache: Path) -> None:
    page = visit("/inference?inference=1&also=3.7&span=12.20&ranking=lift")
    page.keyboard.press("j")
    page.wait_for_url(re.compile("inference=2"))
    expect(title(page)).to_have_text("Inference 2")
    settled(page)
    click_row(page, 0, 2)
    page.wait_for_url(re.compile(f"feature={ranked(cache, 2, 'lift')[2]}&"))
    settled(page)
    other = visit(page.url.removeprefix(page.url.split("/inference")[0]))
    expect(title(other)).to_have_text("Inference 2")
    assert other.url == page.url
    becomes(other, lambda: features_shown(other), features_shown(page))


def test_what_stands_out_in_a_span_is_in_sight_of_who_marked_it(visit: Visit, cache: Path) -> None:
    page = visit("/inference?inference=1&feature=12")
    page.set_viewport_size({"width": 1440, "height": 900})
    tokens = page.locator(".token")
    tokens.nth(12).hover()
    page.mouse.down()
    tokens.nth(20).hover()
    page.mouse.up()
    listed = page.locator(".list.of-span .row")
    expect(listed.first).to_be_in_viewport()
    expect(tokens.nth(12)).to_be_in_viewport()
    with open_reader(cache, "demo") as reader:
        found = queries.span_features(reader, 1, "layers.4.mlp", 12, 20)
    shown = [12, *(feature for feature in found["feature"].tolist() if feature != 12)]
    expect(listed.locator(".number")).to_have_text([str(feature) for feature in shown])
    expect(page.locator(".side .heading")).to_have_text("Span 12 to 20nliftat least")
    page.get_by_role("button", name="Clear the span").first.click()
    expect(listed).to_have_count(0)
    settled(page)
    title(page).hover()  # what is below the pointer now may be a feature
    expect(page.locator(".side .heading")).to_contain_text("Features of layers.4.mlp")


def test_the_link_holds_what_shades_the_tokens_and_the_locked_feature(visit: Visit) -> None:
    page = visit("/inference?inference=1&feature=12&also=3")
    page.get_by_role("radio", name="whole experiment").click()
    page.wait_for_url(re.compile("basis=experiment"))
    settled(page)
    page.locator(".list .feature[data-feature='7']").click()
    page.wait_for_url(re.compile("locked=7"))
    settled(page)
    assert parameter(page, "basis") == "experiment"
    other = visit(page.url.removeprefix(page.url.split("/inference")[0]))
    for one in (page, other):
        expect(one.get_by_role("radio", name="whole experiment")).to_be_checked()
        expect(one.locator(".entry", has_text="locked")).to_contain_text("7")
    becomes(other, lambda: features_shown(other), features_shown(page))
    other.locator(".list .feature[data-feature='7']").click()
    settled(other)
    other.get_by_role("radio", name="this trace").click()
    other.wait_for_url(lambda url: "locked" not in url and "basis" not in url)
    settled(other)
    expect(other.locator(".entry", has_text="locked")).to_have_count(0)


@pytest.mark.parametrize(
    ("path", "tab", "chosen"),
    [
        ("/inference?inference=1", "Histogram", "plot=histogram"),
        ("/feature?feature=12", "Inferences and contrast", "section=inferences"),
        ("/compare?other=growing", "Quality and provenance", "facet=quality"),
    ],
)
def test_the_link_holds_the_open_tab(visit: Visit, path: str, tab: str, chosen: str) -> None:
    page = visit(path)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    first = page.get_by_role("tab").first
    expect(first).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name=tab).click()
    page.wait_for_url(re.compile(rf"[?&]{chosen}(&|$)"))
    settled(page)
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert chosen in copied
    other = visit(copied.removeprefix(copied.split(path.split("?")[0])[0]))
    expect(other.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
    expect(other.get_by_role("tabpanel", name=tab)).not_to_be_empty()
    settled(page)
    first.click()
    page.wait_for_url(lambda url: chosen not in url)
    settled(page)
    expect(first).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tabpanel", name=first.inner_text())).not_to_be_empty()


def test_the_link_holds_whether_features_are_browsed(visit: Visit) -> None:
    page = visit("/feature?feature=12")
    page.get_by_text("Browse features").click()
    page.wait_for_url(re.compile("browse=open"))
    settled(page)
    expect(page.get_by_label("Sort features by")).to_be_visible()
    other = visit(page.url.removeprefix(page.url.split("/feature")[0]))
    expect(other.get_by_label("Sort features by")).to_be_visible()
    other.get_by_text("Browse features").click()
    other.wait_for_url(lambda url: "browse" not in url)
    expect(other.get_by_label("Sort features by")).to_be_hidden()


def test_rows_lead_to_pages_and_the_bar_keeps_the_view(visit: Visit) -> None:
    page = visit("/")
    click_row(page, -1, 2)
    expect(title(page)).to_have_text("Inference 2")
    settled(page)
    page.get_by_role("link", name="Feature", exact=True).click()
    expect(title(page)).to_contain_text("of layers.4.mlp")
    settled(page)
    expect(page.get_by_label("Inference (0 to 5)")).to_have_value("2")
    page.get_by_role("link", name="Overview").click()
    expect(title(page)).to_have_text("demo")
    settled(page)
    click_row(page, 0, 1)
    expect(title(page)).to_contain_text("of layers.2.mlp")
    settled(page)
    page.go_back()
    expect(title(page)).to_have_text("demo")


def test_a_cell_of_the_matrix_leads_to_the_peak_token(visit: Visit) -> None:
    page = visit("/across")
    cell = page.locator("svg.marks path[aria-label*='Peak at']").nth(7)
    expect(cell).to_be_visible()
    described = cell.get_attribute("aria-label") or ""
    inference, feature, peak = (
        re.findall(pattern, described)[0] for pattern in (r"Inference: \S+ (\d+)", r"row: (\d+)", r"Peak at: (\d+)")
    )
    cell.click()
    expect(title(page)).to_have_text(f"Inference {inference}")
    settled(page)
    assert (parameter(page, "feature"), parameter(page, "position")) == (feature, peak)
    expect(page.locator(".token").nth(int(peak))).to_be_in_viewport()


def test_a_context_widens_and_leads_to_its_place(visit: Visit) -> None:
    page = visit("/feature?feature=12")
    context = page.locator(".snippet").first
    expect(context.locator(".token").first).to_be_visible()
    before = context.locator(".token").count()
    context.locator(".text").click()
    expect(context.locator(".text")).to_have_attribute("aria-expanded", "true")
    expect(context.locator(".token").nth(before)).to_be_attached()
    place = re.findall(r"inference (\d+) · (\d+)", context.locator(".place").inner_text())[0]
    context.locator(".place").click()
    expect(title(page)).to_have_text(f"Inference {place[0]}")
    settled(page)
    assert parameter(page, "position") == place[1]


def test_a_point_of_a_plot_makes_its_feature_the_main_one(visit: Visit) -> None:
    page = visit("/inference?inference=0&feature=3")
    page.get_by_role("tab", name="70 feature frequencies").click()
    bar = page.locator("svg.marks path[aria-label*='Positions']").nth(4)
    expect(bar).to_be_visible()
    settled(page)
    described = re.findall(r"Feature: (\d+)", bar.get_attribute("aria-label") or "")[0]
    bar.click()
    page.wait_for_url(re.compile(rf"feature={described}&|feature={described}$"))
    settled(page)
    expect(page.get_by_role("tab", name="70 feature frequencies")).to_have_attribute("aria-selected", "true")


def test_every_plot_is_drawn(visit: Visit) -> None:
    page = visit("/inference?inference=0")
    for tab in ("400 top activations", "70 feature frequencies", "Histogram", "Token ids"):
        page.get_by_role("tab", name=tab).click()
        chart = page.get_by_role("tabpanel", name=tab).locator("[data-testid=stVegaLiteChart] canvas, svg.marks").first
        expect(chart).to_be_visible()
        settled(page)
        box = chart.bounding_box()
        assert box and box["width"] > 400 and box["height"] > 200
    page = visit("/feature")
    expect(page.locator("[data-testid=stVegaLiteChart]:visible")).to_have_count(1)
    page.get_by_role("tab", name="Tokens").click()
    expect(page.locator("[data-testid=stVegaLiteChart]:visible")).to_have_count(3)


def test_new_inferences_appear_by_themselves(cache: Path, visit: Visit) -> None:
    page = visit("/?experiment=growing")
    expect(page.get_by_text("3 of 6 inferences")).to_be_visible()
    write_experiment(cache, sample_experiment("growing", 6), committed=[3])
    expect(page.get_by_text("4 of 6 inferences").first).to_be_visible()
    settled(page)
    expect(page.get_by_text("right (2)")).to_be_visible()


def test_hostile_text_shows_as_text(visit: Visit) -> None:
    page = visit("/feature?inference=0")
    contexts = page.locator(".snippets")
    expect(contexts.locator(".snippet").first).to_be_visible()
    for text in contexts.locator(".text").all():
        text.click()
    said = contexts.inner_text()
    assert any(payload in said for payload in PAYLOADS if "<" in payload)
    expect(contexts.locator("script, img, b")).to_have_count(0)
    page = visit("/inference?inference=0")
    expect(page.get_by_text("**72** <b>$</b>").first).to_be_visible()
    assert "owned" not in page.title()


@pytest.mark.parametrize("path", PATHS)
def test_a_page_narrow_in_the_dark_then_wide_in_light_with_its_downloads(visit: Visit, path: str) -> None:
    page = visit(path, scheme="dark", width=400)
    is_filled(page, "dark")
    assert page.evaluate(WIDTH_OF_CONTENT) <= 400, "it is not left at the side"
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.set_viewport_size({"width": 1440, "height": 1000})
    turn(page, "light")
    settled(page)
    is_filled(page, "light")
    texts_are_inert(page, path)


def is_filled(page: Page, scheme: Scheme) -> None:
    picture = Image.open(BytesIO(page.screenshot())).convert("L")
    brightness = picture.resize((1, 1)).getpixel((0, 0))
    assert isinstance(brightness, int)
    assert brightness < 80 if scheme == "dark" else brightness > 180
    darkest, lightest = picture.getextrema()
    assert isinstance(darkest, int) and isinstance(lightest, int) and lightest - darkest > 150


def texts_are_inert(page: Page, path: str) -> None:
    """Streamlit's own download of a table would leave a text such as `=1+1` to be computed; its buttons are hidden."""
    own = page.get_by_label("Download as CSV")
    for button in own.all():
        expect(button).to_be_hidden()
        around = "one => getComputedStyle(one.closest('[data-testid=stElementToolbarButton]')).display"
        assert button.evaluate(around) == "none"
    if path == "/":
        expect(own.first).to_be_attached()
        expect(page.get_by_role("button", name="CSV", exact=True).first).to_be_visible()


def test_no_link_of_the_guided_reading_is_cut_off(visit: Visit) -> None:
    page = visit("/", width=1400)
    links = page.locator("[data-testid=stMain] [data-testid=stPageLink]")
    expect(links).to_have_count(5)
    cut = "link => [link, ...link.querySelectorAll('*')].filter((one) => one.scrollWidth > one.clientWidth + 1"
    is_clipped = "getComputedStyle(one).overflowX !== 'visible'"
    for width in (1400, 1000, 700):
        page.set_viewport_size({"width": width, "height": 1000})
        for link in links.all():
            becomes(page, lambda at=link: at.evaluate(f"{cut} && {is_clipped}).length"), 0)


def test_nonsense_in_the_link_is_a_message(visit: Visit) -> None:
    """On each page it is one: there, no browser is needed."""
    page = visit("/inference?feature=abc&inference=99&scope=%3Cb%3E&experiment=%5Bx%5D(http://a.b)&hookpoint=%24x%24")
    told = page.locator("[data-testid=stAlert]", has_text="The link's")
    expect(told).to_have_count(5)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    expect(page.get_by_text("'[x](http:\u2060//a.b)'")).to_be_visible()
    expect(told.locator("a")).to_have_count(0)


def saved(page: Page, name: str, kind: str = "Parquet") -> BytesIO:
    """The file that a table's button gives."""
    with page.expect_download() as told:
        page.locator(f"[class*='st-key-download-{name}-{kind}'] button").click()
    return BytesIO(Path(told.value.path()).read_bytes())


def test_a_file_is_stamped_with_the_hookpoints_of_its_rows(visit: Visit) -> None:
    page = visit("/")
    for name, hookpoint in (
        *((f"features-by-count-{one.replace('.', '-')}", one) for one in HOOKPOINTS),
        ("quality-of-demo", ", ".join(HOOKPOINTS)),
    ):
        metadata = parquet.read_schema(saved(page, name)).metadata
        assert metadata[b"kthink.hookpoint"].decode() == hookpoint


def test_a_file_of_features_holds_all_with_labels_and_top_tokens(visit: Visit, cache: Path) -> None:
    book = Notebook(cache / FILE)
    book.write(FeatureSubject("demo", "", HOOKPOINTS[1], 7), "label", "seventh", "Ada", "wide")
    page = visit("/across?experiment=wide&sort=maximum")
    expect(page.get_by_text("The first 100 by this sort")).to_be_visible()
    content = saved(page, "features-layers-4-mlp")
    assert parquet.read_schema(content).metadata[b"kthink.rows"] == b"all, 10000 at most"
    table = pd.read_parquet(content)
    with open_reader(cache, "wide") as reader:
        everything = queries.feature_table(reader, HOOKPOINTS[1], sort="maximum", top=1000)
        tokens = queries.top_tokens_of(reader, HOOKPOINTS[1], tuple(everything["feature"].tolist()))
    assert len(everything) > 100
    pd.testing.assert_frame_equal(table.drop(columns=["label", "top_tokens"]), everything)
    assert dict(zip(table["feature"], table["label"], strict=True))[7] == "seventh"
    texts = tokens.groupby("feature")["text"].agg(list).to_dict()
    assert [json.loads(line) for line in table["top_tokens"]] == [texts[feature] for feature in table["feature"]]

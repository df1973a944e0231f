"""The live page in a real browser, with a real worker of a tiny model: typing, streaming, stopping, keeping, losing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.served import served
from kthink_core.access.visitor_cookie import COOKIE
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.settings import WorkerSettings
from kthink_core.worker.engine import Engine
from tests.accessibility import assert_accessible
from tests.browsing import Visit, becomes, settled, title
from tests.worker_process import working

pytestmark = pytest.mark.browser
LONG = "60000"
TOKENS = ".transcript .token"


class Place:
    """A cache with an experiment, an app over it, and a worker that can be ended."""

    def __init__(self, cache: Path, plan: Plan) -> None:
        self.cache, self._plan, self._stack = cache, plan, ExitStack()
        precompute(plan, cache, 8, Silent())
        self.settings, self.engine = self._work()
        self.address = ""

    def _work(self, port: int = 0) -> tuple[WorkerSettings, Engine]:
        limits = {"new_tokens": 100_000, "requests_per_minute": 10_000}
        return self._stack.enter_context(working(self._plan, cache=self.cache, port=port, **limits))

    def begin_again(self) -> None:
        self._work(self.settings.port)

    def end_worker(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_plan: Plan, browser: Browser) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("cache"), tiny_plan)
    port = str(place.settings.port)
    with served(place.cache, KTHINK_WORKER_PORT=port, KTHINK_EXPERIMENT="tiny") as place.address:
        yield place
    place.end_worker()


@pytest.fixture(scope="module")
def address(place: Place) -> str:
    return place.address


def box(page: Page):
    return page.get_by_role("textbox", name="Prompt", exact=True)


def run(page: Page, prompt: str, most: str = "30") -> None:
    settled(page)
    page.get_by_label("Most new tokens").fill(most)
    page.get_by_label("Most new tokens").press("Enter")
    settled(page)
    if most == LONG:  # the likeliest tokens go round for ever, where drawn ones end a run sooner or later
        page.get_by_role("spinbutton", name="Temperature").fill("0")
        page.get_by_role("spinbutton", name="Temperature").press("Enter")
        settled(page)
    box(page).fill(prompt)
    expect(page.locator(".prompt .count")).to_contain_text("of at most")
    page.get_by_role("button", name="Run", exact=True).click()


def asked_in(link: str) -> list[str]:
    """The run of a link."""
    return parse_qs(urlsplit(link).query).get("live", [])


def ended(page: Page, how: str) -> None:
    expect(page.get_by_text(re.compile(f"^{how}, ")).first).to_be_visible()
    settled(page)


def test_tokens_show_while_typing(visit: Visit) -> None:
    page = visit("/live")
    box(page).type("Two 🙂</think>")
    expect(page.locator(".prompt .tokens")).to_contain_text("🙂</think>")
    expect(page.locator(".prompt .token.template").first).to_be_visible()
    box(page).fill("a\u0007b")
    expect(page.locator(".prompt .count")).to_contain_text("U+0007")
    box(page).fill("word " * 6000)
    expect(page.locator(".prompt .count")).to_contain_text("more than the 4096 allowed")


def test_a_prompt_becomes_a_transcript_and_is_kept(visit: Visit) -> None:
    page = visit("/live")
    run(page, "<b>Two?</b>")
    ended(page, "Done")
    expect(page.locator(TOKENS).nth(40)).to_be_attached()
    expect(page.locator(".transcript")).to_contain_text("<b>Two?</b>")
    expect(page.locator(".transcript .band")).to_have_count(2)
    expect(page.get_by_role("tab", name="Unusual here")).to_be_visible()
    assert_accessible(page)
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name="Keep").click()
    page.get_by_role("link", name=re.compile("Kept as inference 0 of live")).click()
    expect(title(page)).to_have_text("Inference 0")
    expect(page.locator(".transcript")).to_contain_text("<b>Two?</b>")
    settled(page)
    assert "experiment=live" in page.url


def test_a_run_is_found_again_opened_kept_and_deleted(visit: Visit, place: Place) -> None:
    page = visit("/live")
    page.get_by_role("combobox", name="Watchlist").fill("3")
    page.keyboard.press("Enter")
    expect(page.get_by_label("3 above", exact=True)).to_be_visible()
    run(page, "<i>Remember</i> me", LONG)
    expect(page.locator(TOKENS).nth(60)).to_be_attached()
    page.wait_for_url(re.compile("live=[0-9a-f]{32}"))
    link = page.url
    page.reload()
    stop = page.get_by_role("button", name="Stop").first
    expect(stop).to_be_visible()
    expect(page.locator(TOKENS).nth(60)).to_be_attached()
    stop.click()
    ended(page, "Stopped")
    stranger = visit("/live")
    stranger.get_by_text("Your runs").click()
    expect(stranger.get_by_text("None yet.")).to_be_visible()
    expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("<i>Remember</i> me")
    expect(page.get_by_label("3 above", exact=True)).to_be_visible()
    run(page, "Keep me")
    page.wait_for_url(lambda url: asked_in(url) not in ([], asked_in(link)))
    ended(page, "Done")
    kept_link = page.url
    second = page.context.new_page()
    second.goto(kept_link.partition("?")[0])
    settled(second)
    second.get_by_text("Your runs").click()
    expect(second.get_by_text("A click opens a run")).to_be_visible()
    settled(second)
    rows = second.locator("[data-testid=stExpanderDetails] [data-testid=stDataFrame]")
    first, last = (re.compile(re.findall("live=[0-9a-f]{32}", own)[0]) for own in (link, kept_link))
    for row, own in ((1, first), (0, last)):
        rows.click(position={"x": 300, "y": 35 * (row + 1) + 17})
        second.wait_for_url(own)
        settled(second)
    second.go_back()
    second.wait_for_url(first)
    expect(second.locator(".transcript")).to_contain_text("<i>Remember</i> me")
    cookie = next(each for each in page.context.cookies() if each["name"] == COOKIE)
    assert cookie["httpOnly"] and cookie["sameSite"] == "Lax" and cookie["value"] not in page.url
    second.close()
    page.get_by_role("button", name="Keep", exact=True).click()
    page.get_by_role("link", name=re.compile("^Kept as inference")).click()
    expect(title(page)).to_contain_text("Inference")
    settled(page)
    assert "prompt=" not in page.url and "live=" not in page.url
    expect(page.get_by_text("When it was kept")).to_be_visible()
    expect(page.get_by_text(re.compile("Compared then with the [0-9]+ inferences of tiny"))).to_be_visible()
    page.mouse.move(0, 0)
    assert_accessible(page)
    page.get_by_role("button", name="Delete this kept run").click()
    page.get_by_role("button", name="Delete it for good").click()
    expect(page.get_by_text(re.compile("was kept, and deleted on"))).to_be_visible()
    page.goto(kept_link)  # it may be kept anew, and no link leads to what is gone
    settled(page)
    expect(page.get_by_role("button", name="Keep", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("^Kept as inference"))).to_have_count(0)
    page.goto(link)
    settled(page)
    page.get_by_text("Your runs").click()
    page.get_by_role("button", name="Delete all").click()
    page.get_by_role("button", name=re.compile("^Delete all [0-9]+$")).click()
    expect(page.get_by_text("None yet.")).to_be_visible()
    for gone, prompt in ((stranger, link), (page, link)):
        gone.goto(prompt)
        settled(gone)
        expect(gone.get_by_text("The run of this link is not here any more")).to_be_visible()
        expect(gone.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("<i>Remember</i> me")


def test_a_trace_is_branched_from_its_tooltip_and_the_branch_kept(visit: Visit) -> None:
    page = visit("/inference?experiment=tiny&inference=1&shade=surprise")
    expect(page.locator(".row .feature[aria-pressed=true]")).to_contain_text("surprise")
    expect(page.locator(f"{TOKENS}.fires").nth(12)).to_be_attached()  # a random model is surprised everywhere
    written = page.locator(".band:not(.prompt) .token").nth(4)
    position = int(written.evaluate("token => token.position"))
    before = "".join(page.locator(".band:not(.prompt) .token").all_text_contents()[:4])
    written.click()
    tooltip = page.locator(".tooltip.held")
    expect(tooltip).to_contain_text(re.compile(r"entropy[0-9.]+ nats"))
    others = tooltip.locator("button.other")
    expect(others).to_have_count(5)
    expect(others.first).to_contain_text("%")
    put = str(others.nth(2).get_attribute("title"))
    others.nth(2).click()
    page.wait_for_url(re.compile(rf"/live\?.*branch={position}\.[0-9]+"))
    expect(page.get_by_text(f"Branch from inference 1 of tiny, at position {position}")).to_be_visible()
    page.get_by_role("button", name="Run the branch").click()
    ended(page, "Done")
    again = page.locator(".band:not(.prompt) .token")
    becomes(page, lambda: "".join(again.all_text_contents()[:4]), before)
    page.locator(f"{TOKENS}").nth(position).click()
    expect(page.locator(".tooltip.held .facts")).to_contain_text(f"id{re.findall('[0-9]+', put)[0]}")
    page.get_by_role("button", name="Keep", exact=True).click()
    page.get_by_role("link", name=re.compile("^Kept as inference")).click()
    page.get_by_role("button", name=f"Branched from inference 1 of tiny, at position {position}").click()
    page.wait_for_url(re.compile(rf"experiment=tiny.*position={position}"))
    child = page.get_by_role("button", name=re.compile(rf"At {position}: .*of live\)$"))
    child.click()
    page.wait_for_url(re.compile("experiment=live"))


def test_encode_only(visit: Visit) -> None:
    page = visit("/live")
    page.get_by_text("Encode only").click()
    run(page, "Hmm, wait.")
    ended(page, "Done")
    expect(page.locator(".transcript .band")).to_have_count(1)


def test_stop_ends_it_and_another_seed_goes_on(visit: Visit, place: Place) -> None:
    page = visit("/live")
    run(page, "Two?", LONG)
    expect(page.locator(TOKENS).nth(80)).to_be_attached()
    page.locator(TOKENS).nth(20).hover()
    there = page.locator(TOKENS).count()
    expect(page.locator(TOKENS).nth(there + 30)).to_be_attached()
    expect(page.locator(".transcript .tooltip.open")).to_contain_text("position")  # while others are still coming
    page.get_by_role("button", name="Stop").click()
    ended(page, "Stopped")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    becomes(page, lambda: place.engine.load().running, False)


def test_two_visitors_see_their_own(visit: Visit) -> None:
    one, two = visit("/live"), visit("/live")
    run(one, "Firstprompt")
    run(two, "Secondprompt")
    for page, own, other in ((one, "Firstprompt", "Secondprompt"), (two, "Secondprompt", "Firstprompt")):
        ended(page, "Done")
        expect(page.locator(".transcript")).to_contain_text(own)
        expect(page.locator(".transcript")).not_to_contain_text(other)


def test_a_watched_feature_is_reported_while_it_runs(visit: Visit, place: Place) -> None:
    feature = 3
    page = visit(f"/live?feature={feature}")
    page.get_by_role("combobox", name="Watchlist").fill(str(feature))
    page.keyboard.press("Enter")
    expect(page.get_by_label(f"{feature} above", exact=True)).to_be_visible()
    run(page, "Two?", LONG)
    expect(page.locator(".token.marked").first).to_be_attached()
    expect(page.get_by_text(re.compile(r"reports, the last of 3 \(.+\) at position \d+"))).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    ended(page, "Stopped")


def test_what_was_set_is_there_after_a_visit_to_another_page(visit: Visit) -> None:
    page = visit("/live")
    page.get_by_label("Most new tokens").fill("37")
    page.get_by_label("Most new tokens").press("Enter")
    settled(page)
    page.get_by_role("combobox", name="Watchlist").fill("3")
    page.keyboard.press("Enter")
    expect(page.get_by_label("3 above", exact=True)).to_be_visible()
    settled(page)
    page.get_by_label("3 above", exact=True).fill("2")
    page.get_by_label("3 above", exact=True).press("Enter")
    settled(page)
    page.get_by_role("link", name="Guide", exact=True).click()
    expect(title(page)).to_have_text("Guide")
    settled(page)
    page.get_by_role("link", name="Live", exact=True).click()
    expect(page.get_by_label("Most new tokens")).to_have_value("37")
    expect(page.get_by_label("3 above", exact=True)).to_have_value("2.00")


def test_what_is_chosen_in_the_transcript(visit: Visit) -> None:
    page = visit("/live")
    run(page, "Two?")
    ended(page, "Done")
    tokens = page.locator(TOKENS)
    tokens.nth(30).hover()
    page.mouse.down()
    tokens.nth(33).hover()
    page.mouse.up()
    expect(page.get_by_text("What stands out from position 30 to 33")).to_be_visible()
    listed = page.locator(".transcript .list.of-span .open")
    expect(listed.nth(1)).to_be_visible()
    settled(page)
    number = listed.nth(1).get_attribute("data-feature")
    page.locator(f".transcript .list.of-span .open[data-feature='{number}']").click()
    expect(title(page)).to_contain_text(f"Feature {number} of")


def test_closing_the_tab_stops_the_job(visit: Visit, place: Place) -> None:
    page = visit("/live")
    run(page, "Two?", LONG)
    expect(page.locator(TOKENS).nth(60)).to_be_attached()
    other = visit("/live")
    page.context.close()
    becomes(other, lambda: place.engine.load().running, False)


def test_nonsense_stays_a_message(visit: Visit) -> None:
    page = visit("/live?hookpoint=x&feature=-5")
    expect(page.locator("[data-testid=stAlert]")).to_have_count(2)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("type something")).to_be_visible()
    expect(page.locator("[data-testid=stException]")).to_have_count(0)


def test_a_worker_that_dies_is_told_and_what_came_stays(visit: Visit, place: Place) -> None:
    page = visit("/live")
    run(page, "Two?", LONG)
    expect(page.locator(TOKENS).nth(80)).to_be_attached()
    place.end_worker()
    expect(page.get_by_text("The worker ended").first).to_be_visible()
    expect(page.locator(TOKENS).nth(80)).to_be_attached()
    expect(page.get_by_text("No worker answers.").first).to_be_visible()
    expect(page.get_by_role("button", name="Run it again").first).to_be_disabled()
    missing = visit("/live")
    command = f"python -m kthink_core worker --port {place.settings.port}"
    expect(missing.get_by_text("No worker answers.")).to_be_visible()
    expect(missing.get_by_text(command, exact=True)).to_be_visible()
    place.begin_again()
    expect(missing.get_by_label("Prompt", exact=True).first).to_be_visible()
    expect(page.get_by_text("No worker answers.")).to_have_count(0)
    settled(page)
    page.get_by_role("button", name="Run it again").click()
    expect(page.get_by_role("button", name="Stop").first).to_be_visible()
    expect(page.locator(TOKENS).nth(80)).to_be_attached()
    expect(page.get_by_text("The worker ended")).to_have_count(0)

"""What only a browser shows of the sentences of a thought: their bars, and where a click on one leads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.served import served
from kthink_core.store.reader import open_reader
from kthink_core.store.sentence_studies import SentenceStudy
from tests.app_samples import sample_experiment, write_experiment
from tests.browsing import Visit
from tests.query_samples import save_rollouts

pytestmark = pytest.mark.browser
BARS = "svg.marks path[role=graphics-symbol]"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 2))
    return folder


@pytest.fixture(scope="module")
def study(cache: Path) -> SentenceStudy:
    with open_reader(cache, "demo") as reader:
        return save_rollouts(reader, 40)


@pytest.fixture(scope="module")
def address(cache: Path, study: SentenceStudy, browser: Browser) -> Iterator[str]:
    with served(cache) as url:
        yield url


def test_a_click_on_a_bar_leads_to_the_sentence_in_the_transcript(visit: Visit, study: SentenceStudy) -> None:
    page = visit("/inference?experiment=demo&inference=0&sentences=open")
    expect(page.get_by_text(f"1 of {len(study.sentences)} sentences")).to_be_visible()
    bars = page.locator(BARS)
    expect(bars).to_have_count(len(study.sentences))
    bars.nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**span={study.sentences[1].first}.{study.sentences[1].last}*")
    expect(page.get_by_text(f"from position {study.sentences[1].first} to {study.sentences[1].last}")).to_be_visible()
    assert page.title() != "owned"

"""The tab of families, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kthink_core.evidence.duplicates import families
from kthink_core.store.reader import open_reader
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment
from tests.app_visits import Open, tables, texts, visiting


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 6))
    write_experiment(folder, sample_experiment("brief", 2), committed=(1,))
    return folder


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


def test_families_open_one_at_a_time(visit: Open, cache: Path) -> None:
    with open_reader(cache, "demo") as reader:
        found = families(reader, HOOKPOINTS[1], overlap=0.3)
    several = found.loc[found["members"] > 1]
    firsts = several["family"].drop_duplicates().tolist()
    assert len(firsts) > 1, "or nothing is told apart"
    app = visit("reasoning", test="families", overlap="30")
    listed, members = tables(app, "feature")
    assert listed["feature"].tolist() == firsts
    assert members["feature"].tolist() == several.loc[several["family"] == firsts[0], "feature"].tolist()
    last = several["feature"].tolist()[-1]
    app = visit("reasoning", test="families", overlap="30", feature=str(last))
    assert tables(app, "feature")[1]["feature"].tolist() == several.loc[
        several["family"] == firsts[-1], "feature"
    ].tolist()  # fmt: skip
    assert f"Family of feature {firsts[-1]}" in texts(app)


def test_where_no_two_are_alike_the_page_says_so(visit: Open) -> None:
    app = visit("reasoning", experiment="brief", test="families", scope="answer")  # of four positions
    assert "No two features are so much alike" in texts(app)
    app = visit("reasoning", test="families", overlap="nine")
    assert "is not a whole number" in texts(app)

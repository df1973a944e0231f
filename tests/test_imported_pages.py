"""Every page of an imported experiment opens, and says what the received files had not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kthink_core.store.export import export
from kthink_core.store.writer import open_writer
from kthink_core.travel.goodfire import export_goodfire
from kthink_core.travel.imports import import_experiment
from kthink_core.ui.view.permalink import TESTS
from tests.app_samples import HOOKPOINTS, sample_experiment, sample_inference
from tests.app_visits import Open, texts, transcript, visiting

PAGES = ("overview", "inference", "feature", "across", "reasoning", "quality", "compare", "steer", "notes", "guide")
LACKING = "Imported from files of Goodfire's layout, which have tokens and activations only."


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `own` and `goodfire`, both imported."""
    folder = tmp_path_factory.mktemp("imported")
    experiment = sample_experiment("there", 5)
    with open_writer(folder / "there", experiment) as writer:
        for index in range(5):
            writer.append(sample_inference(experiment, index))
        writer.build()
    import_experiment(folder, export(folder / "there", "there", folder / "own.duckdb"), "own")
    export_goodfire(folder / "there", "there", folder / "layout")
    import_experiment(folder, folder / "layout", "goodfire")
    return folder


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", ["own", "goodfire"])
def test_pages_open(visit: Open, page: str, name: str) -> None:
    app = visit(page, experiment=name, scope="generated", inference="0", hookpoint=HOOKPOINTS[0], feature="1")
    assert not app.error
    assert (LACKING in texts(app)) == (name == "goodfire")
    assert "computed once" not in texts(app) and "`precompute`, or the worker, measures" not in texts(app)


@pytest.mark.parametrize(
    ("page", "tab"), [("reasoning", ("test", each)) for each in TESTS] + [("quality", ("passport", "audit"))]
)
def test_their_tabs_open(visit: Open, page: str, tab: tuple[str, str]) -> None:
    app = visit(page, experiment="goodfire", **dict([tab]))
    assert not app.error and not app.get("code")


def test_the_transcript_has_the_tokens_as_text(visit: Open) -> None:
    app = visit("inference", experiment="goodfire", inference="0")
    own = visit("inference", experiment="own", inference="0")
    assert transcript(app)["texts"] == transcript(own)["texts"]


def test_the_overview_says_where_it_comes_from(visit: Open) -> None:
    told = texts(visit("overview", experiment="own"))
    assert "imported 20" in told and "from own.duckdb" in told and "temperature" in told
    told = texts(visit("overview", experiment="goodfire"))
    assert "from layout" in told and "temperature" not in told and "mode bypass" not in told

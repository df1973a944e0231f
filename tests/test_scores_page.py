"""The tab of ReasonScores: what it shows, what goes into the link, and what it says of a vocabulary that is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kthink_core.evidence import vocabulary
from kthink_core.evidence.matches import word_matches
from kthink_core.evidence.reason_score import reason_score
from kthink_core.evidence.word_evidence import word_places
from kthink_core.store.reader import open_reader
from tests.app_samples import HOOKPOINTS, SILENT, sample_experiment, write_experiment
from tests.app_visits import Open, at_link, payloads, tables, texts, visiting

AT = HOOKPOINTS[-1]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 6))
    write_experiment(folder, sample_experiment("few", 2))
    return folder


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


def said(app) -> str:
    return texts(app).replace("\\", "")


def test_features_words_and_evidence(visit: Open, cache: Path) -> None:
    app = visit("reasoning", experiment="demo")
    with open_reader(cache, "demo") as reader:
        scores, matches = reason_score(reader, AT, top=100), word_matches(reader)
        places = word_places(reader, AT, int(scores["feature"][0]))
    (shown,) = tables(app, "score_low")
    assert shown["feature"].tolist() == scores["feature"].tolist()
    assert shown["active_positive"].tolist() == scores["active_positive"].tolist()
    assert all(shown["tokens"])
    (counted,) = tables(app, "matches")
    assert counted["matches"].tolist() == matches["matches"].tolist()
    positive, negative, within = (scores[name][0] for name in ("positive_positions", "negative_positions", "of"))
    assert f"{positive} positive and {negative} other positions in scope generated" in said(app)
    assert f"words in {within} of 6 inferences" in said(app)
    assert "by words" in said(app)
    assert 'Words that occur in no trace: alternatively, perhaps, however, "But", "Another".' in said(app)
    (data,) = payloads(app, "groups")
    assert {group["title"] for group in data["groups"]} == set(places["band"])
    assert sum(len(group["snippets"]) for group in data["groups"]) == len(places)
    assert not app.error


def test_what_is_chosen_goes_into_the_link_and_the_default_does_not(visit: Open, cache: Path) -> None:
    app = visit("reasoning", experiment="demo", scope="think")
    words = ("wait", "hmm", "clips")
    app.text_area(key="choose_words").set_value("\n".join(words)).run()
    app.number_input(key="choose_window_0").set_value(0).run()
    app.number_input(key="choose_window_1").set_value(3).run()
    app.number_input(key="choose_alpha").set_value(0.3).run()
    link = {name: app.query_params[name] for name in ("words", "window", "alpha")}
    assert {name: value[0] if isinstance(value, list) else value for name, value in link.items()} == {
        "words": "wait\nhmm\nclips", "window": "0.3", "alpha": "0.3",
    }  # fmt: skip
    with open_reader(cache, "demo") as reader:
        expected = reason_score(reader, AT, "think", words, (0, 3), 0.3)
    (shown,) = tables(app, "score_low")
    assert shown["feature"].tolist() == expected["feature"].tolist()
    app.text_area(key="choose_words").set_value("\n".join(vocabulary.DEFAULT)).run()
    assert "words" not in app.query_params


def test_a_feature_of_the_link_is_looked_at(visit: Open) -> None:
    app = visit("reasoning", experiment="demo", feature=str(SILENT))
    assert f"Feature {SILENT} is silent near every word in scope generated." in said(app)
    assert not payloads(app, "groups")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (" ", "the vocabulary is empty; it takes a word a line"),
        ("zebra", "no word of the vocabulary occurs in scope generated"),
        ("# 1", "is not token ids such as #1 #2"),
        ("x" * 90, "a word has 60 at most"),
    ],
)
def test_a_vocabulary_that_makes_no_sense_is_said_and_can_be_mended(visit: Open, words: str, message: str) -> None:
    app = visit("reasoning", experiment="demo", words=words)
    assert message in said(app)
    assert not tables(app, "score_low")
    app.text_area(key="choose_words").set_value("wait").run()
    assert not app.error and tables(app, "score_low")


def test_an_emptied_vocabulary_is_an_error_and_not_the_default(visit: Open) -> None:
    app = visit("reasoning", experiment="demo", words="wait")
    app.text_area(key="choose_words").set_value("").run()
    assert "the vocabulary is empty" in said(app)
    assert app.text_area(key="choose_words").value == ""


def test_hostile_words_are_shown_as_they_are(visit: Open) -> None:
    app = visit("reasoning", experiment="demo", words="wait\n<script>alert(1)</script>\n**b**")
    assert not app.error
    assert "Words that occur in no trace: <script>alert(1)</script>, **b**." in said(app)
    for markdown in app.markdown:
        assert "<script>" not in markdown.value


def test_too_few_inferences_and_nonsense_in_the_link(visit: Open) -> None:
    app = visit("reasoning", experiment="few")
    assert "Too few inferences have a word for an interval: it takes 5." in said(app)
    app = at_link(app, window="1.99", alpha="much")
    warned = [warning.value.replace("\\", "") for warning in app.warning]
    assert [" ".join(line.split()[:3]) for line in warned] == ["The link's window", "The link's alpha"]
    assert tables(app, "score_low")

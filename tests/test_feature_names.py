"""What features are called, wherever their numbers stand: by their label, else by their three top tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kthink_core.notes import FILE, Imported, Notebook, of_feature
from kthink_core.ui.parts.naming import brief, named, of_tokens
from tests.app_samples import HOOKPOINTS, SILENT, VOCABULARY, sample_experiment, sample_inference, write_experiment
from tests.app_visits import Open, tables, texts, transcript, visiting

EXPERIMENT = sample_experiment("demo", 3)
HERE = HOOKPOINTS[1]
LABEL = "says <b>wait</b> :red[x]"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    write_experiment(folder, EXPERIMENT)
    book = Notebook(folder / FILE)
    book.write(of_feature(EXPERIMENT, HERE, 12), "label", LABEL, "Ada", "demo")
    imported = [
        Imported(12, "less", "s", 0.9, ""),
        Imported(5, "lower", "s", 0.1, ""),
        Imported(5, "higher", "t", 0.2, ""),
    ]
    book.take_labels(of_feature(EXPERIMENT, HERE, 0), imported, "demo")
    return folder


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


def top_texts(feature: int) -> list[str]:
    """The five tokens of what was generated at which a feature is most active, counted here."""
    peaks: dict[int, float] = {}
    for number in range(3):
        made = sample_inference(EXPERIMENT, number)
        encoding = made.encodings[HERE]
        for position, token in enumerate(made.token_ids.tolist()):
            if made.segments[position] != "prompt":
                for one, activation in zip(encoding.features[position], encoding.activations[position], strict=True):
                    if one == feature:
                        peaks[token] = max(peaks.get(token, 0.0), float(activation))
    return [VOCABULARY[token] for token in sorted(peaks, key=lambda token: (-peaks[token], token))[:5]]


def expected(feature: int) -> str:
    return {12: LABEL, 5: "higher"}.get(feature) or of_tokens(top_texts(feature))


def test_a_name_is_three_tokens_that_differ_with_nothing_hidden() -> None:
    assert of_tokens([" wait", " but", " hmm", " so"]) == "wait, but, hmm"
    assert of_tokens([" Wait", "Wait", " wait", "a", "b"]) == "Wait, wait, a"
    assert of_tokens(["   ", "\n\n", ", "]) == "···, ⏎⏎, “,”"
    assert of_tokens(["\u202eevil", "<b>"]) == "\\u202eevil, <b>" and of_tokens([]) == ""
    assert named(7, {7: "wait, but"}) == "7 · wait, but" and named(7, {}) == "7"
    assert len(named(7, {7: "x" * 500})) == len("7 · ") + 60


def test_every_feature_of_a_trace_has_its_name(visit: Open) -> None:
    app = visit("inference", experiment="demo", inference="1", feature="12", hookpoint=HERE)
    data = transcript(app)
    shown = {row["feature"] for row in data["ranked"]} | {12}
    assert len(shown) > 40
    for feature in shown:
        here = data["labels"].get(str(feature)) or data["lines"][str(feature)]
        assert here == expected(feature) and (str(feature) in data["labels"]) == (feature in (5, 12))
    options = app.multiselect(key="choose_features").options
    assert {option.partition(" · ")[0] for option in options} == set(map(str, shown))
    assert all(
        option
        == named(
            int(option.partition(" · ")[0]),
            {int(option.partition(" · ")[0]): expected(int(option.partition(" · ")[0]))},
        )
        for option in options
    )
    assert "says \\<b\\>wait\\<" in texts(app), "beside the picker, as text"


def test_a_name_stays_whatever_scope_is_looked_at(visit: Open) -> None:
    names = []
    for scope in ("generated", "prompt"):
        app = visit("across", experiment="demo", hookpoint=HERE, scope=scope)
        rows = json.loads(app.get("vega_lite_chart")[0].proto.spec)["encoding"]["y"]["scale"]["domain"]
        names.append({row.partition(" · ")[0]: row.partition(" · ")[2] for row in rows})
    both = names[0].keys() & names[1].keys()
    assert both and all(names[0][feature] == names[1][feature] for feature in both)
    assert all(name == brief(expected(int(feature))) for feature, name in names[0].items() if feature != "12")


def test_a_feature_is_found_by_what_it_is_called(visit: Open) -> None:
    app = visit("feature", experiment="demo", hookpoint=HERE, feature="3")
    app.text_input(key="find feature").set_value("WAIT").run()
    labels = [button.label for button in app.sidebar.button if button.key and button.key.startswith("found ")]
    assert labels[0].startswith("12 · says \\<b\\>wait") and len(labels) > 1, "by label first, then by token"
    by_token = {feature for feature in range(SILENT) if any("wait" in text.lower() for text in top_texts(feature))}
    assert {int(label.partition(" ")[0]) for label in labels} <= by_token | {12}
    app.button(key="found 12").click().run()
    assert app.query_params["feature"] == ["12"] or app.query_params["feature"] == "12"
    app.text_input(key="find feature").set_value("nobody says so").run()
    assert "is called so" in texts(app)
    assert not [button for button in app.sidebar.button if button.key and button.key.startswith("found ")]


def test_a_word_typed_into_a_list_brings_what_is_called_so(visit: Open) -> None:
    app = visit("inference", experiment="demo", inference="1", feature="3", hookpoint=HERE)
    app.multiselect(key="choose_features").set_value([3, "higher"]).run()
    assert app.query_params["feature"] in ("3", ["3"]) and "“higher”: 1 feature is called so" in texts(app)
    assert app.multiselect(key="choose_features").options[:2] == [named(3, {3: expected(3)}), "5 · higher"]


def test_all_labels_of_a_feature_stand_on_its_page_the_shown_one_first(visit: Open) -> None:
    told = texts(visit("feature", experiment="demo", hookpoint=HERE, feature="5"))
    assert told.index("higher :gray[t, score 0.2]") < told.index("lower :gray[s, score 0.1]")
    app = visit("feature", experiment="demo", hookpoint=HERE, feature="12")
    assert "less :gray[s, score 0.9]" in texts(app)
    assert next(box.value for box in app.text_input if box.label == "Label") == LABEL, "the form has people's own"
    (listed,) = tables(visit("notes", experiment="demo"), "what")
    assert listed["what"].tolist() == ["label"] and listed["about"].tolist() == [f"feature 12 · {LABEL} of {HERE}"]

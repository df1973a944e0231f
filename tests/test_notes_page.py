"""Labels and notes in the app, without a browser: written, seen by others, searched, taken back, hostile, broken."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from kthink_core.evidence.label_test import label_test
from kthink_core.notes import FILE, FeatureSubject, InferenceSubject, Notebook, SpanSubject
from kthink_core.store.reader import list_experiments, open_reader
from kthink_core.ui import notes_list
from kthink_core.ui.parts import note_panel
from kthink_core.ui.view.cache import Source
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import View
from tests.app_samples import HOOKPOINTS, PAYLOADS, sample_experiment, write_experiment
from tests.app_visits import PAGES, PATIENCE, Open, tables, texts, visiting

FEATURE = FeatureSubject("demo", "", HOOKPOINTS[1], 12)
SPAN = SpanSubject("demo", 2, 10, 14)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    write_experiment(tmp_path, sample_experiment("demo", 3))
    write_experiment(tmp_path, sample_experiment("twin", 2, seed=1))
    write_experiment(tmp_path, sample_experiment("other", 2, sae="org/saes"))
    return tmp_path


@pytest.fixture
def book(cache: Path) -> Notebook:
    return Notebook(cache / FILE)


@pytest.fixture
def open_page(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


def panel_script() -> None:
    """A page with the panel of one feature and one span, and nothing else."""
    from kthink_core.ui.parts import note_panel
    from kthink_core.ui.view.page import errors_shown, open_page

    with errors_shown():
        page = open_page()
        note_panel.panel(page, note_panel.of_feature(page, 12))
        note_panel.panel(page, note_panel.of_span(page, 2, 10, 14), quote=" so the clips")


@pytest.fixture
def panel(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    def opened(folder: Path = cache) -> AppTest:
        monkeypatch.setenv("KTHINK_CACHE", str(folder))
        monkeypatch.setattr("kthink_core.ui.view.page._under_navigation", lambda: None)
        app = AppTest.from_function(panel_script, default_timeout=PATIENCE).run()
        assert not app.exception
        return app

    return opened


def at(cache: Path, name: str = "demo", **config: Any) -> Page:
    return Page(Source(cache, name, ""), [], sample_experiment(name, 3, **config), (0, 1, 2), View(name, HOOKPOINTS[1]))


def listed(app: AppTest) -> pd.DataFrame:
    (table,) = app.dataframe
    return table.value


def test_a_feature_is_named_rated_flagged_and_written_about(panel: Open, book: Notebook) -> None:
    app = panel()
    assert texts(app).count("No label or note yet.") == 2
    label, _, author, _ = app.text_input
    label.set_value("says *Hmm*")
    author.set_value("Ann")
    app.checkbox[0].check()
    app.text_area[0].set_value("first\nsecond")
    app.button[0].click().run()
    assert not app.exception and not app.error
    said = texts(app)
    assert "**says \\*Hmm\\***" in said
    assert "first\nsecond" in [text.value for text in app.text]
    assert "by Ann" in said
    assert [(entry.what, entry.value, entry.author, entry.experiment) for entry in book.entries(FEATURE)] == [
        ("label", "says *Hmm*", "Ann", "demo"), ("flag", "1", "Ann", "demo"), ("note", "first\nsecond", "Ann", "demo"),
    ]  # fmt: skip
    assert app.text_area[0].value == ""
    assert [field.value for field in app.text_input] == ["says *Hmm*", "", "Ann", "Ann"]


def test_a_label_is_tested_beside_it_by_its_pattern(open_page: Open, panel: Open, book: Notebook) -> None:
    app = panel()
    app.text_input(key=next(box.key for box in app.text_input if box.label == "Pattern")).set_value("clips,  wait ")
    next(button for button in app.button if button.label == "Save").click().run()
    assert [(entry.what, entry.value) for entry in book.entries(FEATURE)] == [("pattern", "clips, wait")]
    app = open_page("feature", feature="12", hookpoint=HOOKPOINTS[1])
    with open_reader(book.path.parent, "demo") as reader:
        held = label_test(reader, HOOKPOINTS[1], 12, "clips, wait").iloc[0]
    (shown,) = [metric.value for metric in app.metric if metric.label == "Recall"]
    assert shown == f"{held['recall']:.2f}" and held["firing"] > 0
    assert f"{held['firing']} firing, {held['marked']} marked, {held['both']} both" in texts(app)
    book.write(FEATURE, "pattern", "/(/")
    assert "is no regular expression" in texts(open_page("feature", feature="12", hookpoint=HOOKPOINTS[1]))
    book.write(FEATURE, "pattern", "nowhere")
    assert "the pattern matches nothing" in texts(open_page("feature", feature="12", hookpoint=HOOKPOINTS[1]))


def test_a_span_keeps_its_text_with_the_note(panel: Open, book: Notebook) -> None:
    app = panel()
    app.text_area[1].set_value("see here")
    app.button[1].click().run()
    (entry,) = book.entries(SPAN)
    assert (entry.value, entry.author, entry.quote) == ("see here", "", "so the clips")
    assert "by someone" in texts(app)


def test_what_was_not_changed_in_the_form_does_not_undo_what_another_wrote(panel: Open, book: Notebook) -> None:
    book.write(FEATURE, "label", "old", "Bob", "demo")
    app = panel()
    book.write(FEATURE, "label", "newer", "Cy", "demo")
    app.text_area[0].set_value("a note")
    app.button[0].click().run()
    assert {entry.what: entry.value for entry in book.entries(FEATURE)} == {"label": "newer", "note": "a note"}
    assert "**newer**" in texts(app)
    assert app.text_input[0].value == "newer"


def test_own_notes_can_be_taken_back_and_others_not(panel: Open, book: Notebook) -> None:
    book.write(FEATURE, "note", "nameless, by another", "", "demo")
    app = panel()
    assert not [button for button in app.button if button.label.startswith("Delete")]
    app.text_area[0].set_value("nameless, mine")
    app.button[0].click().run()
    (delete,) = [button for button in app.button if button.label == "Delete"]
    delete.click().run()
    assert [entry.value for entry in book.entries(FEATURE)] == ["nameless, by another"]
    assert "nameless, mine" not in texts(app)


def test_a_note_can_be_taken_back_before_anything_is_saved_in_this_visit(panel: Open, book: Notebook) -> None:
    for value in ("first", "second"):
        book.write(FEATURE, "note", value, "Ann", "demo")

    def delete(app: AppTest, name: str) -> None:
        app.text_input[0].set_value(name)
        next(button for button in app.button if button.label == "Delete the note").click().run()
        assert not app.exception

    app = panel()
    delete(app, "Bob")
    assert "only its author, Ann" in app.toast[0].value.replace("\\", "")
    assert [entry.value for entry in book.entries(FEATURE)] == ["first", "second"]
    delete(app, "Ann")
    assert [entry.value for entry in book.entries(FEATURE)] == ["second"]
    # Who has said so once need not say it again.
    next(button for button in app.button if button.label == "Delete").click().run()
    assert book.entries(FEATURE) == ()


def test_a_note_that_cannot_be_kept_stays_in_the_form(panel: Open, book: Notebook) -> None:
    app = panel()
    app.text_area[0].set_value("precious")
    book.path.write_bytes(b"?" * 5000)
    app.button[0].click().run()
    assert "is damaged" in app.error[0].value
    assert app.text_area[0].value == "precious"
    book.path.unlink()
    app.button[0].click().run()
    assert not app.error
    assert [entry.value for entry in book.entries(FEATURE)] == ["precious"]
    assert app.text_area[0].value == ""


def test_a_pattern_that_is_none_is_not_saved_and_stays_in_the_form(panel: Open, book: Notebook) -> None:
    book.write(FEATURE, "pattern", "clips", "Ann", "demo")
    app = panel()
    app.text_input[0].set_value("a label")
    app.text_area[0].set_value("precious")
    for bad in ("/(/", "/(?<n/i", "/wait", ",,"):
        app.text_input[1].set_value(bad)
        app.button[0].click().run()
        assert "pattern" in app.error[0].value
        assert [(entry.what, entry.value) for entry in book.entries(FEATURE)] == [("pattern", "clips")]
        assert [app.text_input[0].value, app.text_input[1].value] == ["a label", bad]
        assert app.text_area[0].value == "precious"
    app.text_input[1].set_value("  ")
    app.button[0].click().run()
    assert not app.error
    assert {entry.what: entry.value for entry in book.entries(FEATURE)} == {"label": "a label", "note": "precious"}


def test_hostile_text_is_shown_as_text(panel: Open, book: Notebook, open_page: Open) -> None:
    book.write(FEATURE, "label", "<b>x</b> :red[x] $x$ ![](x.png)", "[a](javascript:alert(1))", "demo")
    for payload in PAYLOADS:
        book.write(FEATURE, "note", payload, payload, "demo")
    app = panel()
    shown = [text.value for text in app.text]
    assert shown == [entry.value for entry in book.entries(FEATURE) if entry.what == "note"]
    for element in (*app.markdown, *app.caption):
        assert not re.search(r"(?<!\\)[<\]$]", element.value.replace("**", ""))
    table = listed(open_page("notes"))
    assert "<b>x</b> :red[x] $x$ ![](x.png)" in table["text"].to_list()
    assert not any("\u202e" in text for text in table["text"])


def test_labels_are_shared_by_experiments_with_the_same_sae(cache: Path, book: Notebook) -> None:
    book.write(FEATURE, "label", "Übung", "Ann", "demo")
    book.write(FeatureSubject("demo", "", HOOKPOINTS[0], 12), "label", "elsewhere", "Ann", "demo")
    for page in (at(cache), at(cache, "twin", seed=1)):
        assert note_panel.labels(page, HOOKPOINTS[1], [11, 12, 13]) == {12: "Übung"}
        assert note_panel.labels(page, HOOKPOINTS[1], [11]) == {}
        assert note_panel.label_search(page, HOOKPOINTS[1], " üb") == [12]
        assert (
            note_panel.label_search(page, HOOKPOINTS[1], "x") == note_panel.label_search(page, HOOKPOINTS[1], " ") == []
        )
    assert note_panel.labels(at(cache, "other", sae="org/saes"), HOOKPOINTS[1], [12]) == {}


@pytest.fixture
def written(book: Notebook) -> Notebook:
    book.write(FEATURE, "label", "Hmm feature", "Ann", "demo")
    book.write(FEATURE, "rating", "4", "Ann", "demo")
    book.write(SPAN, "note", "a wrong turn", "Bob", "demo", quote=" Wait")
    book.write(InferenceSubject("gone", 1), "note", "its experiment is no more", "", "gone")
    return book


def test_the_page_lists_what_was_written_the_newest_first(open_page: Open, written: Notebook) -> None:
    app = open_page("notes")
    table = listed(app)
    assert table["about"].tolist() == [
        "inference 1", "inference 2, positions 10 to 14", f"feature 12 · Hmm feature of {HOOKPOINTS[1]}",
        f"feature 12 · Hmm feature of {HOOKPOINTS[1]}",
    ]  # fmt: skip
    assert table["text"].tolist() == ["its experiment is no more", "a wrong turn", "★★★★", "Hmm feature"]
    assert table["author"].tolist() == ["no name", "Bob", "Ann", "Ann"]
    assert [button.label for button in app.get("download_button")] == ["CSV", "JSON lines"]


def test_what_narrows_the_list_stands_in_the_link(open_page: Open, written: Notebook) -> None:
    app = open_page("notes")
    app.text_input(key="notes search").set_value("WAIT").run()
    assert app.query_params["search"] == "WAIT"
    assert listed(app)["text"].tolist() == ["a wrong turn"]
    app.text_input(key="notes search").set_value("").run()
    app.selectbox(key="notes author").set_value("Ann").run()
    assert app.query_params["author"] == "Ann"
    assert listed(app)["what"].tolist() == ["rating", "label"]
    app.selectbox(key="notes within").set_value("gone").run()
    assert "Nothing matches" in texts(app)
    again = open_page("notes", search="feature", author="Ann", within="demo")
    assert listed(again)["text"].tolist() == ["Hmm feature"]
    assert listed(open_page("notes", author="no name"))["text"].tolist() == ["its experiment is no more"]


def test_rows_lead_to_what_they_are_about(cache: Path, written: Notebook) -> None:

    page = Page(
        Source(cache, "other", ""), list_experiments(cache), sample_experiment("other", 2), (0,), at(cache).view
    )
    gone, span, _, label = written.table().to_dict("records")
    assert notes_list.target(page, gone) is None
    assert notes_list.target(page, span) == ("inference", View("demo", HOOKPOINTS[1], 2, span=(10, 14), position=10))
    assert notes_list.target(page, label) == ("feature", View("demo", HOOKPOINTS[1], feature=12))
    # Written in an experiment that is gone: one with the same SAE shows the feature.
    assert notes_list.target(page, label | {"experiment": "gone"}) == (
        "feature", View("demo", HOOKPOINTS[1], feature=12),
    )  # fmt: skip
    assert notes_list.target(page, label | {"sae_revision": "another"}) is None


def test_the_page_of_an_inference_lists_the_notes_on_its_spans(open_page: Open, written: Notebook) -> None:
    written.write(SpanSubject("demo", 2, 3, 60), "rating", "2", "", quote="a\nb")
    written.write(SpanSubject("demo", 1, 1, 2), "note", "of another inference", "Bob")
    written.write(SpanSubject("twin", 2, 1, 2), "note", "of another experiment", "Bob")
    app = open_page("inference", experiment="demo", inference="2")
    (table,) = tables(app, "quote")
    assert table.to_numpy().tolist() == [
        ["3 to 60", "a⏎b", "rating", "★★", "no name"], ["10 to 14", "Wait", "note", "a wrong turn", "Bob"],
    ]  # fmt: skip
    assert not tables(open_page("inference", experiment="demo", inference="0"), "quote")
    written.path.write_bytes(b"?" * 5000)
    app = open_page("inference", experiment="demo", inference="2")
    assert not tables(app, "quote")
    assert "is damaged" in app.warning[0].value


def test_a_page_without_notes_says_how_to_begin(open_page: Open, book: Notebook, tmp_path: Path) -> None:
    assert "Nobody has written anything yet" in texts(open_page("notes"))
    assert not book.path.exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "make run" in texts(open_page("notes", folder=empty))


def test_nonsense_in_the_link_is_told_and_the_nearest_shown(open_page: Open, written: Notebook) -> None:
    app = open_page("notes", author="Anne", within="<b>", scope="everything")
    said = [warning.value for warning in app.warning]
    assert len(said) == 3
    assert any("author" in warning and "showing Ann" in warning for warning in said)
    assert any("within" in warning and "showing all" in warning for warning in said)
    assert set(listed(app)["author"]) == {"Ann"}


def test_a_broken_file_is_one_line_and_the_rest_goes_on(
    open_page: Open, panel: Open, cache: Path, book: Notebook
) -> None:
    book.path.write_bytes(b"?" * 5000)
    app = open_page("notes")
    assert "is damaged" in app.error[0].value
    assert "is damaged" in panel().warning[0].value
    assert note_panel.labels(at(cache), HOOKPOINTS[1], [12]) == {}


@pytest.mark.parametrize("kind", ["folder", "broken link", "empty"])
def test_what_is_no_file_of_notes_is_one_line_and_the_rest_goes_on(open_page: Open, book: Notebook, kind: str) -> None:
    if kind == "folder":
        book.path.mkdir()
    elif kind == "broken link":
        book.path.symlink_to("nowhere")
    else:
        book.path.touch()
    reason = "is damaged" if kind == "empty" else "it is no file"
    assert [reason in error.value for error in open_page("notes").error] == [True]
    for page in PAGES:
        app = open_page(page, experiment="demo")
        assert not app.error and all(reason in warning.value for warning in app.warning)
    assert reason in open_page("feature", experiment="demo").warning[0].value


def test_a_file_of_labels_is_told_before_it_is_taken(open_page: Open, book: Notebook) -> None:
    label = {"hookpoint": HOOKPOINTS[1], "feature": 12, "label": "says <b>Hmm</b>", "source": "them"}
    lines = [label, label | {"feature": 64}, label | {"hookpoint": "layers.9.mlp"}]
    app = open_page("notes", experiment="demo")
    app.file_uploader[0].set_value(("labels.jsonl", "\n".join(map(json.dumps, lines)).encode(), "")).run()
    assert "New labels: 1. Here already: 0." in texts(app)
    refused = texts(app).replace("\\", "")
    assert "does not have (from 0 to 63): 64" in refused and "of what the experiment does not have" in refused
    assert book.all_labels(FEATURE) == []
    app.button(key="take labels").click().run()
    assert [label.value for label in book.all_labels(FEATURE)] == ["says <b>Hmm</b>"]
    assert "Labels taken: 1" in app.success[0].value.replace("\\", "")
    app.file_uploader[0].set_value(("labels.jsonl", json.dumps(label).encode(), "")).run()
    assert "New labels: 0. Here already: 1." in texts(app) and app.button(key="take labels").disabled
    app.file_uploader[0].set_value(("labels.gz", b"\x1f\x8bnothing", "")).run()
    assert "cannot be unpacked" in app.error[0].value and "/" not in app.error[0].value

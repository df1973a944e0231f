"""Lists of features in the app, without a browser: for matrix and transcript, read, changed, gone, carried."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from streamlit.testing.v1 import AppTest

from kthink_core.access.person import LOCAL, Person
from kthink_core.cli import main
from kthink_core.errors import NotAllowed
from kthink_core.notes import FILE, FeatureList, FeatureLists, FeatureSubject, Notebook
from kthink_core.saved import view_page
from kthink_core.store.reader import open_reader
from kthink_core.ui import list_editor
from tests.app_samples import HOOKPOINTS, SILENT, sample_experiment, write_experiment
from tests.app_visits import Open, tables, texts, transcript, visiting

HERE = {"experiment": "demo", "hookpoint": HOOKPOINTS[1]}


def of(feature: int, hookpoint: str = HOOKPOINTS[1], sae: str = "demo") -> FeatureSubject:
    return FeatureSubject(sae, "", hookpoint, feature)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 3))
    write_experiment(folder, sample_experiment("twin", 2, seed=1))
    return folder


@pytest.fixture
def lists(cache: Path) -> Iterator[FeatureLists]:
    yield FeatureLists(cache / FILE)
    for path in cache.glob(f"{FILE}*"):
        path.unlink()


@pytest.fixture
def doubt(lists: FeatureLists) -> str:
    id = lists.begin("doubt <b>", "Ann", "demo")
    lists.add(id, [of(12), of(SILENT), of(3), of(40), of(7), of(20), of(5), of(9, HOOKPOINTS[0])], "demo")
    return id


@pytest.fixture
def open_page(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


def rows_of(app: AppTest) -> list[int]:
    """The features of the matrix's rows, from above."""
    (chart,) = app.get("vega_lite_chart")
    spec = json.loads(chart.proto.spec)
    return [int(row.partition(" ")[0]) for row in spec["encoding"]["y"]["scale"]["domain"]]


def strongest(cache: Path, features: list[int], inference: int) -> list[int]:
    """Of some features, by the largest activation after the prompt."""
    with open_reader(cache, "demo") as reader:
        rows = reader.query(
            "SELECT feature, max(activation) AS most FROM latents WHERE hookpoint = $hookpoint"
            " AND inference = $inference AND segment <> 'prompt' GROUP BY feature",
            {"hookpoint": HOOKPOINTS[1], "inference": inference},
        )
    most = dict(zip(rows["feature"].tolist(), rows["most"].tolist(), strict=True))
    return sorted(features, key=lambda feature: -most.get(feature, 0.0))


def test_a_list_is_the_rows_of_the_matrix_in_its_order_silent_ones_too(open_page: Open, doubt: str) -> None:
    app = open_page("across", **HERE)
    app.selectbox(key="choose_list").set_value(doubt).run()
    link = app.query_params["list"]
    assert link == f"{doubt}~{HOOKPOINTS[1]}~12.{SILENT}.3.40.7.20.5"
    assert rows_of(app) == [12, SILENT, 3, 40, 7, 20, 5]
    (table,) = tables(app, "inferences")
    assert set(table["feature"]) <= {12, 3, 40, 7, 20, 5} and len(table) > 2
    twin = open_page("across", experiment="twin", hookpoint=HOOKPOINTS[1], list=doubt)  # the same SAEs
    assert rows_of(twin) == [12, SILENT, 3, 40, 7, 20, 5]
    assert "has no feature" not in texts(open_page("across", experiment="demo", hookpoint=HOOKPOINTS[0], list=link))


def test_a_list_that_is_gone_is_told_and_the_link_still_shows_its_features(
    cache: Path, open_page: Open, lists: FeatureLists, doubt: str
) -> None:
    lists.delete(doubt)
    for id, told in ((doubt, "was deleted on"), ("0123456789ab", "may be of another cache")):
        link = f"{id}~{HOOKPOINTS[1]}~40.12"
        app = open_page("across", **HERE, list=link)
        assert rows_of(app) == [40, 12]
        said = [warning.value for warning in app.warning]
        assert len(said) == 1 and told in said[0] and "2 of its features" in said[0]
        assert told in texts(open_page("inference", **HERE, list=link))
        assert told in texts(open_page("notes", **HERE, list=link, kept="lists"))
        alone = open_page("across", **HERE, list=id)
        assert told in alone.warning[0].value and "has no feature" in texts(alone)
        elsewhere = open_page("across", experiment="demo", hookpoint=HOOKPOINTS[0], list=link)
        assert "choose that hookpoint" in elsewhere.warning[0].value
        page = view_page("across", cache, "demo", HERE | {"list": link})
        assert "the link holds" in page
    lists.path.write_bytes(b"?" * 5000)
    app = open_page("across", **HERE, list=f"{doubt}~{HOOKPOINTS[1]}~40.12")
    assert rows_of(app) == [40, 12] and "is damaged" in app.warning[0].value


def test_the_strongest_five_of_a_list_are_shown_and_the_others_a_click_away(
    cache: Path, open_page: Open, doubt: str
) -> None:
    app = open_page("inference", **HERE, inference="1")
    app.selectbox(key="choose_list").set_value(doubt).run()
    by_strength = strongest(cache, [12, SILENT, 3, 40, 7, 20, 5], 1)
    assert transcript(app)["features"] == by_strength[:5]
    pills = next(group for group in app.get("button_group") if "Also on the list" in group.proto.label)
    assert [option.content.partition(" ")[0] for option in pills.proto.options] == list(map(str, by_strength[5:]))
    moved = open_page("inference", **dict(app.query_params) | {"feature": "1", "also": "2"})
    next(button for button in moved.button if button.label == "The 5 strongest here").click().run()
    assert transcript(moved)["features"] == by_strength[:5]


def test_the_lists_are_read_and_changed_on_their_page(open_page: Open, lists: FeatureLists, doubt: str) -> None:
    empty = lists.begin("empty", "Bob", "twin")
    app = open_page("notes", **HERE, kept="lists", list=doubt)
    (shelf,) = tables(app, "here")
    assert shelf[["name", "features", "here", "author"]].to_numpy().tolist() in (
        [["doubt <b>", 8, 7, "Ann"], ["empty", 0, 0, "Bob"]], [["empty", 0, 0, "Bob"], ["doubt <b>", 8, 7, "Ann"]],
    )  # fmt: skip
    (held,) = tables(app, "hookpoint")
    assert held["feature"].tolist() == [12, SILENT, 3, 40, 7, 20, 5, 9]
    assert held["name"].tolist()[0] and not held["name"].tolist()[1]
    app.toggle[0].set_value(True).run()
    app.text_input[0].set_value("1, 2 12")
    next(button for button in app.button if button.label == "Put on").click().run()
    assert lists.beside(doubt, of(0)) == (12, SILENT, 3, 40, 7, 20, 5, 1, 2)
    app.session_state[f"moved in {doubt}"] = [2, 3]  # as after a move: these are ticked
    app.session_state[f"times moved in {doubt}"] = 9
    app.run()
    app.button(key="move first").click().run()
    order = (3, 40, 12, SILENT, 7, 20, 5, 1, 2)
    assert lists.beside(doubt, of(0)) == order
    assert app.query_params["list"] == f"{doubt}~{HOOKPOINTS[-1]}~{'.'.join(map(str, order))}"
    assert app.query_params["kept"] == "lists"
    app.text_input[0].set_value("1, sixty")
    next(button for button in app.button if button.label == "Put on").click().run()
    assert "write numbers of features" in app.error[0].value
    app.text_input[1].set_value("empty")
    next(button for button in app.button if button.label == "Save").click().run()
    assert "a list 'empty' already" in app.error[0].value.replace("\\", "")
    app.text_input[1].set_value("doubts")
    app.text_area[0].set_value("why <i>")
    next(button for button in app.button if button.label == "Save").click().run()
    assert not app.error and "why <i>" in [text.value for text in app.text]
    found = lists.find(doubt)
    assert found is not None and (found.name, found.author) == ("doubts", "Ann")
    app.button(key="delete list").click().run()
    assert "was deleted on" in texts(app) and [one.id for one in lists.all()] == [empty]


def test_a_feature_of_another_sae_has_its_label(open_page: Open, cache: Path, lists: FeatureLists, doubt: str) -> None:
    lists.add(doubt, [of(77, sae="elsewhere"), of(78, sae="elsewhere")], "demo")
    Notebook(cache / FILE).write(of(77, sae="elsewhere"), "label", "sighs", "Eve", "demo")
    (held,) = tables(open_page("notes", **HERE, kept="lists", list=doubt), "hookpoint")
    assert held[["feature", "name", "sae"]].to_numpy().tolist()[-2:] == [
        [77, "sighs", "elsewhere"],
        [78, "", "elsewhere"],
    ]


def test_only_who_began_a_list_or_an_owner_describes_or_deletes_it() -> None:
    of_ann = FeatureList("0123456789ab", "x", "", "demo", "Ann", "", "", False, 0)
    ann, bob = (Person(name, name, "annotator", way="invitation") for name in ("Ann", "Bob"))
    for person in (ann, Person("Cy", "Cy", "owner", way="oidc"), LOCAL):
        list_editor.require_own(person, of_ann)
    for person, found in ((bob, of_ann), (ann, of_ann._replace(author="")), (bob, of_ann._replace(author="bob"))):
        with pytest.raises(NotAllowed, match="owner"):
            list_editor.require_own(person, found)


@given(
    some.integers(1, 12).flatmap(lambda length: some.tuples(some.just(length), some.sets(some.integers(0, length - 1))))
)
def test_rows_keep_their_order_beside_those_that_move(given: tuple[int, set[int]]) -> None:
    length, ticked = given
    for where in ("first", "up", "down", "last"):
        order = list_editor.reordered(length, sorted(ticked), where)
        assert sorted(order) == list(range(length))
        for kept in (ticked, set(range(length)) - ticked):
            assert [row for row in order if row in kept] == sorted(kept)
        moved = {row: order.index(row) - row for row in ticked}
        if where in ("up", "down"):
            assert set(moved.values()) <= {0, -1 if where == "up" else 1}
    assert list_editor.reordered(length, sorted(ticked), "first")[: len(ticked)] == sorted(ticked)
    assert list_editor.reordered(length, sorted(ticked), "last")[length - len(ticked) :] == sorted(ticked)


def run(cache: Path, *arguments: str | Path) -> int:
    return main(["lists", *map(str, arguments), "--cache", str(cache)])


def test_lists_travel_by_file_with_their_ids(
    cache: Path, lists: FeatureLists, doubt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists.describe(doubt, "doubt <b>", "\u202ewhy")
    lists.add(doubt, [of(5, sae="other")], "demo")
    file, there = tmp_path / "lists.jsonl", tmp_path / "there"
    assert run(cache, "export", file, "--experiment", "demo") == 0
    (line,) = map(json.loads, file.read_text("utf-8").splitlines())
    assert line["list"] == doubt and len(line["features"]) == 8
    write_experiment(there, sample_experiment("demo", 1, latents=32))  # it has fewer features
    elsewhere = FeatureLists(there / FILE)
    capsys.readouterr()
    assert run(there, "import", file, "--experiment", "demo") == 0
    said = capsys.readouterr()
    assert "1 of 1 lists taken, with 6 features" in said.out and "2 features that the experiment" in said.err
    assert elsewhere.beside(doubt, of(0)) == (12, 3, 7, 20, 5)
    elsewhere.take_off(doubt, [of(12)])
    elsewhere.describe(doubt, "renamed here", "")
    assert run(there, "import", file, "--experiment", "demo") == 0
    found = elsewhere.find(doubt)
    assert found is not None and found.name == "renamed here" and elsewhere.beside(doubt, of(0)) == (3, 7, 20, 5, 12)
    elsewhere.delete(doubt)
    assert run(there, "import", file, "--experiment", "demo") == 0
    assert elsewhere.beside(doubt, of(0)) == (12, 3, 7, 20, 5)
    capsys.readouterr()
    assert run(there, "show", "doubt <b>", "--format", "json") == 0
    assert [row["feature"] for row in json.loads(capsys.readouterr().out)] == [12, 3, 7, 20, 5, 9]
    assert run(there, "show", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)[0]["features"] == 6
    assert run(there, "show", "dout") == 2 and "did you mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    ["[]", "{}", '{"name": "x"}', '{"name": "x", "features": [{"hookpoint": "h", "feature": -1}]}', "{", '"x"',
     '{"name": "x", "list": "../x", "features": []}', '{"name": "\\ud800", "features": []}'],
)  # fmt: skip
def test_a_file_that_is_none_is_one_line(
    cache: Path, lists: FeatureLists, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: Any
) -> None:
    file = tmp_path / "lists.jsonl"
    file.write_text(line + "\n")
    assert run(cache, "import", file, "--experiment", "demo") == 2
    assert capsys.readouterr().err.count("\n") <= 2 and lists.all() == []


def test_an_export_with_notes_has_the_lists_and_an_import_takes_them(
    cache: Path, lists: FeatureLists, doubt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, there = tmp_path / "demo.duckdb", tmp_path / "there"
    assert main(["export", "--experiment", "demo", str(file), "--notes", "--cache", str(cache)]) == 0
    assert main(["import", str(file), "--cache", str(there)]) == 0
    assert FeatureLists(there / FILE).all() == [] and "1 lists are left out" in capsys.readouterr().err
    assert main(["import", str(file), "--experiment", "again", "--notes", "--cache", str(there)]) == 0
    elsewhere = FeatureLists(there / FILE)
    (one,) = elsewhere.all()
    assert (one.id, one.name, one.features) == (doubt, "doubt <b>", 8)
    assert [about.feature for about in elsewhere.features(doubt)] == [12, SILENT, 3, 40, 7, 20, 5, 9]
    beside = tmp_path / "demo.parquet"
    assert main(["export", "--experiment", "demo", str(beside), "--notes", "--cache", str(cache)]) == 0
    (line,) = (tmp_path / "demo.lists.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["list"] == doubt

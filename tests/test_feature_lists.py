"""Lists of features: kept, ordered, shared by what they are called in a link, whoever writes at the same time."""

from __future__ import annotations

import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from kthink_core.errors import BadValue, CorruptFile, TooLong, UnknownName
from kthink_core.notes import FILE, FeatureList, FeatureLists, FeatureSubject, Notebook, clean
from kthink_core.notes.lists import MOST
from kthink_core.notes.schema import MIGRATIONS
from kthink_core.ui.view.list_link import NONE, ListLink, features_list, list_text
from tests.writer_processes import run_together

HOOKPOINTS = {"layers.2.self_attn": 50, "layers.10.mlp": 70_000}


def of(feature: int, hookpoint: str = "layers.10.mlp", sae: str = "org/saes", revision: str = "abc") -> FeatureSubject:
    return FeatureSubject(sae, revision, hookpoint, feature)


@pytest.fixture
def lists(tmp_path: Path) -> FeatureLists:
    return FeatureLists(tmp_path / FILE)


def found(lists: FeatureLists, id: str) -> FeatureList:
    one = lists.find(id)
    assert one is not None
    return one


def test_looking_makes_no_file(lists: FeatureLists) -> None:
    assert lists.all() == [] and lists.find("0" * 12) is None and lists.features("0" * 12) == ()
    assert lists.counts(of(1)) == {} and lists.beside("0" * 12, of(1)) == ()
    assert not lists.path.exists()


def test_features_are_put_on_a_list_moved_and_taken_off(lists: FeatureLists) -> None:
    id = lists.begin(" Words of\tdoubt ", "Ann", "demo")
    assert lists.begin("words OF doubt", "Bob", "demo") == id  # the one that has this name
    elsewhere, other_sae = of(7, "layers.2.self_attn"), of(3, revision="def")
    assert lists.add(id, [of(9), of(3), of(9), elsewhere, other_sae], "demo") == 4
    assert lists.add(id, [of(3), of(1)], "demo") == 1
    assert lists.features(id) == (of(9), of(3), elsewhere, other_sae, of(1))
    assert lists.beside(id, of(0)) == (9, 3, 1)
    head = found(lists, id)
    assert (head.name, head.author, head.experiment, head.features, head.deleted) == (
        "Words of doubt", "Ann", "demo", 5, False,
    )  # fmt: skip
    second = lists.begin("another", experiment="demo")
    lists.add(second, [of(3)], "demo")
    assert lists.counts(of(0)) == {id: 3, second: 1} and lists.counts(of(0), [1, 3]) == {id: 2, second: 1}
    # What somebody has put on it meanwhile stays where it is, and what is gone does not come back.
    lists.reorder(id, [of(1), of(3), of(55), elsewhere, of(9)])
    assert lists.features(id) == (of(1), of(3), elsewhere, other_sae, of(9))
    assert lists.take_off(id, [of(3), of(55)]) == 1
    assert lists.beside(id, of(0)) == (1, 9)
    lists.describe(id, "Doubt", "line\r\nline")
    assert (found(lists, id).name, found(lists, id).note, found(lists, id).author) == ("Doubt", "line\nline", "Ann")
    with pytest.raises(BadValue, match="a list 'ANOTHER' already"):
        lists.describe(id, "ANOTHER", "")
    lists.delete(id)
    assert [one.id for one in lists.all()] == [second]
    assert found(lists, id).deleted and lists.features(id) == () and lists.counts(of(0)) == {second: 1}
    for change in (
        lambda: lists.add(id, [of(1)], "demo"), lambda: lists.take_off(id, [of(1)]), lambda: lists.delete(id),
        lambda: lists.reorder(id, [of(1)]), lambda: lists.describe(id, "x", ""),
    ):  # fmt: skip
        with pytest.raises(BadValue, match="no list"):
            change()


def test_files_of_an_sae_may_lie_elsewhere(lists: FeatureLists) -> None:
    here, moved = of(5, sae="/old/saes", revision="sha256:1"), of(5, sae="/new/saes", revision="sha256:1")
    id = lists.begin("by content", experiment="demo")
    assert (lists.add(id, [here], "demo"), lists.add(id, [moved], "demo")) == (1, 0)
    assert lists.beside(id, moved) == (5,) and lists.counts(moved, [5]) == {id: 1}
    assert lists.take_off(id, [moved]) == 1


def test_sizes_are_bounded(lists: FeatureLists) -> None:
    id = lists.begin("x" * 120, note="y" * 10_000)
    assert lists.add(id, [of(feature) for feature in range(MOST)]) == MOST
    assert lists.add(id, [of(3)]) == 0
    with pytest.raises(BadValue, match="at most 10,000"):
        lists.add(id, [of(MOST)])
    assert lists.beside(id, of(0)) == tuple(range(MOST))
    lists.reorder(id, [of(feature) for feature in reversed(range(MOST))])
    assert lists.beside(id, of(0)) == tuple(reversed(range(MOST)))
    assert lists.counts(of(0), range(0, 70_000, 2)) == {id: MOST // 2}
    for name, author, note in (("x" * 121, "", ""), ("x", "y" * 61, ""), ("x", "", "y" * 10_001)):
        with pytest.raises(TooLong):
            lists.begin(name, author, note=note)
    for bad in ("", " \x07\u202e", "\ud800"):
        with pytest.raises(BadValue, match="without a name"):
            lists.begin(bad)
    with pytest.raises(BadValue, match="twelve"):
        lists.begin("x", id="../demo")
    assert len(lists.all()) == 1


@settings(max_examples=30)  # each writes to the disk
@given(some.lists(some.text(max_size=150), min_size=1, max_size=4), some.text(max_size=80))
def test_any_name_comes_back_clean_once(tmp_path_factory: pytest.TempPathFactory, names: list[str], note: str) -> None:
    lists, expected = FeatureLists(tmp_path_factory.mktemp("any") / FILE), dict[str, str]()
    for name in names:
        line = " ".join(clean(name).split())
        if 0 < len(line) <= 120:
            lists.begin(name, name[:20], note=note)
            expected.setdefault(line.casefold(), line)
        else:
            with pytest.raises((BadValue, TooLong)):
                lists.begin(name)
    assert sorted(one.name for one in lists.all()) == sorted(expected.values())
    for one in lists.all():
        assert one.note == clean(note) and one.name.encode()
        assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in one.name + one.author)


def test_who_sees_one_experiment_sees_its_lists_and_changes_no_others(lists: FeatureLists) -> None:
    guest = FeatureLists(lists.path, "guest", ("demo",))
    hidden, shown = lists.begin("secret", "Ann", "other"), lists.begin("shared", "Ann", "demo")
    lists.add(hidden, [of(1)], "demo")
    lists.add(shown, [of(1)], "demo")
    lists.add(shown, [of(2)], "other")
    assert [(one.name, one.features) for one in guest.all()] == [("shared", 1)]
    assert guest.find(hidden) is None and guest.features(hidden) == () and guest.features(shown) == (of(1),)
    assert guest.counts(of(0)) == {shown: 1}
    own = guest.begin("secret", "somebody else", "demo")  # a name that is taken where nobody may know
    assert own != hidden and found(guest, own).author == "guest"
    for refused in (
        lambda: guest.add(hidden, [of(5)], "demo"), lambda: guest.delete(hidden), lambda: guest.delete(shown),
        lambda: guest.describe(hidden, "x", ""),
    ):  # fmt: skip
        with pytest.raises(BadValue):
            refused()
    for refused in (lambda: guest.begin("x", experiment="other"), lambda: guest.add(own, [of(1)], "other")):
        with pytest.raises(UnknownName):
            refused()
    assert guest.take_off(shown, [of(1), of(2)]) == 1
    assert lists.features(shown) == (of(2),)


def version_3(path: Path) -> None:
    """A file as the release before this one made it, with a label."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY)")
        for name in ("001 entries", "002 quote", "003 source"):
            connection.execute("INSERT INTO migrations VALUES (?)", (name,))
            for statement in MIGRATIONS[name]:
                connection.execute(statement)
        connection.execute(
            "INSERT INTO entries VALUES (1, 1, 'feature', 'demo', 'org/saes', 'abc', 'layers.10.mlp', 9,"
            " NULL, NULL, NULL, 'label', 'kept', 'Ann', '2026-01-02T03:04:05+00:00', '', '', NULL)"
        )


def test_an_older_file_takes_lists_and_keeps_its_labels(lists: FeatureLists) -> None:
    version_3(lists.path)
    assert lists.all() == []
    id = lists.begin("first", "Ann", "demo")
    lists.add(id, [of(9)], "demo")
    assert Notebook(lists.path).labels("org/saes", "abc", "layers.10.mlp") == {9: "kept"}
    assert lists.beside(id, of(0)) == (9,)
    lists.path.write_bytes(b"?" * 5000)
    with pytest.raises(CorruptFile):
        lists.all()


WRITER = """
import sys
from pathlib import Path
from kthink_core.notes import FeatureLists, FeatureSubject
lists, number = FeatureLists(Path(sys.argv[1])), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for step in range(20):
    id = lists.begin("ours", f"writer {number}", "demo")
    own = FeatureSubject("org/saes", "abc", "layers.10.mlp", 100 * number + step)
    assert lists.add(id, [own, FeatureSubject("org/saes", "abc", "layers.10.mlp", step)], "demo") >= 1
    lists.reorder(id, lists.features(id)[::-1])
"""


def test_several_processes_fill_one_list_and_nothing_is_lost(lists: FeatureLists) -> None:
    """They begin it together where there is no file yet."""
    run_together(WRITER, [(str(lists.path), str(number)) for number in (1, 2, 3)])
    (one,) = lists.all()
    expected = {100 * number + step for number in (0, 1, 2, 3) for step in range(20)}
    assert set(lists.beside(one.id, of(0))) == expected and one.features == len(expected)
    with closing(sqlite3.connect(lists.path)) as connection:
        places = [place for (place,) in connection.execute("SELECT place FROM list_features")]
    assert len(set(places)) == len(places)


def links() -> some.SearchStrategy[ListLink]:
    ids = some.from_regex(r"([a-z0-9]{12})?", fullmatch=True)
    features = some.lists(some.integers(0, 49), unique=True, min_size=1, max_size=50).map(tuple)
    held = some.builds(ListLink, ids, some.sampled_from(list(HOOKPOINTS)), features)
    return held | ids.map(ListLink)


@given(links())
def test_a_list_survives_the_link(link: ListLink) -> None:
    problems: list[str] = []
    given = {"list": list_text(link)} if link != NONE else {}
    assert features_list(given, HOOKPOINTS, problems) == link and not problems


@given(some.text(max_size=60) | some.lists(some.text("0aé٣.~_-\ud800", max_size=8)).map("~".join))
def test_junk_gives_a_list_that_a_link_can_hold_and_is_told(junk: str) -> None:
    problems: list[str] = []
    link = features_list({"list": junk}, HOOKPOINTS, problems)
    again = {"list": list_text(link)} if link != NONE else {}
    assert features_list(again, HOOKPOINTS, []) == link
    assert problems or list_text(link) == junk
    assert all(problem.encode() and len(problem) < 250 for problem in problems)


def test_a_link_holds_a_hundred_features_at_most() -> None:
    many = ".".join(map(str, range(10_000, 10_120)))
    problems: list[str] = []
    link = features_list({"list": f"~layers.10.mlp~{many}"}, HOOKPOINTS, problems)
    assert link.features == tuple(range(10_000, 10_100)) and len(problems) == 1
    assert features_list({"list": "0123456789ab~layers.9.mlp~1.2"}, HOOKPOINTS, problems) == ListLink("0123456789ab")

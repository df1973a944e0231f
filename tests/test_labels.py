"""Files of labels: every form taken in, all sources beside each other, what is no label counted, named, not kept."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from kthink_core.cli import main
from kthink_core.errors import BadFile, BadValue, UnknownName
from kthink_core.notes import FILE, Label, Notebook, of_feature
from kthink_core.notes.text import LONGEST, shortened
from kthink_core.travel import label_files
from kthink_core.travel.delphi_folder import read_delphi
from kthink_core.travel.label_files import FoundLabel, Unread, read_labels, score_of
from kthink_core.travel.label_import import label_lines, take_labels
from tests.app_samples import HOOKPOINTS, LATENTS, sample_experiment, write_experiment

EXPERIMENT = sample_experiment("demo", 2)
HERE, THERE = HOOKPOINTS[1], HOOKPOINTS[0]
HTML = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    write_experiment(folder, EXPERIMENT)
    return folder


@pytest.fixture
def book(stored: Path) -> Iterable[Notebook]:
    yield Notebook(stored / FILE)
    (stored / FILE).unlink(missing_ok=True)


def standing(book: Notebook, feature: int, hookpoint: str = HERE) -> list[tuple[str, str, float | None]]:
    found = book.all_labels(of_feature(EXPERIMENT, hookpoint, 0), [feature])
    return [(label.value, label.source, label.score) for label in found]


def of_neuronpedia(index: object, description: object, model: str = "gpt-4o-mini", **more: object) -> dict[str, object]:
    """As a line of Neuronpedia's exports."""
    return {
        "id": f"id-{index}", "modelId": "r1", "layer": "4-mlp-16k", "index": index, "authorId": "a",
        "description": description, "typeName": "oai_token-act-pair", "explanationModelName": model, "scoreV1": 0,
        "umap_x": 1.5, "notes": None, **more,
    }  # fmt: skip


def lines(*rows: object) -> bytes:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode()


def run_of_delphi(folder: Path) -> Path:
    """As delphi leaves it: one feature that two scorers were asked about, one without scores."""
    for name in ("explanations", "scores/detection", "scores/fuzz"):
        (folder / name).mkdir(parents=True)
    (folder / "run_config.json").write_text(json.dumps({"explainer_model": "meta/llama-70b", "hookpoints": [HERE]}))
    (folder / "explanations" / f"{HERE}_latent5.txt").write_text(json.dumps("Words of doubt."))
    (folder / "explanations" / f".model.{THERE}_latent6.txt").write_text(json.dumps("Numbers."))

    def shown(*pairs: tuple[bool, object]) -> str:
        return json.dumps([{"str_tokens": ["a"], "activating": yes, "prediction": said} for yes, said in pairs])

    # Balanced: 3 of 4 and 1 of 2 are told right; then 1 of 1 and 1 of 1; one example had no answer.
    detection = [(True, True)] * 3 + [(True, False), (False, True), (False, False), (True, None)]
    (folder / "scores/detection" / f"{HERE}_latent5.txt").write_text(shown(*detection))
    (folder / "scores/fuzz" / f"{HERE}_latent5.txt").write_text(shown((True, 0.9), (False, 0.1)))
    return folder


def taken(stored: Path, path: Path, *options: str) -> int:
    return main(["labels", "import", str(path), "--experiment", "demo", "--cache", str(stored), *options])


def test_labels_of_every_form_stay_beside_each_other(
    stored: Path, book: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book.write(of_feature(EXPERIMENT, HERE, 5), "label", "doubt", "Ada", "demo")
    packed, listed, own = tmp_path / "batch-0.jsonl.gz", tmp_path / "export.json", tmp_path / "own.jsonl"
    scored = [{"value": 0.9, "explanationScoreTypeName": "eleuther_fuzz"}, {"value": 0.7}]
    packed.write_bytes(gzip.compress(lines(of_neuronpedia("5", "hesitation"), of_neuronpedia(7, HTML, scores=scored))))
    listed.write_text(json.dumps([of_neuronpedia("5", "words like wait", "claude", scores=scored)], indent=1))
    own.write_bytes(
        lines(
            {"hookpoint": HERE, "feature": 5, "label": "wait", "source": "our lab", "score": 0.95},
            {"hookpoint": THERE, "feature": 5, "label": "elsewhere", "author": "Ben"},
            {"hookpoint": THERE, "feature": 8, "label": "of the file"},
        )
    )
    assert taken(stored, packed, "--hookpoint", HERE) == 0
    assert taken(stored, listed, "--hookpoint", f"4-mlp-16k={HERE}", "--author", "Eve") == 0
    assert taken(stored, own) == 0
    assert taken(stored, run_of_delphi(tmp_path / "run")) == 0
    assert "2 labels taken; sources: delphi meta/llama-70b\n" in capsys.readouterr().out
    assert standing(book, 5) == [
        ("doubt", "", None),  # what people wrote here comes first, whatever others score
        ("wait", "our lab", 0.95),
        ("Words of doubt.", "delphi meta/llama-70b", pytest.approx((0.625 + 1) / 2)),
        ("words like wait", "neuronpedia claude oai_token-act-pair", pytest.approx(0.8)),
        ("hesitation", "neuronpedia gpt-4o-mini oai_token-act-pair", None),
    ]  # fmt: skip
    assert standing(book, 7) == [(HTML, "neuronpedia gpt-4o-mini oai_token-act-pair", pytest.approx(0.8))]
    assert standing(book, 5, THERE) == [("elsewhere", "Ben", None)]
    assert standing(book, 6, THERE)[0][0] == "Numbers."
    assert standing(book, 8, THERE) == [("of the file", "own.jsonl", None)]
    assert book.labels("demo", "", HERE) == {5: "doubt", 7: HTML}
    authors = {label.source: label.author for label in book.all_labels(of_feature(EXPERIMENT, HERE, 0), [5])}
    assert (authors[""], authors["neuronpedia claude oai_token-act-pair"], authors["our lab"]) == ("Ada", "Eve", "")
    assert book.table(imported=False)["value"].tolist() == ["doubt"] and len(book.table()) == 9

    book.write(of_feature(EXPERIMENT, HERE, 5), "label", "", "Ada", "demo")  # taken back: the others stay
    assert book.labels("demo", "", HERE, [5]) == {5: "wait"}
    book.write(of_feature(EXPERIMENT, HERE, 5), "label", "doubt", "Ada", "demo")
    out = tmp_path / "out.jsonl"
    assert main(["labels", "export", str(out), "--experiment", "demo", "--cache", str(stored)]) == 0
    before = [label._replace(updated="") for label in all_labels(book)]
    capsys.readouterr()
    assert taken(stored, out) == 0
    assert "0 labels taken, 9 stood here already" in capsys.readouterr().out
    (stored / FILE).unlink()
    assert taken(stored, out) == 0
    after = [label._replace(updated="") for label in all_labels(book)]
    assert [label._replace(source="Ada") if not label.source else label for label in before] == sorted(
        after, key=lambda label: (label.hookpoint != THERE, label.feature, label.source != "Ada", label.score is None,
                                  -(label.score or 0), label.source)
    )  # fmt: skip


def all_labels(book: Notebook) -> list[Label]:
    return [label for place in HOOKPOINTS for label in book.all_labels(of_feature(EXPERIMENT, place, 0))]


def test_a_source_taken_in_again_replaces_its_own_labels_only(book: Notebook) -> None:
    def take(*labels: FoundLabel) -> tuple[int, int, tuple[str, ...]]:
        found = take_labels(book, EXPERIMENT, labels, {}, "file", "Eve")
        return found.labels, found.stood, found.remarks

    one, other = (FoundLabel(HERE, 3, "old", source, 0.5, "") for source in ("s", "t"))
    assert take(one, other) == (2, 0, ())
    assert take(one._replace(text="new"), other) == (1, 1, ())
    assert standing(book, 3) == [("new", "s", 0.5), ("old", "t", 0.5)]
    assert take(one._replace(text="worse", score=None), one._replace(text="better", score=0.9)) == (
        1, 0, ("1 label is of a feature that has another of the same source: 3",),
    )  # fmt: skip
    assert standing(book, 3)[0] == ("better", "s", 0.9)


def test_what_does_not_exist_is_counted_and_named_and_nothing_of_it_is_kept(
    stored: Path, book: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "labels.jsonl"
    own: list[dict[str, Any]] = [{"hookpoint": HERE, "feature": 1, "label": f"fine {HTML}", "score": float("nan")}]
    own += [{"hookpoint": HERE, "feature": feature, "label": "x"} for feature in (LATENTS, -1, 10**12)]
    own += [{"hookpoint": "layers.99.mlp", "feature": 1, "label": "x"}] * 2
    own += [
        {"hookpoint": HERE, "feature": 2, "label": " \u202e\x00 "},
        {"hookpoint": HERE, "feature": 10**30, "label": "x"},
    ]
    own += [{"hookpoint": HERE, "feature": 3, "label": "y" * 2000, "score": 10**400, "source": "s" * 900}]
    own += [{"hookpoint": HERE, "feature": True, "label": ["x"]}, {"feature": None}, {"else": 1}]
    path.write_bytes(lines(*own, "no json {", "[" * 500, "7", "", '{"feature": ' + "9" * 6000 + "}") + b"\xff\xfe\n")
    assert taken(stored, path) == 0
    told = capsys.readouterr()
    assert f"3 labels are of features that {HERE} does not have (from 0 to 63): 64, -1, 1000000000000" in told.err
    assert f"2 labels are of what the experiment does not have ({THERE}, {HERE}; " in told.err
    assert ": layers.99.mlp\n" in told.err and "1 label is empty: 2\n" in told.err
    assert "9 labels are no labels at all: line 8 (" in told.err and ", …\n" in told.err
    assert "1 labels are cut at 500 characters" in told.err and told.err.count("\n") == 5
    assert {label.feature for label in all_labels(book)} == {1, 3}
    assert standing(book, 1) == [(f"fine {HTML}", "labels.jsonl", None)]
    ((text, source, score),) = standing(book, 3)
    assert (len(text), len(source), score) == (LONGEST["imported"], LONGEST["source"], None)

    path.write_bytes(lines({"hookpoint": "layers.99.mlp\x1b]0;pwn\x07", "feature": 1, "label": "x"}))
    assert taken(stored, path) == 2, "nothing of it can be taken"
    said = capsys.readouterr().err
    assert "layers.99.mlp\\u001b]0;pwn\\u0007\n" in said, "a terminal obeys nothing of a file"
    assert said.splitlines()[-1].endswith("is a label of a feature of experiment 'demo'")


def test_an_sae_is_taken_for_a_hookpoint_only_where_somebody_says_so(
    stored: Path, book: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "np.jsonl"
    path.write_bytes(lines(of_neuronpedia(1, "a"), of_neuronpedia(1, "b") | {"layer": "9-mlp-16k"}))
    assert taken(stored, path) == 2 and "4-mlp-16k, 9-mlp-16k" in capsys.readouterr().err
    assert taken(stored, path, "--hookpoint", HERE) == 2
    assert "the labels are of '4-mlp-16k' and '9-mlp-16k': say of each" in capsys.readouterr().err
    assert taken(stored, path, "--hookpoint", "4-mlp-16k=layers.7") == 2 and all_labels(book) == []
    assert taken(stored, path, "--hookpoint", f"4-mlp-16k={HERE}", "--hookpoint", f"9-mlp-16k={THERE}") == 0
    assert [label.value for label in all_labels(book)] == ["b", "a"]


def test_files_that_are_none_are_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(lines(of_neuronpedia(1, "a")) * 50)[:-20])
    with pytest.raises(BadFile, match="cannot be unpacked"):
        list(read_labels(path))
    monkeypatch.setattr(label_files, "MOST_BYTES", 10_000_000)
    path.write_bytes(gzip.compress((b" " * 3_000_000 + b"\n") * 4))  # a few KB that unpack to more than is read
    with pytest.raises(BadFile, match="longer than 10,000,000 bytes"):
        list(read_labels(path))
    path.write_bytes(b"x" * 5_000_000)
    with pytest.raises(BadFile, match="line 1 is longer"):
        list(read_labels(path))
    path.write_bytes(b'[{"index": 1, "description": "a"')
    with pytest.raises(BadFile, match="no JSON"):
        list(read_labels(path))
    path.write_bytes(lines([of_neuronpedia(1, "a"), 5, None, {"index": 1, "explanations": [{"description": "c"}]}]))
    first, *strange, nested = read_labels(path)
    assert isinstance(first, FoundLabel) and all(isinstance(each, Unread) for each in strange)
    assert isinstance(nested, FoundLabel) and nested.text == "c"
    monkeypatch.setattr(label_files, "MOST_LABELS", 1)
    with pytest.raises(BadFile, match="more than 1 labels"):
        list(read_labels(path))
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BadFile):
            list(read_labels(folder))


def test_a_strange_run_of_delphi_is_told_file_by_file(tmp_path: Path) -> None:
    run = run_of_delphi(tmp_path / "run")
    secret = tmp_path / "secret"
    secret.write_text(json.dumps("not to be read"))
    (run / "explanations" / f"{HERE}_latent9.txt").symlink_to(secret)
    (run / "explanations" / "strange.txt").write_text("{}")
    (run / "explanations" / f"{HERE}_latent10.txt").write_text('["no text"]')
    (run / "explanations" / f"{HERE}_latent11.txt").write_text("no json")
    (run / "scores/fuzz" / f"{HERE}_latent5.txt").write_text('[{"activating": "?", "prediction": NaN}, 3]')
    found = list(read_delphi(run / "explanations"))
    labels = [each for each in found if isinstance(each, FoundLabel)]
    assert [(label.feature, label.score) for label in labels] == [(6, None), (5, 0.625)]
    assert {each.where for each in found if isinstance(each, Unread)} == {
        "strange.txt", f"{HERE}_latent10.txt", f"{HERE}_latent11.txt",
    }  # fmt: skip
    with pytest.raises(BadFile, match="no folder `explanations`"):
        list(read_delphi(tmp_path))


def test_whoever_is_limited_to_an_experiment_has_its_labels_only(book: Notebook) -> None:
    label = FoundLabel(HERE, 3, "of all", "s", 0.5, "")
    take_labels(book, EXPERIMENT, [label], {}, "file")
    limited = Notebook(book.path, "Guest", ("other",))
    assert limited.labels("demo", "", HERE) == {} and list(label_lines(limited, EXPERIMENT, HOOKPOINTS)) == []
    with pytest.raises(UnknownName):
        take_labels(limited, EXPERIMENT, [label], {}, "file")
    other = sample_experiment("other", 2)
    with pytest.raises(BadValue, match="that you do not see"):
        take_labels(limited, other, [label._replace(text="mine")], {}, "file")
    taken = take_labels(limited, other, [label._replace(text="mine", source="t")], {}, "file", "Somebody")
    assert taken.labels == 1 and standing(book, 3) == [("of all", "s", 0.5), ("mine", "t", 0.5)]
    assert limited.labels("demo", "", HERE) == {3: "mine"}
    assert limited.all_labels(of_feature(other, HERE, 0))[0].author == "Guest", "signed by who is signed in"


def test_features_are_found_by_label_and_by_token(
    stored: Path, book: Notebook, capsys: pytest.CaptureFixture[str]
) -> None:
    book.write(of_feature(EXPERIMENT, HERE, 63), "label", "WAIT for it", "Ada", "demo")  # it never fires
    take_labels(book, EXPERIMENT, [FoundLabel(HERE, 62, "to wait", "s", 0.25, "")], {}, "file")
    asked = ["labels", "find", "wait", "--experiment", "demo", "--hookpoint", HERE, "--cache", str(stored)]
    assert main([*asked, "--format", "json"]) == 0
    first, second, *others = json.loads(capsys.readouterr().out)
    assert (first["feature"], first["label"], first["source"]) == (62, "to wait", "s") and first["score"] == 0.25
    assert (second["feature"], second["source"], second["top_tokens"]) == (63, "people", "[]")
    assert others and all(" Wait" in json.loads(row["top_tokens"]) for row in others)
    assert main([*asked, "--top", "1"]) == 0 and "WAIT" not in capsys.readouterr().out


@settings(max_examples=20)
@given(
    some.dictionaries(
        some.tuples(some.sampled_from(HOOKPOINTS), some.integers(0, LATENTS - 1), some.sampled_from(["", "s", "<b>"])),
        some.tuples(some.text(max_size=600), some.none() | some.floats(allow_nan=False, allow_infinity=False)),
        max_size=12,
    )
)
def test_what_is_exported_reads_back(tmp_path_factory: pytest.TempPathFactory, labels: dict[Any, Any]) -> None:
    folder = tmp_path_factory.mktemp("both")
    one, other = Notebook(folder / "one"), Notebook(folder / "other")
    found = [
        FoundLabel(place, feature, *about[:1], source, about[1], "")
        for (place, feature, source), about in labels.items()
    ]
    take_labels(one, EXPERIMENT, found, {}, "unnamed")
    expected = {
        (place, feature, source or "unnamed"): (shortened("imported", text), score)
        for (place, feature, source), (text, score) in labels.items()
        if shortened("imported", text)
    }
    path = folder / "out.jsonl"
    path.write_text("".join(label_lines(one, EXPERIMENT, HOOKPOINTS)), "utf-8")
    take_labels(other, EXPERIMENT, read_labels(path), {}, "another")
    for book in (one, other):
        kept = {(each.hookpoint, each.feature, each.source): (each.value, each.score) for each in all_labels(book)}
        assert kept == expected


def test_a_score_is_the_mean_of_what_is_finite() -> None:
    assert score_of([0.5, None, float("inf"), float("nan"), 1.0]) == 0.75 and score_of([None]) is None

"""A view saved as one HTML file: what lies in it, against the queries; that nothing in it can run or reach out."""

from __future__ import annotations

import json
import shlex
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kthink_core import queries
from kthink_core.cli import main
from kthink_core.errors import BadValue, UnknownName
from kthink_core.notes import FILE, FeatureLists, FeatureSubject, InferenceSubject, Notebook, SpanSubject
from kthink_core.prompts import Segment
from kthink_core.records import Alternatives, Encoding
from kthink_core.saved import save_view, view_page
from kthink_core.saved.address import Kind, read_link
from kthink_core.saved.html_page import html
from kthink_core.saved.part import records
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer
from kthink_core.ui.parts.writing import visible
from tests.app_samples import (
    HOOKPOINTS,
    PAYLOADS,
    SILENT,
    WORDS,
    sample_experiment,
    sample_inference,
    write_experiment,
)

SCRIPT = "</script><script>document.title='owned'</script>"
NEVER = pytest.fail


class Read(HTMLParser):
    """The elements of a page, with their attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.is_within = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        self.is_within = True

    def handle_endtag(self, tag: str) -> None:
        self.is_within = False

    def handle_data(self, data: str) -> None:
        if self.is_within:
            self.elements[-1][2].append(data)

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, "".join(texts)) for name, attributes, texts in self.elements if name == tag]

    @property
    def sheet(self) -> dict[str, Any]:
        return next(json.loads(text) for attributes, text in self.of("script") if attributes.get("id") == "sheet")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 6))
    write_experiment(folder, sample_experiment("other", 6, site="residual"))
    label = FeatureSubject("demo", "", HOOKPOINTS[1], 12)
    Notebook(folder / FILE).write(label, "label", SCRIPT, author="Ada", experiment="demo")
    return folder


def saved(cache: Path, link: str) -> Read:
    kind, parameters = read_link(link)
    return Read(view_page(kind, cache, "demo", parameters, warn=NEVER))


def parts(sheet: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    def every(some: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for part in some:
            yield part
            yield from every(part.get("parts", []))
            for side in part.get("sides", []):
                yield from every(side)

    return [part for part in every(sheet["parts"]) if part["kind"] == kind]


def table(sheet: dict[str, Any], name: str) -> pd.DataFrame:
    [part] = [part for part in parts(sheet, "table") if part["name"] == name]
    return pd.DataFrame(part["rows"], columns=part["columns"])


def unpacked(packed: dict[str, str]) -> list[float]:
    return np.frombuffer(b64decode(packed["base64"]), np.dtype(packed["dtype"]).newbyteorder("<")).tolist()


LINKS = (
    "inference?experiment=demo&inference=0&also=7&span=12.20",
    "feature?experiment=demo&feature=12",
    f"feature?experiment=demo&feature={SILENT}",
    "across?experiment=demo",
    "compare?experiment=demo&inference=0",
    "compare?experiment=demo&inference=0&against=3",
    "compare?experiment=demo&inference=0&span=9.20&pair=spans.21.40",
    "compare?experiment=demo&inference=0&other=other&pair=inferences.1",
    "compare?experiment=demo&other=other",
    "compare?experiment=demo&other=other&facet=features",
    "compare?experiment=demo&other=other&facet=quality",
    "compare?experiment=demo&other=other&facet=tokens&inference=0",
)


@pytest.fixture(scope="module", params=LINKS)
def page(cache: Path, request: pytest.FixtureRequest) -> Read:
    return saved(cache, request.param)


def test_nothing_runs_or_reaches_out_but_the_page_s_own_scripts(page: Read) -> None:
    assert {name for name, *_ in page.elements} <= {
        "html", "head", "meta", "title", "style", "body", "noscript", "main", "div", "script",
    }  # fmt: skip
    assert not [key for _, attributes, _ in page.elements for key in attributes if key in ("src", "href", "style")]
    assert not [key for _, attributes, _ in page.elements for key in attributes if key.startswith("on")]
    [policy] = [meta["content"] or "" for meta, _ in page.of("meta") if meta.get("http-equiv")]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        running = [text for attributes, text in page.of(tag) if attributes.get("type") != "application/json"]
        hashes = [f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in running]
        assert running and rules.pop(rule).split() == hashes
    assert not rules
    assert "http:" not in str(page.elements) and "https:" not in str(page.elements)


def test_it_says_where_it_is_from_and_what_makes_it_again(cache: Path, page: Read, tmp_path: Path) -> None:
    sheet = page.sheet
    facts = sheet["facts"][0]
    assert facts["experiment"] == facts["model"] == facts["sae"] == "demo" and facts["inferences"] == "6 of 6"
    assert facts["site"] == "hookpoint" and facts["temperature"] == "0.6" and facts["made.kthink"] == "0.1.0"
    *python, command, again, _ = shlex.split(sheet["again"])
    assert python == ["python", "-m", "kthink_core"] and command == "save-view"
    target = tmp_path / "again.html"
    assert main([command, again, str(target), "--cache", str(cache)]) == 0
    other = Read(target.read_text("utf-8")).sheet
    assert other["parts"] == sheet["parts"] and other["view"] == sheet["view"]


def test_the_transcript_holds_every_token_and_firing(cache: Path) -> None:
    sheet = saved(cache, LINKS[0]).sheet
    data = parts(sheet, "transcript")[0]["data"]
    with open_reader(cache, "demo") as reader:
        tokens = queries.transcript(reader, 0)
        tracks = queries.feature_tracks(reader, 0, HOOKPOINTS[1], tuple(data["tracks"]["features"]))
        hover = queries.token_features(reader, 0, HOOKPOINTS[1])
        stands = queries.span_features(reader, 0, HOOKPOINTS[1], 12, 20)
    assert data["texts"] == tokens["text"].tolist() and data["span"] == [12, 20] and data["last"] == 63
    assert set(PAYLOADS) <= set(data["texts"])
    tracks = tracks.sort_values(["feature", "position"])
    assert unpacked(data["tracks"]["positions"]) == tracks["position"].tolist()
    assert unpacked(data["tracks"]["activations"]) == tracks["activation"].tolist()
    assert len(unpacked(data["hover"]["features"])) == len(hover)
    assert [row["feature"] for row in data["standing"]["rows"]] == stands["feature"].tolist()
    found = table(sheet, "transcript of inference 0")
    own = tracks.loc[tracks["feature"] == 7].set_index("position")["activation"]
    given_back = found.set_index("position")["activation 7"].dropna().astype(np.float32)
    assert given_back.to_dict() == pytest.approx(own.to_dict())
    assert 7 in data["features"] and data["labels"]["12"] == SCRIPT


def test_a_feature_has_its_tables_whole(cache: Path) -> None:
    sheet = saved(cache, LINKS[1]).sheet
    with open_reader(cache, "demo") as reader:
        tokens = queries.top_tokens(reader, HOOKPOINTS[1], 12)
        where = queries.feature_inferences(reader, HOOKPOINTS[1], 12)
        bins = queries.feature_histogram(reader, HOOKPOINTS[1], 12)
        places = queries.contexts(reader, HOOKPOINTS[1], 12)
    found = table(sheet, "top tokens of feature 12: over all inferences")
    assert found["text"].tolist() == tokens["text"].tolist() and found["count"].tolist() == tokens["count"].tolist()
    assert table(sheet, "feature 12 by inference")["inference"].tolist() == where["inference"].tolist()
    assert [row[2] for row in parts(sheet, "histogram")[0]["rows"]] == bins["count"].tolist()
    groups = parts(sheet, "snippets")[0]["data"]["groups"]
    assert sum(len(group["snippets"]) for group in groups) == len(places)
    contexts = table(sheet, "contexts of feature 12")
    assert contexts["place"].nunique() == len(places)
    assert np.float32(contexts["activation"].max()) == places["activation"].max()
    assert sheet["label"] == SCRIPT
    assert "Think or word?" in [group["title"] for group in parts(sheet, "group")]


def test_a_matrix_has_the_rows_of_the_list_of_the_link(cache: Path) -> None:
    lists = FeatureLists(cache / FILE)
    id = lists.begin("doubt", "Ann", "demo")
    lists.add(id, [FeatureSubject("demo", "", HOOKPOINTS[1], feature) for feature in (40, SILENT, 12)], "demo")
    for link in (f"{id}", f"~{HOOKPOINTS[1]}~40.{SILENT}.12"):
        [part] = parts(saved(cache, f"across?experiment=demo&list={link}").sheet, "matrix")
        assert [feature["feature"] for feature in part["features"]] == [40, SILENT, 12]
        assert {row[0] for row in part["rows"]} <= {40, 12}
    lists.delete(id)


def test_a_matrix_has_the_cells_of_the_inferences_that_the_view_keeps(cache: Path) -> None:
    [part] = parts(saved(cache, "across?experiment=demo&outcome=right").sheet, "matrix")
    with open_reader(cache, "demo") as reader:
        stored = queries.inferences(reader)
        features = tuple(feature["feature"] for feature in part["features"])
        cells = queries.feature_matrix(reader, HOOKPOINTS[1], "generated", features)
        listed = queries.feature_table(reader, HOOKPOINTS[1], top=30)["feature"].tolist()
    right = stored.loc[stored["verdict"] == "right", "inference"].tolist()
    assert part["inferences"] == right and list(features) == listed
    kept = cells.loc[cells["inference"].isin(right)]
    assert [row[:2] for row in part["rows"]] == kept[["feature", "inference"]].to_numpy().tolist()


def test_two_traces_are_shaded_by_one_maximum_or_each_by_its_own(cache: Path) -> None:
    both = parts(saved(cache, LINKS[5]).sheet, "transcript")
    assert both[0]["data"]["shared"] == both[1]["data"]["shared"] != {}
    assert both[0]["data"]["texts"] != both[1]["data"]["texts"] and both[0]["data"]["features"]
    apart = parts(saved(cache, f"{LINKS[5]}&scale=own").sheet, "transcript")
    assert apart[0]["data"]["shared"] == apart[1]["data"]["shared"] == {}


def test_the_like_of_a_feature_has_its_name(cache: Path) -> None:
    page = saved(cache, "compare?experiment=demo&other=other&facet=tokens&inference=0")
    likes = table(page.sheet, "features in demo and other")
    named = likes.dropna(subset=["feature_other"])
    with open_reader(cache, "other") as reader:
        tokens = queries.top_tokens_of(reader, HOOKPOINTS[1], tuple(named["feature_other"].astype(int)), "generated")
    first = {int(one): own["text"].iloc[0].strip(" ") for one, own in tokens.groupby("feature")}
    pairs = list(zip(named["feature_other"].astype(int), named["called_other"], strict=True))
    assert [pair for pair in pairs if visible(first[pair[0]]) not in pair[1]] == [(12, SCRIPT)]  # its label


def test_what_a_reader_must_know_first_is_said(cache: Path) -> None:
    assert saved(cache, "feature?experiment=demo&feature=3").sheet["warnings"] == []
    [site] = saved(cache, "feature?experiment=other&feature=3").sheet["warnings"]
    assert site.startswith("Capture site residual of other")


def test_what_it_was_made_of_is_named_to_whoever_sees_that(tmp_path: Path) -> None:
    write_experiment(tmp_path, sample_experiment("demo", 2, traces="experiment:zebra", problems="experiment:zebra"))
    for seen, named in ((None, True), (("demo", "zebra"), True), (("demo",), False)):
        page = view_page("inference", tmp_path, "demo", {"inference": "1"}, seen)
        assert ("zebra" in page) is named and ("another experiment" in page) is not named


def test_an_sae_no_better_than_the_mean_is_warned_of(tmp_path: Path) -> None:
    experiment = sample_experiment("demo", 1)
    one = sample_inference(experiment, 0)
    encoding = one.encodings[HOOKPOINTS[1]]
    poor = encoding._replace(squared_error=4 * encoding.squared_norm)
    with open_writer(tmp_path, experiment) as writer:
        writer.append(replace(one, encodings=dict(one.encodings) | {HOOKPOINTS[1]: poor}))
        writer.build()
    with open_reader(tmp_path, "demo") as reader:
        fvu = queries.quality(reader).set_index("hookpoint").loc[HOOKPOINTS[1], "fvu"]
    for link in ("inference?experiment=demo", "feature?experiment=demo&feature=3", "across?experiment=demo"):
        [warning] = saved(tmp_path, link).sheet["warnings"]
        assert warning.startswith(f"FVU {fvu:.2f} at {HOOKPOINTS[1]} of demo") and fvu >= 1
        assert saved(tmp_path, f"{link}&hookpoint={HOOKPOINTS[0]}").sheet["warnings"] == []


@pytest.mark.parametrize(
    "link",
    ["http://h:8501/feature?feature=1", "https://lab/kthink/feature/?feature=1#x", "/feature?feature=1",
     "feature?feature=1"],
)  # fmt: skip
def test_a_link_is_read_wherever_the_app_is_served(link: str) -> None:
    assert read_link(link) == ("feature", {"feature": "1"})


@pytest.mark.parametrize("link", ["", "http://h:8501/", "notes", "x?experiment=demo", "http://[", "across/x"])
def test_a_link_to_no_such_page_is_refused(link: str) -> None:
    with pytest.raises(BadValue):
        read_link(link)


@given(st.text(max_size=200))
def test_any_text_is_a_link_or_refused(link: str) -> None:
    try:
        kind, _ = read_link(link)
    except BadValue:
        return
    assert kind in link


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("notes?experiment=demo", "a.html"), "does not lead to one of the pages"),
        (("feature?experiment=demo", "a.txt"), "does not end in .html"),
        (("feature?experiment=demo", "none/a.html"), "there is no folder"),
        (("feature?experiment=nothing", "a.html"), "unknown experiment 'nothing'"),
        (("feature?experiment=../demo", "a.html"), "unknown experiment '../demo'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], said: str
) -> None:
    link, target = arguments
    assert main(["save-view", link, str(tmp_path / target), "--cache", str(cache)]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_what_a_link_has_wrong_is_told_and_the_nearest_saved(cache: Path, tmp_path: Path) -> None:
    told: list[str] = []
    target = save_view(cache, "demo", "inference?inference=99", tmp_path / "a.html", told.append)
    assert len(told) == 1 and "showing 5" in told[0]
    assert Read(target.read_text("utf-8")).sheet["view"]["inference"] == "5"


def test_only_what_a_visitor_may_open_is_opened(cache: Path) -> None:
    with pytest.raises(UnknownName):
        view_page("feature", cache, "demo", {"experiment": "other"}, ("demo",))
    sheet = Read(view_page("compare", cache, "demo", {"experiment": "demo", "other": "other"}, ("demo",))).sheet
    assert "other" not in sheet["view"] and len(sheet["facts"]) == 1
    seen = {"experiment": "demo", "feature": "12"}
    assert Read(view_page("feature", cache, "demo", seen, ("demo",))).sheet["label"] == SCRIPT
    seen = {"experiment": "other", "feature": "12"}
    assert Read(view_page("feature", cache, "other", seen, ("other",))).sheet["label"] not in ("", SCRIPT), (
        "its top tokens"
    )


def test_notes_are_there_for_whom_they_are(cache: Path) -> None:
    """Those of what the page shows; of a limited visitor those of the own experiments."""
    book = Notebook(cache / FILE)
    about = FeatureSubject("demo", "", HOOKPOINTS[1], 12)
    book.write(about, "note", f"{SCRIPT}\nand more", "Ada", "demo")
    book.write(about, "rating", "4", "Ada", "demo")
    book.write(about, "note", "elsewhere", "Eve", "other")
    book.write(InferenceSubject("demo", 1), "note", "as a whole", "Ada", "demo")
    book.write(SpanSubject("demo", 1, 3, 5), "note", "a span", "Ada", "demo", "=quoted")
    book.write(InferenceSubject("demo", 2), "note", "another's", "Ada", "demo")

    def told(kind: Kind, parameters: dict[str, str], visible: tuple[str, ...] | None) -> list[list[object]]:
        parts = Read(view_page(kind, cache, "demo", parameters, visible)).sheet["parts"]
        return [row[:4] for part in parts if part.get("title") == "Labels and notes" for row in part["rows"]]

    own = [
        ["feature 12", "label", SCRIPT, "Ada"],
        ["feature 12", "note", f"{SCRIPT}\nand more", "Ada"],
        ["feature 12", "rating", "★★★★", "Ada"],
    ]
    assert told("feature", {"feature": "12"}, ("demo",)) == own
    assert told("feature", {"feature": "12"}, None) == [*own, ["feature 12", "note", "elsewhere", "Eve"]]
    of_trace = [["inference 1", "note", "as a whole", "Ada"], ["positions 3 to 5", "note", "a span", "Ada"]]
    assert told("inference", {"inference": "1"}, None) == of_trace
    assert told("inference", {"inference": "0"}, None) == [] == told("across", {}, None)


@given(st.text(st.characters(exclude_categories=[])) | st.sampled_from([SCRIPT, "\u2028", "<!--", "]]>", "\ud800"]))
def test_any_text_comes_back_as_it_was_and_ends_nothing(text: str) -> None:
    page = html("t", {"parts": [{"kind": "lines", "lines": [text]}], text: text})
    data = page.partition('id="sheet">')[2].partition("</script>")[0]
    assert page.count("</script") == 3 and data.isascii() and not set("<>&") & set(data)
    sheet = Read(page).sheet
    assert sheet["parts"][0]["lines"] == [text] and sheet[text] == text


@given(st.lists(st.floats(width=32)), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_numbers_keep_the_digits_that_are_stored(floats: list[float], whole: list[int]) -> None:
    rows = records(pd.DataFrame({"a": pd.Series(floats, dtype=np.float32)}))
    for given_back, [value] in zip(floats, rows, strict=True):
        if np.isfinite(given_back):
            assert isinstance(value, float) and np.float32(value) == np.float32(given_back)
        else:
            assert value is None
    assert records(pd.DataFrame({"a": pd.Series(whole, dtype=np.int64)})) == [[value] for value in whole]


def test_a_trace_of_four_hundred_tokens_is_small(tmp_path: Path) -> None:
    """As the article's model and SAEs make it: 32 features a token, every one of a hundred at a third of the positions;
    five are shown, and a span is marked."""
    experiment, positions = sample_experiment("long", 1, latents=100), 400
    random = np.random.default_rng(0)
    features = np.stack([np.sort(random.permutation(100)[:32]) for _ in range(positions)]).astype(np.int32)
    one = sample_inference(experiment, 0)
    ends: dict[Segment, int] = {"prompt": one.prompt_tokens, "think": 300, "answer": positions}
    segments = [next(name for name, end in ends.items() if position < end) for position in range(positions)]
    vectors = random.normal(size=(positions, 16))
    encoding = Encoding(
        features=features,
        activations=random.gamma(2, 1.5, features.shape).astype(np.float32),
        squared_error=(0.2 * random.random(positions)).astype(np.float32),
        squared_norm=(vectors**2).sum(axis=1).astype(np.float32),
        vector_sums={name: vectors[np.array(segments) == name].sum(axis=0) for name in ends},
    )
    others = np.stack([random.permutation(32_000)[:5] for _ in range(one.prompt_tokens, positions)]).astype(np.int32)
    chances = -np.sort(random.exponential(3, others.shape)).astype(np.float32)
    named = {token_id: str(random.choice(WORDS)) for token_id in sorted(set(others.ravel().tolist()))}
    long = replace(
        one,
        alternatives=Alternatives(others, chances, -chances[:, 0], named),
        token_ids=np.arange(positions, dtype=np.int32),
        texts=tuple(str(random.choice(WORDS)) for _ in range(positions)),
        segments=tuple(segments),
        logprobs=-random.exponential(0.4, positions).astype(np.float32),
        encodings=dict.fromkeys(HOOKPOINTS, encoding),
    )
    with open_writer(tmp_path, experiment) as writer:
        writer.append(long)
    link = {"experiment": "long", "feature": "0", "also": "1.2.3.4", "span": "0.200"}
    page = view_page("inference", tmp_path, "long", link, warn=NEVER)
    assert len(parts(Read(page).sheet, "transcript")[0]["data"]["texts"]) == positions
    assert len(page.encode()) <= 2_000_000

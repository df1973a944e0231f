"""What each page shows of a view, and what becomes of the link when something is chosen; without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kthink_core import queries
from kthink_core.errors import BadValue
from kthink_core.evidence.difference_table import differences
from kthink_core.notes import FILE, FeatureSubject, Notebook
from kthink_core.saved import view_page
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.permalink import PLOTS, SECTIONS
from tests.app_samples import HOOKPOINTS, SILENT, sample_experiment, sample_inference, write_experiment
from tests.app_visits import Open, at_link, payloads, tables, texts, transcript, visiting

DEEPEST = HOOKPOINTS[-1]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiments: finished; with the same SAEs; with others; just begun; in both modes by turns."""
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 6))
    write_experiment(folder, sample_experiment("again", 4, temperature=0.1))
    write_experiment(folder, sample_experiment("elsewhere", 2, sae="another"))
    write_experiment(folder, sample_experiment("begun", 4), committed=())
    write_experiment(folder, sample_experiment("modes", 8), modes=("think", "bypass"))
    tagged = sample_experiment("tagged", 4)
    with open_writer(folder, tagged) as writer:
        for number, tags in enumerate([(), ("hard", "<b>it's</b>"), ("hard",), ()]):
            writer.append(replace(sample_inference(tagged, number), tags=tags))
    return folder


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


def ask(cache: Path, query: str, *arguments: object, experiment: str = "demo"):
    with open_reader(cache, experiment) as reader:
        return getattr(queries, query)(reader, *arguments)


class TestOverview:
    @pytest.mark.parametrize(
        ("outcome", "inferences"), [("right", [0, 3]), ("wrong", [1]), ("cut", [4]), ("ungraded", [2, 5])]
    )
    def test_inferences_are_filtered(self, visit: Open, outcome: str, inferences: list[int]) -> None:
        app = visit("overview", experiment="demo", outcome=outcome)
        assert tables(app, "question")[0]["inference"].tolist() == inferences
        assert f"{len(inferences)} of 6" in texts(app)

    def test_a_filter_goes_into_the_link_and_says_how_many_it_keeps(self, visit: Open) -> None:
        app = visit("overview", experiment="demo")
        (choice,) = [group for group in app.segmented_control if group.key == "choose_outcome"]
        assert choice.options == ["all (6)", "✓ right (2)", "✗ wrong (1)", "… cut off (1)", "? ungraded (2)"]
        choice.set_value("wrong").run()
        assert app.query_params["outcome"] == "wrong"
        assert tables(app, "question")[0]["inference"].tolist() == [1]

    @pytest.mark.parametrize("mode", ["any", "think", "bypass"])
    def test_each_filter_counts_what_the_other_keeps(self, visit: Open, mode: str) -> None:
        app = visit("overview", experiment="modes", mode=mode)
        of_mode = {"any": range(8), "think": range(0, 8, 2), "bypass": range(1, 8, 2)}
        verdicts = {"any": range(8), "right": (0, 3, 6), "wrong": (1, 7), "cut": (4,), "ungraded": (2, 5)}
        outcomes, modes = (
            next(group.options for group in app.segmented_control if group.key == f"choose_{field}")
            for field in ("outcome", "mode")
        )
        counts = {name: len({*of_mode[mode]} & {*inferences}) for name, inferences in verdicts.items()}
        assert [int(re.findall(r"\d+", option)[0]) for option in outcomes] == [
            count for name, count in counts.items() if count or name == "any"
        ]
        assert modes == ["any (8)", "think (4)", "bypass (4)"]
        for outcome, inferences in verdicts.items():
            app = visit("overview", experiment="modes", mode=mode, outcome=outcome)
            kept = sorted({*of_mode[mode]} & {*inferences})
            assert [table["inference"].tolist() for table in tables(app, "question")] == ([kept] if kept else [])
            modes = next(group.options for group in app.segmented_control if group.key == "choose_mode")
            assert modes == [f"{name} ({len({*inferences} & {*of_mode[name]})})" for name in of_mode]

    def test_tags_are_shown_and_filtered_by_where_there_are_some(self, visit: Open) -> None:
        assert "tags" not in tables(visit("overview", experiment="demo"), "question")[0]
        app = visit("overview", experiment="tagged")
        assert tables(app, "question")[0]["tags"].tolist() == ["", "hard, <b>it's</b>", "hard", ""]
        choice = app.selectbox(key="choose_tag")
        assert choice.options == ["any (4)", "<b>it's</b> (1)", "hard (2)"]
        choice.set_value("hard").run()
        assert app.query_params["tag"] == "hard"
        assert tables(app, "question")[0]["inference"].tolist() == [1, 2] and "2 of 4" in texts(app)
        outcomes = next(group.options for group in app.segmented_control if group.key == "choose_outcome")
        assert sum(int(re.findall(r"\d+", option)[0]) for option in outcomes[1:]) == 2
        unknown = visit("across", experiment="tagged", tag="easy", outcome="right")
        assert "No inference is of this outcome and mode with this tag" in texts(unknown)
        assert unknown.selectbox(key="choose_tag").value == "easy"

    def test_no_inference_passes_the_filters(self, visit: Open) -> None:
        app = visit("overview", experiment="demo", mode="bypass")
        assert "No inference is of this outcome and mode" in texts(app)

    def test_features_of_every_hookpoint(self, visit: Open, cache: Path) -> None:
        shown = tables(visit("overview", experiment="demo"), "tokens")
        for table, hookpoint in zip(shown, HOOKPOINTS, strict=True):
            counts = ask(cache, "feature_counts", hookpoint, "generated", 8)
            assert table["feature"].tolist() == counts["feature"].tolist()
            assert table["inferences"].tolist() == counts["inferences"].tolist()
            assert all(table["tokens"])


class TestInference:
    def test_the_link_brings_back_features_ranking_span_and_position(self, visit: Open, cache: Path) -> None:
        app = visit(
            "inference", experiment="demo", inference="1", feature="12", also="3.7", ranking="lift", span="12.20",
            position="15", basis="experiment", locked="3", shade="entropy",
        )  # fmt: skip
        data = transcript(app)
        assert data["shade"] == "entropy" and data["alternatives"] and data["branches"]
        assert data["features"] == [12, 3, 7] and data["last"] == 63
        assert (data["basis"], data["locked"]) == ("experiment", 3)
        assert (data["span"], data["position"]) == ([12, 20], 15)
        ranked = ask(cache, "ranked_features", 1, DEEPEST, "generated", "lift", 100)
        assert [row["feature"] for row in data["ranked"]] == ranked["feature"].tolist()
        assert {12, 3, 7} <= {int(feature) for feature in data["maxima"]}
        stands_out = ask(cache, "span_features", 1, DEEPEST, 12, 20)
        (shown,) = tables(app, "rest_share")
        assert shown["feature"].tolist() == stands_out["feature"].tolist()
        assert shown["lift_low"].tolist() == pytest.approx(stands_out["lift_low"].tolist())
        assert shown["span_positions"].tolist() == stands_out["positions"].tolist()
        assert data["standing"]["span"] == [12, 20]
        assert [row["feature"] for row in data["standing"]["rows"]] == stands_out["feature"].tolist()
        assert {str(feature) for feature in stands_out["feature"]} <= data["lines"].keys()

    def test_the_span_can_be_cleared(self, visit: Open) -> None:
        app = visit("inference", experiment="demo", inference="1", span="12.20")
        app.button(key="clear_span").click().run()
        assert "span" not in app.query_params
        assert not tables(app, "rest_share")
        assert transcript(app)["standing"] is None

    def test_a_span_beyond_the_trace_is_told(self, visit: Open) -> None:
        app = visit("inference", experiment="demo", inference="1", span="5000.6000")
        assert "lies beyond the last token" in texts(app)
        assert transcript(app)["span"] is None

    def test_features_are_added_taken_away_and_typed(self, visit: Open) -> None:
        app = visit("inference", experiment="demo", inference="1", feature="12")
        app.multiselect(key="choose_features").set_value([12, 5]).run()
        assert (app.query_params["feature"], app.query_params["also"]) == ("12", "5")
        assert transcript(app)["features"] == [12, 5]
        app.multiselect(key="choose_features").set_value([5, "7", "63", "64", "no", "²", "9" * 5000]).run()
        assert transcript(app)["features"] == [5, 7, 63]
        assert not app.warning
        app.multiselect(key="choose_features").set_value([]).run()
        assert "feature" not in app.query_params

    def test_another_inference_forgets_the_places_of_the_last(self, visit: Open) -> None:
        app = visit("inference", experiment="demo", inference="1", feature="12", span="12.20", position="15")
        app.button(key="step_Next").click().run()
        assert app.query_params["feature"] == "12"
        assert not {"span", "position"} & set(app.query_params)

    @pytest.mark.parametrize("plot", PLOTS)
    def test_every_tab_is_drawn(self, visit: Open, plot: str) -> None:
        app = visit("inference", experiment="demo", feature="12", plot=plot)
        charts = app.get("vega_lite_chart")
        assert len(charts) == (plot != "features")
        assert not app.error and not app.warning

    def test_features_that_fire_at_no_token_have_no_scatter(self, visit: Open) -> None:
        app = visit("inference", experiment="demo", feature=str(SILENT), plot="ids")
        assert "None of the features shown fires" in texts(app)


class TestFeature:
    def test_more_samples_come_until_every_position_is_shown_or_counted(self, visit: Open) -> None:
        app, seen = visit("feature", experiment="demo", feature="12"), []
        while True:
            (data,) = payloads(app, "groups")
            shown = [snippet for group in data["groups"] for snippet in group["snippets"]]
            places = [(snippet["inference"], snippet["position"]) for snippet in shown]
            assert {*seen} < {*places} and len({*places}) == len(places)
            seen = places
            if app.button(key="more_samples").disabled:
                break
            app.button(key="more_samples").click().run()
            assert not app.exception
        stands_for = sum(1 + snippet["moreCount"] for snippet in shown)
        assert f"{len(shown)} contexts stand for {stands_for} of {stands_for} positions" in texts(app)

    def test_contexts_are_those_of_the_query(self, visit: Open, cache: Path) -> None:
        (data,) = payloads(visit("feature", experiment="demo", feature="12"), "groups")
        places = ask(cache, "contexts", DEEPEST, 12)
        shown = [snippet for group in data["groups"] for snippet in group["snippets"]]
        assert [snippet["position"] for snippet in shown] == places["position"].tolist()
        assert [(snippet["times"], snippet["alike"]) for snippet in shown] == [
            *zip(places["times"].tolist(), places["alike"].tolist(), strict=True)
        ]
        assert [snippet["moreCount"] for snippet in shown] == places["more_positions"].tolist()
        assert [len(snippet["more"]) for snippet in shown] == places["more_positions"].clip(upper=50).tolist()
        assert data["groups"][0]["title"] == "Highest"
        assert data["maximum"] == pytest.approx(places["activation"].max())
        for snippet in shown:
            trace = ask(cache, "transcript", snippet["inference"], DEEPEST, 12)
            begin, end = snippet["first"], snippet["first"] + len(snippet["texts"])
            assert begin <= snippet["position"] < end <= snippet["length"] == len(trace)
            assert snippet["texts"] == trace["text"].tolist()[begin:end]
            assert snippet["activations"] == pytest.approx(trace["activation"].fillna(0).tolist()[begin:end], abs=1e-4)

    @pytest.mark.parametrize("section", SECTIONS)
    def test_every_section_is_drawn(self, visit: Open, section: str) -> None:
        app = visit("feature", experiment="demo", feature="12", section=section)
        assert not app.error and not app.warning
        tabs = app.get("tab")
        assert [bool(tab.children) for tab in tabs] == [name == section for name in SECTIONS]

    def test_a_section_that_is_not_there_is_told_and_the_nearest_shown(self, visit: Open) -> None:
        app = visit("feature", experiment="demo", feature="12", section="Company", browse="yes")
        told = [warning.value for warning in app.warning]
        assert ["section" in told[0], "browse" in told[1], len(told)] == [True, True, 2]
        assert [bool(tab.children) for tab in app.get("tab")] == [name == "company" for name in SECTIONS]

    def test_inferences_and_contrast(self, visit: Open, cache: Path) -> None:
        app = visit("feature", experiment="demo", feature="12", section="inferences")
        (where,) = tables(app, "peak")
        found = ask(cache, "feature_inferences", DEEPEST, 12)
        assert where["inference"].tolist() == found["inference"].tolist()
        for inference, peak in zip(where["inference"], where["peak"], strict=True):
            track = ask(cache, "feature_tracks", inference, DEEPEST, (12,)).query("position >= 9")
            assert peak == track.sort_values(["activation", "position"], ascending=[False, True])["position"].iloc[0]
        (sides,) = tables(app, "side")
        assert sides["side"].tolist() == ["thinking", "answer", "✓ right", "✗ wrong"]

    def test_browsing_asks_only_when_opened(self, visit: Open, cache: Path) -> None:
        app = visit("feature", experiment="demo", feature="12", sort="maximum")
        assert not tables(app, "think_minus_answer")
        at_link(app, browse="open")
        (listed,) = tables(app, "think_minus_answer")
        assert (
            listed["feature"].tolist()
            == ask(cache, "feature_table", DEEPEST, "generated", "maximum")["feature"].tolist()
        )


class TestAcross:
    def test_sort_search_and_relevant_are_of_the_link(self, visit: Open, cache: Path) -> None:
        app = visit("across", experiment="demo", sort="answer", relevant="3", search="wait", scope="all")
        found = ask(cache, "feature_search", DEEPEST, "all", "wait")["feature"].tolist()
        expected = ask(cache, "feature_table", DEEPEST, "all", "answer", 3, 100, tuple(found))
        (listed,) = tables(app, "think_minus_answer")
        assert 0 < len(found) < 63
        assert listed["feature"].tolist() == expected["feature"].tolist()
        assert listed["inferences"].tolist() == expected["inferences"].tolist()

    def test_choices_go_into_the_link(self, visit: Open) -> None:
        app = visit("across", experiment="demo")
        app.number_input(key="choose_relevant").set_value(1).run()
        app.selectbox(key="choose_sort").set_value("right").run()
        app.text_input(key="choose_search").set_value(" Wait").run()
        assert {name: app.query_params[name] for name in ("relevant", "sort", "search")} == {
            "relevant": "1", "sort": "right", "search": " Wait",
        }  # fmt: skip

    def test_nothing_found_says_what_to_do(self, visit: Open) -> None:
        app = visit("across", experiment="demo", search="no such token")
        assert "No feature that fires" in texts(app)
        assert not app.get("vega_lite_chart")

    def test_a_label_is_found_and_shown_wherever_features_are_listed(self, visit: Open, cache: Path) -> None:
        about = FeatureSubject("demo", "", DEEPEST, 12)
        notebook = Notebook(cache / FILE)
        notebook.write(about, "label", "hesitation <b>", "Ada", "demo")
        try:
            (listed,) = tables(visit("across", experiment="demo", search="HESIT"), "think_minus_answer")
            assert listed[["feature", "label"]].to_numpy().tolist() == [[12, "hesitation <b>"]]
            app = visit("feature", experiment="demo", feature="12")
            assert "hesitation \\<b\\>" in [heading.value for heading in app.header]
            assert transcript(visit("inference", experiment="demo", feature="12"))["labels"]["12"] == "hesitation <b>"
        finally:
            notebook.write(about, "label", "", "Ada", "demo")


class TestCompare:
    def test_two_features_on_one_trace(self, visit: Open, cache: Path) -> None:
        app = visit("compare", experiment="demo", inference="1", feature="12", also="3")
        assert transcript(app)["features"] == [12, 3]
        pair = ask(cache, "feature_pair", DEEPEST, 12, 3).iloc[0]
        shown = {metric.label: metric.value for metric in app.metric}
        assert shown["Both fire"] == str(pair["both"])
        (own,) = [value for label, value in shown.items() if label.startswith("Only 12 · ")]
        assert own == str(pair["only_first"])

    def test_two_inferences_under_one_feature(self, visit: Open) -> None:
        app = visit("compare", experiment="demo", inference="1", feature="12", against="3")
        assert [data["trace"] for data in payloads(app, "bands")] == ["demo inference 1", "demo inference 3"]
        app.number_input(key="choose_against").set_value(5).run()
        assert app.query_params["against"] == "5"
        assert [data["trace"] for data in payloads(app, "bands")] == ["demo inference 1", "demo inference 5"]

    def test_both_sides_have_one_scale_unless_asked_otherwise(self, visit: Open, cache: Path) -> None:
        app = visit(
            "compare", experiment="demo", inference="1", feature="12", against="3", locked="5", basis="experiment"
        )
        sides = payloads(app, "bands")
        assert [side["basis"] for side in sides] == ["experiment"] * 2
        assert [side["locked"] for side in sides] == [5, 5]
        assert sides[0]["shared"] == sides[1]["shared"]
        listed = {row["feature"] for side in sides for row in side["ranked"]}
        assert {int(feature) for feature in sides[0]["shared"]} == listed
        for feature in (12, *sorted(listed)[:5]):
            tracks = [ask(cache, "feature_tracks", inference, DEEPEST, (feature,)) for inference in (1, 3)]
            largest = max(track.query("position >= 9")["activation"].max() for track in tracks if len(track))
            assert sides[0]["shared"][str(feature)] == pytest.approx(largest)
        app.segmented_control(key="choose_scale").set_value("own").run()
        assert app.query_params["scale"] == "own"
        assert [side["shared"] for side in payloads(app, "bands")] == [{}, {}]

    def test_two_experiments_have_one_scale_where_features_mean_the_same(self, visit: Open, cache: Path) -> None:
        here, there = payloads(visit("compare", experiment="demo", inference="2", other="again"), "bands")
        assert here["shared"] == there["shared"]
        largest = [
            ask(cache, "feature_maxima", DEEPEST, (12,), experiment=name)["max_activation"].iloc[0]
            for name in ("demo", "again")
        ]
        assert [side["maxima"]["12"] for side in (here, there)] == pytest.approx([max(largest)] * 2)
        here, there = payloads(visit("compare", experiment="demo", inference="1", other="elsewhere"), "bands")
        assert here["shared"] == there["shared"] == {}

    def test_two_experiments_with_one_sae(self, visit: Open, cache: Path) -> None:
        app = visit("compare", experiment="demo", inference="2", feature="12", other="again")
        assert [data["trace"] for data in payloads(app, "bands")] == ["demo inference 2", "again inference 2"]
        assert tables(app, "here")[0]["problem"].tolist() == [0, 1, 2, 3]
        here, there = tables(at_link(app, facet="features"), "elsewhere")
        counts = ask(cache, "feature_counts", DEEPEST, experiment="again").set_index("feature")["inferences"]
        assert here["elsewhere"].tolist() == [25 * counts.get(feature, 0) for feature in here["feature"]]  # percent
        assert len(there) > 0

    def test_an_inference_of_a_problem_that_the_other_lacks(self, visit: Open) -> None:
        app = visit("compare", experiment="demo", inference="5", other="again")
        assert "again has no inference of this problem" in texts(app)
        assert len(payloads(app, "bands")) == 1

    def test_two_experiments_with_different_saes(self, visit: Open) -> None:
        app = visit("compare", experiment="demo", other="elsewhere", facet="features")
        assert "equal feature numbers mean different features" in texts(app)
        assert not tables(app, "elsewhere")

    def test_an_experiment_without_inferences(self, visit: Open) -> None:
        app = visit("compare", experiment="demo", other="begun")
        assert "No inference of begun is committed yet" in texts(app)

    def test_what_is_compared_is_of_the_link(self, visit: Open) -> None:
        app = visit("compare", experiment="demo", inference="1")
        for choice, parameter in (("inferences", "against"), ("experiments", "other")):
            app.segmented_control(key="choose_compared").set_value(choice).run()
            assert parameter in app.query_params
        app.segmented_control(key="choose_compared").set_value("features").run()
        assert not {"against", "other"} & set(app.query_params)


class TestDifferences:
    def test_two_inferences_rank_what_differs_and_a_click_shows_it_in_both(self, visit: Open, cache: Path) -> None:
        app = visit("compare", experiment="demo", inference="1", feature="12", against="3")
        with open_reader(cache, "demo") as reader:
            expected = differences(reader, DEEPEST, inference=1, against=3)
        (table,) = tables(app, "positions_a")
        assert table["feature"].tolist() == expected["feature"].tolist()
        assert "One trace a side" in texts(app) and not app.exception
        assert [data["trace"] for data in payloads(app, "bands")] == ["demo inference 1", "demo inference 3"]

    def test_an_inference_of_another_experiment_and_what_cannot_be_compared(self, visit: Open) -> None:
        app = visit("compare", experiment="demo", inference="1", other="again", pair="inferences.2")
        assert [data["trace"] for data in payloads(app, "bands")] == ["demo inference 1", "again inference 2"]
        assert len(tables(app, "positions_a")) == 1
        app.selectbox(key="choose_second_experiment").set_value("elsewhere").run()
        assert app.query_params["other"] == "elsewhere"
        assert "they differ in SAE" in texts(app) and not tables(app, "positions_a")

    def test_a_second_inference_that_is_not_there_is_told_and_the_nearest_shown(self, visit: Open, cache: Path) -> None:
        app = visit("compare", experiment="demo", inference="1", other="again", pair="inferences.9")
        told = [warning.value for warning in app.warning]
        assert told == [plain("The link's second inference 9 is not among 0 to 3: showing 3.")]
        assert [data["trace"] for data in payloads(app, "bands")] == ["demo inference 1", "again inference 3"]
        link = {"experiment": "demo", "inference": "1", "other": "again", "pair": "inferences.9"}
        assert "Inference 3 of again" in view_page("compare", cache, "demo", link)
        app = at_link(app, other="begun")
        assert "No inference of begun is committed yet" in texts(app) and not payloads(app, "bands")
        assert app.selectbox(key="choose_second_experiment").value == "begun"
        with pytest.raises(BadValue, match="no inference of experiment 'begun'"):
            view_page("compare", cache, "demo", link | {"other": "begun"})

    def test_two_spans_are_taken_from_a_marked_one_and_marked_on_either_side(self, visit: Open) -> None:
        app = visit("compare", experiment="demo", inference="1", span="10.20")
        app.segmented_control(key="choose_compared").set_value("spans").run()
        link = app.query_params
        assert link["span"] == "10.20" and link["pair"].startswith("spans.21.")
        assert [data["trace"] for data in payloads(app, "bands")] == ["demo inference 1"] * 2
        assert [data["span"] for data in payloads(app, "bands")] == [[10, 20], [21, int(link["pair"].split(".")[2])]]
        assert len(tables(app, "positions_a")) == 1 and not app.exception

    def test_the_second_experiment_stays_from_mode_to_mode_and_each_side_is_named(self, visit: Open) -> None:
        app = visit("compare", experiment="demo", inference="1", other="modes")
        for mode in ("inferences", "spans", "experiments", "spans", "inferences", "experiments"):
            app.segmented_control(key="choose_compared").set_value(mode).run()
            assert app.query_params["other"] == "modes" and not app.exception
            assert [data["trace"] for data in payloads(app, "bands")] == ["demo inference 1", "modes inference 1"]
            heads = [head.value for head in app.header if head.value.startswith("Inference ")]
            assert heads == ["Inference 1 of demo", "Inference 1 of modes"]
            marked = [data["span"] for data in payloads(app, "bands")]
            assert all(marked) if mode == "spans" else marked == [None, None]
        app.segmented_control(key="choose_compared").set_value("features").run()
        assert "other" not in app.query_params
        app.segmented_control(key="choose_compared").set_value("experiments").run()
        assert app.query_params["other"] == "modes"

    def test_two_experiments_lead_to_the_traces_in_which_a_feature_is_strongest(self, visit: Open) -> None:
        app = visit("compare", experiment="demo", other="again", facet="features")
        (drawn,) = [element for element in app.dataframe if "positions_a" in element.value]
        assert {"low", "high", "q", "mean_b"} <= set(drawn.value.columns) and not app.exception
        columns = json.loads(drawn.proto.columns)
        widths = [columns[name]["width"] for name in drawn.value.columns]
        assert sum(widths) + 32 <= 820, "beside the boxes of its rows it is in sight on a screen 1280 px wide"

"""Parts of pages by themselves: what the browser sends back, the matrix's window, charts as Vega-Lite takes them."""

from __future__ import annotations

import json

import altair as alt
import pandas as pd
import pytest

from kthink_core.ui.inference import inference_charts
from kthink_core.ui.parts import charts, matrix, snippets
from kthink_core.ui.view import kept


@pytest.mark.parametrize(
    ("sent", "place"),
    [
        ({"inference": 3, "position": 12}, (3, 12)),
        ({"inference": 0, "position": 0}, (0, 0)),
        ({"inference": -1, "position": 2}, None),
        ({"inference": 1, "position": -2}, None),
        ({"inference": "1", "position": 2}, None),
        ({"inference": True, "position": 2}, None),
        ({"position": 2}, None),
        ([1, 2], None),
        (None, None),
    ],
)
def test_a_place_from_the_browser_is_checked(sent: object, place: tuple[int, int] | None) -> None:
    assert snippets.sent_place(sent) == place


@pytest.mark.parametrize(
    ("inference", "first", "last"), [(0, 0, 9), (3, 0, 9), (20, 15, 24), (39, 30, 39), (1000, 30, 39)]
)
def test_the_window_of_the_matrix_holds_the_inference(inference: int, first: int, last: int) -> None:
    window = kept.window(pd.DataFrame({"inference": range(40)}), inference, 10)
    assert window["inference"].tolist() == list(range(first, last + 1))


HOSTILE = ["</script>", "datum.x", "'\"\\", "\u202e", "\n"]


def drawn() -> list[charts.Chart]:
    features = [3, 1, 1, 2, 3]
    table = pd.DataFrame(
        {
            "feature": features,
            "position": range(5),
            "token_id": range(5),
            "text": HOSTILE,
            "activation": [5.0, 4, 3, 2, 1],
            "max_activation": [5.0, 4, 3, 2, 1],
            "mean_activation": 1.0,
            "count": 2,
            "logit": 0.5,
        }
    )
    labels = {1: "it's <b>", 3: "\\"}
    bins = pd.DataFrame({"low": [0.0, 1.0], "high": [1.0, 2.0], "count": [4, 0]})
    cells = pd.DataFrame(
        {"feature": [1, 3], "inference": [0, 1], "positions": 1, "max_activation": [1.0, 2.0], "peak_position": 7}
    )
    inferences = pd.DataFrame({"inference": [0, 1], "verdict": ["right", "cut off"]})
    frequencies = pd.DataFrame({"feature": [1, 3, 2], "positions": [2, 2, 1]})
    return [
        charts.histogram(bins),
        charts.top_tokens(table),
        charts.promoted_tokens(table, charts.PLAIN),
        inference_charts.top_activations(table, (1,), labels),
        inference_charts.frequencies(frequencies, (1,), labels),
        inference_charts.token_ids(table, (3, 1, 2), labels),
        matrix.chart(cells, (3, 1), inferences, labels),
    ]


@pytest.mark.parametrize("chart", drawn(), ids=lambda chart: chart.spec["mark"]["type"])
def test_every_chart_is_valid_vega_lite(chart: charts.Chart) -> None:
    """Against the schema of Vega-Lite that Altair brings."""
    alt.Chart.from_dict(chart.spec | {"data": {"name": "table"}})
    json.dumps(chart.spec)
    used = [
        channel for part in chart.spec["encoding"].values() for channel in (part if isinstance(part, list) else [part])
    ]
    assert {channel["field"] for channel in used if "field" in channel} <= set(chart.data.columns)


def test_an_empty_bin_has_no_bar() -> None:
    assert drawn()[0].data["low"].tolist() == [0.0]


def test_the_features_shown_have_the_first_hues_and_lie_on_top() -> None:
    chart = drawn()[3]
    scale = chart.spec["encoding"]["color"]["scale"]
    assert scale["domain"] == ["1 · it's <b>", "3 · \\", "2", "others"]
    assert len(scale["range"]) == 4
    assert chart.data["feature"].tolist()[-2:] == [1, 1]
    assert set(zip(chart.data["feature"], chart.data["called"], strict=True)) >= {(1, "1 · it's <b>"), (2, "2")}

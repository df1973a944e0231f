"""What the transcript sends to the browser and takes from it, against plain Python."""

from __future__ import annotations

import base64
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kthink_core import outline
from kthink_core.store.scopes import SEGMENTS_OF
from kthink_core.ui import transcript
from kthink_core.ui.parts import hues
from kthink_core.ui.parts.packing import floats, integers
from kthink_core.ui.transcript.drawing import Selection, read
from tests.transcript_samples import CASES, MAXIMA, activation, fires, sample, segments

SIZES = {"uint8": 1, "uint16": 2, "uint32": 4, "float32": 4}


def unpacked(packed: dict[str, str]) -> list[float]:
    raw = base64.b64decode(packed["base64"])
    size = SIZES[packed["dtype"]]
    assert len(raw) % size == 0
    if packed["dtype"] == "float32":
        return np.frombuffer(raw, "<f4").tolist()
    return [int.from_bytes(raw[at : at + size], "little") for at in range(0, len(raw), size)]


def packed(case: str = "small", **changed: Any) -> dict[str, Any]:
    made = CASES[case]
    tables = sample(made, made.length)
    options: dict[str, Any] = {
        "hookpoint": "layers.4.mlp", "features": made.features, "maxima": MAXIMA, "labels": {3: "<b>"},
        "scope": made.scope, "span": None, "position": None, "marked": (), "verdict": "right",
    }  # fmt: skip
    return transcript.payload("one", *tables, **(options | changed))


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_integers_arrive_as_they_are(values: list[int]) -> None:
    assert unpacked(integers(np.array(values, np.int64))) == values


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_activations_arrive_as_they_are(values: list[float]) -> None:
    assert unpacked(floats(np.array(values, np.float32))) == values


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=30))
def test_texts_arrive_as_they_are(texts: list[str]) -> None:
    count = len(texts)
    tokens = pd.DataFrame(
        {"text": texts, "token_id": [7] * count, "segment": ["think"] * count, "logprob": [0.0] * count}
    )
    nothing = sample(CASES["empty"], 0)
    data = transcript.payload(
        "one", tokens, nothing.tracks, nothing.hover, nothing.ranked, hookpoint="h", features=(), maxima={}, labels={},
        scope="generated", span=None, position=None, marked=(), verdict=None,
    )  # fmt: skip
    assert json.loads(json.dumps(data))["texts"] == texts
    assert unpacked(data["hover"]["counts"]) == [0] * count


def test_every_token_has_its_first_features() -> None:
    data = packed()
    counts = unpacked(data["hover"]["counts"])
    features, activations = unpacked(data["hover"]["features"]), unpacked(data["hover"]["activations"])
    assert len(counts) == 300 and sum(counts) == len(features) == len(activations)
    start = 0
    for position, count in enumerate(counts):
        expected = sorted((-activation(f, position, 300), f) for f in range(30) if position in fires(f, 300))[:8]
        found = list(zip(activations[start:][:count], features[start:][:count], strict=True))
        assert found == [(-negated, feature) for negated, feature in expected]
        start += int(count)


def test_tracks_are_whole() -> None:
    data = packed("five")["tracks"]
    positions, activations = unpacked(data["positions"]), unpacked(data["activations"])
    assert data["features"] == list(range(20))  # the silent feature has no rows
    start = 0
    for feature, count in zip(data["features"], data["counts"], strict=True):
        assert positions[start:][:count] == fires(feature, 300)
        assert activations[start:][:count] == [activation(feature, at, 300) for at in fires(feature, 300)]
        start += count
    assert start == len(positions) == len(activations)


@pytest.mark.parametrize("scope", SEGMENTS_OF)
def test_bands_are_the_segments_in_order(scope: str) -> None:
    bands = packed(scope=scope)["bands"]
    assert [segment for band in bands for segment in [band["segment"]] * band["tokens"]] == segments(300)
    assert [band["counts"] for band in bands] == [band["segment"] in SEGMENTS_OF[scope] for band in bands]


def test_probabilities_are_missing_where_nothing_was_sampled() -> None:
    found = unpacked(packed()["probabilities"])
    assert all(math.isnan(value) for value in found[:20])
    assert found[20:] == pytest.approx([math.exp(-0.5)] * 280)


def test_a_transcript_is_valid_json_in_every_case() -> None:
    for case in CASES:
        json.dumps(packed(case), allow_nan=False)


def test_what_lies_beyond_the_trace_is_left_out() -> None:
    assert packed(span=(290, 400), position=300)["span"] == [290, 299]
    assert packed(span=(290, 400), position=300)["position"] is None
    assert packed(span=(300, 400))["span"] is None
    assert packed(features=(1, 1, 2, 3, 4, 5, 6))["features"] == [1, 2, 3, 4, 5]


def test_what_stands_out_is_of_the_span_as_it_is_shown() -> None:
    found = pd.DataFrame({"feature": [3, 5], "positions": [4, 2], "lift": [9.0, 8.0], "lift_low": [3.0, 2.0]})
    found = found.assign(lift_high=27.0, share=0.1)
    sent = packed(span=(290, 400), standing=found, lines={3: "a  b"})
    rows = [{"feature": 3, "positions": 4, "lift": 9, "low": 3, "high": 27}]
    rows.append({"feature": 5, "positions": 2, "lift": 8, "low": 2, "high": 27})
    assert json.loads(json.dumps(sent["standing"])) == {"span": [290, 299], "rows": rows}
    assert sent["lines"] == {"3": "a  b"}
    assert packed(span=(300, 400), standing=found)["standing"] is None


def test_a_long_trace_is_sent_in_little() -> None:
    assert len(json.dumps(packed("long"))) < 2.5e6


GIVEN = Selection((10, 20), (3, 5), None, "trace", 3)


@pytest.mark.parametrize(
    ("sent", "changed"),
    [
        (None, {}),
        ({}, {}),
        ({"span": [4, 9]}, {"span": (4, 9)}),
        ({"span": [7, 7]}, {"span": (7, 7)}),
        ({"span": None}, {"span": None}),
        ({"features": [3, 5, 8]}, {"features": (3, 5, 8)}),
        ({"features": []}, {"features": ()}),
        ({"features": [1, 2, 2, 3, 4, 5, 6, 7]}, {"features": (1, 2, 3, 4, 5)}),
        ({"feature": 0}, {"feature": 0}),
        ({"basis": "experiment"}, {"basis": "experiment"}),
        ({"locked": 5}, {"locked": 5}),
        ({"locked": None}, {"locked": None}),
        ({"grain": "turn", "sought": 9}, {"grain": "turn", "sought": 9}),
        (
            {"span": None, "features": [3], "basis": "experiment", "locked": 0, "feature": None},
            {"span": None, "features": (3,), "basis": "experiment", "locked": 0},
        ),
        # Nonsense changes nothing.
        ([1, 2], {}),
        ({"span": [9, 4], "features": 3}, {}),
        ({"span": [4, 300], "features": {"a": 1}}, {}),
        ({"span": [-1, 3], "features": ["3"], "feature": "x"}, {}),
        ({"span": [1, 2, 3], "features": [True], "feature": -1}, {}),
        ({"span": "12", "features": None, "feature": 1.5}, {}),
        ({"span": [], "basis": "", "locked": -1}, {}),
        ({"basis": [], "locked": [5]}, {}),
        ({"grain": "word", "sought": -1, "branch": [300]}, {}),
        ({"basis": None, "locked": True}, {}),
        ({"locked": "5", "feature": None}, {}),
    ],
)
def test_what_the_browser_sent_is_read(sent: object, changed: dict[str, Any]) -> None:
    assert read(sent, 300, GIVEN) == GIVEN._replace(**changed)


def luminance(colour: str) -> float:
    """Relative luminance by the definition of WCAG 2."""
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return float(
        np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    )


@pytest.mark.parametrize("theme", [hues.LIGHT, hues.DARK])
@pytest.mark.parametrize("hue", [*hues.HUES, hues.SIXTH])
def test_text_can_be_read_on_every_shade(hue: str, theme: hues.Theme) -> None:
    levels = sorted((luminance(hues.shade(hue, theme)), luminance(theme.text)))
    assert (levels[1] + 0.05) / (levels[0] + 0.05) >= 4.9
    levels = sorted((luminance(hues.line(hue, theme)), luminance(theme.page)))
    assert (levels[1] + 0.05) / (levels[0] + 0.05) >= 2.1
    levels = sorted((luminance(hues.line(hue, theme)), luminance(hues.ink(hue, theme))))
    assert (levels[1] + 0.05) / (levels[0] + 0.05) >= 4.5


def most_of(hue: str, other: str, against: str, least: float) -> str:
    """The largest share, in per cent, of a hue in a mix that has a contrast: as a colour."""
    one, rest = ([int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in (hue, other))
    mixes = [
        "#" + "".join(f"{round((share * x + (100 - share) * y) / 100):02x}" for x, y in zip(one, rest, strict=True))
        for share in range(101)
    ]
    return [mix for mix in mixes if hues.contrast(mix, against) >= least][-1]


@pytest.mark.parametrize("theme", [hues.LIGHT, hues.DARK])
@pytest.mark.parametrize("hue", [*hues.HUES, hues.SIXTH])
def test_no_more_of_a_hue_could_be_read(hue: str, theme: hues.Theme) -> None:
    assert hues.shade(hue, theme) == most_of(hue, theme.page, theme.text, 5.0)
    assert hues.line(hue, theme) == most_of(hue, theme.text, theme.page, 2.2)


@pytest.mark.parametrize(
    ("one", "other", "known"),
    [
        ("#000000", "#ffffff", 21),
        ("#ffffff", "#000000", 21),
        ("#767676", "#ffffff", 4.54),
        ("#ff0000", "#ffffff", 4.00),
        ("#00ff00", "#ffffff", 1.37),
        ("#0000ff", "#ffffff", 8.59),
        ("#0a0a0a", "#000000", 1.06),  # dark ones are not raised to a power
        ("#123456", "#123456", 1),
    ],
)
def test_contrast_is_as_published(one: str, other: str, known: float) -> None:
    """As the checkers of the web say of these pairs."""
    assert hues.contrast(one, other) == pytest.approx(known, abs=0.005)


def test_the_hues_know_the_colours_of_the_theme() -> None:
    """Streamlit's own where the settings name none."""
    theme = tomllib.loads((Path(__file__).parents[1] / ".streamlit" / "config.toml").read_text())["theme"]
    for known, named in ((hues.LIGHT, theme["light"]), (hues.DARK, theme["dark"])):
        assert named.get("backgroundColor", known.page) == known.page
        assert named.get("textColor", known.text) == known.text
    assert "textColor" in theme["light"]


def test_the_hues_reach_the_browser() -> None:
    sheet = hues.stylesheet(".transcript")
    assert all(f"--{name}-{index}: light-dark(#" in sheet for name in ("shade", "line") for index in range(6))


def test_a_trace_is_shaded_by_its_own_maximum_unless_told_otherwise() -> None:
    alone, beside = packed(), packed(shared={3: 9.5}, basis="experiment", locked=5)
    assert (alone["shared"], alone["basis"], alone["locked"]) == ({}, "trace", None)
    assert (alone["grain"], alone["outline"], alone["sought"]) == ("none", None, None)
    assert (beside["shared"], beside["basis"], beside["locked"]) == ({"3": 9.5}, "experiment", 5)


def test_steps_are_sent_with_what_stands_out_in_them() -> None:
    case = CASES["small"]
    tables = sample(case, case.length)
    steps = outline.steps(tables.tokens, tables.tracks.loc[tables.tracks["position"] > 30], "sentence", 2)
    sent = packed(grain="sentence", outline=steps)["outline"]
    assert unpacked(sent["firsts"]) == steps.drop_duplicates("step")["first"].tolist()
    start = 0
    for step, count in enumerate(unpacked(sent["counts"])):
        rows = steps[(steps["step"] == step) & steps["feature"].notna()]
        assert count == len(rows)
        for name, column in (("features", "feature"), ("positions", "positions")):
            assert unpacked(sent[name])[start:][: int(count)] == rows[column].tolist()
        for name, column in (("lifts", "lift"), ("lows", "lift_low"), ("highs", "lift_high")):
            assert unpacked(sent[name])[start:][: int(count)] == pytest.approx(rows[column].tolist())
        start += int(count)
    assert start == steps["feature"].notna().sum() > 0
    assert 0 in unpacked(sent["counts"])  # the prompt, in which nothing fires here

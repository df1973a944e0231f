"""Tables of a growing trace, against plain loops over what was added."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from kthink_core.live.api import Latents, Tokens
from kthink_core.live.live_trace import LiveTrace
from kthink_core.live.watchlist import Watch, firings
from tests.query_oracle import risk_ratio

Position = dict[int, float]
positions = some.dictionaries(some.integers(0, 6), some.integers(1, 40).map(lambda value: value / 4), max_size=4)


def tokens(first: int, latents: list[Position], segment: str) -> Tokens:
    return Tokens.model_validate(
        {
            "first": first,
            "token_ids": [7] * len(latents),
            "texts": ["x"] * len(latents),
            "segments": [segment] * len(latents),
            "logprobs": [None if segment == "prompt" else -0.5] * len(latents),
            "latents": {
                "h": Latents(
                    features=tuple(tuple(one) for one in latents),
                    activations=tuple(tuple(one.values()) for one in latents),
                )
            },
        }
    )


@settings(max_examples=30)
@given(some.lists(positions, min_size=1, max_size=5), some.lists(positions, max_size=10))
def test_tables_are_what_was_added(prompt: list[Position], written: list[Position]) -> None:
    trace = LiveTrace()
    trace.add(tokens(0, prompt, "prompt"))
    for index, latents in enumerate(written):
        segment = "think" if index < 5 else "answer"
        trace.add(tokens(len(prompt) + index, [latents], segment))
    whole = prompt + written
    assert len(trace) == len(whole)
    table = trace.tokens()
    assert table["position"].tolist() == list(range(len(whole)))
    assert table["logprob"].isna().sum() == len(prompt)

    rows = {(feature, position, value) for position, one in enumerate(whole) for feature, value in one.items()}
    assert set(trace.latents("h")[["feature", "position", "activation"]].itertuples(index=False, name=None)) == rows

    top = trace.strongest("h")
    for position, one in enumerate(whole):
        strongest = top[top["position"] == position]
        wanted = sorted(one.items(), key=lambda pair: (-pair[1], pair[0]))[:8]
        assert list(zip(strongest["feature"], strongest["activation"], strict=True)) == wanted

    start, end = len(prompt), len(whole)
    where = {"generated": range(start, end), "answer": range(start + 5, end), "all": range(end)}
    for scope, among in (("generated", written), ("answer", written[5:]), ("all", whole)):
        ranked = trace.ranked("h", scope)  # pyright: ignore[reportArgumentType]
        features = {feature for one in among for feature in one}
        assert set(ranked["feature"]) == features
        assert ranked["rank"].tolist() == list(range(1, len(features) + 1))
        order = list(zip(-ranked["max_activation"], ranked["feature"], strict=True))
        assert order == sorted(order)
        largest = sorted(((-value, feature, at) for feature, at, value in rows if at in where[scope]))
        activations = trace.activations("h", scope, 5)  # pyright: ignore[reportArgumentType]
        got = zip(-activations["activation"], activations["feature"], activations["position"], strict=True)
        assert list(got) == largest[:5]
        frequencies = trace.frequencies("h", scope)  # pyright: ignore[reportArgumentType]
        wanted = sorted((-sum(feature in one for one in among), feature) for feature in features)
        assert list(zip(-frequencies["positions"], frequencies["feature"], strict=True)) == wanted
        for row in ranked.itertuples():
            values = [one[row.feature] for one in among if row.feature in one]
            assert row.positions == len(values) and row.max_activation == max(values)
            assert abs(row.mean_activation - sum(values) / len(values)) < 1e-9
            assert abs(row.share - len(values) / len(among)) < 1e-9
            peak = whole[row.peak_position][row.feature]
            assert peak == max(values)

    span = trace.span("h", 1, 4)
    inside, outside = whole[1:5], whole[:1] + whole[5:]
    often = {feature for one in inside for feature in one if sum(feature in other for other in inside) > 1}
    assert set(span["feature"]) == (often if len(inside) >= 4 else {feature for one in inside for feature in one})
    for row in span.itertuples():
        values = [one[row.feature] for one in inside if row.feature in one]
        rest = sum(row.feature in one for one in outside)
        assert (row.positions, row.span_size, row.max_activation) == (len(values), len(inside), max(values))
        assert abs(row.mean_activation - sum(values) / len(values)) < 1e-9
        assert abs(row.share - len(values) / len(inside)) < 1e-9
        assert abs(row.rest_share - rest / len(outside)) < 1e-9
        found = (row.lift, row.lift_low, row.lift_high)
        assert found == pytest.approx(risk_ratio(len(values), len(inside), rest, len(outside)))
    assert span["lift_low"].round(9).is_monotonic_decreasing

    fired = [(len(prompt) + index, one[3]) for index, one in enumerate(written) if one.get(3, 0) > 4]
    told = firings(trace, (Watch("h", 3, 4.0), Watch("another", 3, 0.0)))
    assert [(firing.position, firing.activation) for firing in told] == fired


def test_an_empty_trace() -> None:
    trace = LiveTrace()
    assert trace.tokens().empty and trace.ranked("h").empty and trace.strongest("h").empty

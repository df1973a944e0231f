"""What differs between two inferences, spans or experiments, against plain loops over the raw records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray
from scipy.sparse import csc_array

from kthink_core.errors import BadValue, KthinkError, NotComparable, OutOfRange, UnknownName
from kthink_core.evidence.clustered_shares import difference_intervals
from kthink_core.evidence.difference_table import COLUMNS, differences, remarks
from kthink_core.evidence.differences import contrast
from kthink_core.records import Inference
from kthink_core.sentence_splitting import sentences
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.scopes import SEGMENTS_OF, Scope
from kthink_core.store.writer import open_writer
from tests.app_samples import HOOKPOINTS, VOCABULARY, sample_experiment, sample_inference

AT = HOOKPOINTS[1]
Places = list[tuple[Inference, int]]


class Stored(NamedTuple):
    here: Reader
    there: Reader
    unlike: Reader
    one: list[Inference]
    two: list[Inference]


def in_sentences(inference: Inference) -> Inference:
    """The same with a full stop at every fourth token of what was written."""
    stop = range(inference.prompt_tokens + 3, len(inference.texts) - 8, 4)
    texts = [f" {text.strip()}" if text.strip().isalnum() else text for text in inference.texts]
    for at in stop:
        texts[at] = "."
    token_ids = inference.token_ids.copy()
    token_ids[list(stop)] = VOCABULARY.index(".")
    return replace(inference, texts=tuple(texts), token_ids=token_ids)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """Two experiments of one SAE, three problems of which are in both, and one of another SAE."""
    cache = tmp_path_factory.mktemp("cache")
    one, two = sample_experiment("one", 5), sample_experiment("two", 3, seed=5)
    unlike = sample_experiment("unlike", 2, sae="another")
    made = {}
    for experiment, first in ((one, 0), (two, 20), (unlike, 0)):
        made[experiment.name] = [
            replace(in_sentences(sample_inference(experiment, first + at)), inference=at, problem=at,
                    question=f"{at}?")
            for at in range(experiment.inferences)
        ]  # fmt: skip
        with open_writer(cache, experiment) as writer:
            for inference in made[experiment.name]:
                writer.append(inference)
            writer.build()
    with open_reader(cache, "one") as a, open_reader(cache, "two") as b, open_reader(cache, "unlike") as c:
        yield Stored(a, b, c, made["one"], made["two"])


def in_scope(inferences: list[Inference], scope: Scope) -> Places:
    return [
        (each, at)
        for each in inferences
        for at, segment in enumerate(each.segments)
        if segment in SEGMENTS_OF[scope]
    ]  # fmt: skip


def inside(inference: Inference, span: tuple[int, int]) -> Places:
    return [(inference, at) for at in range(span[0], min(span[1] + 1, len(inference.texts)))]


def fired(places: Places) -> dict[int, list[tuple[float, int, int]]]:
    """By feature: −activation, inference and position of each place where it fires."""
    found: dict[int, list[tuple[float, int, int]]] = {}
    for inference, at in places:
        encoding = inference.encodings[AT]
        for feature, value in zip(encoding.features[at].tolist(), encoding.activations[at].tolist(), strict=True):
            if value > 0:
                found.setdefault(feature, []).append((-value, inference.inference, at))
    return found


def expected(one: Places, two: Places) -> list[dict[str, Any]]:
    sides, rows = (fired(one), fired(two)), []
    for feature in sorted({*sides[0], *sides[1]}):
        row: dict[str, Any] = {"feature": feature}
        for letter, side, of in zip("ab", sides, (one, two), strict=True):
            own = side.get(feature, [])
            mean = -sum(value for value, *_ in own) / len(own) if own else None
            strongest = min(own) if own else (0, None, None)
            row |= {f"positions_{letter}": len(own), f"of_{letter}": len(of), f"rate_{letter}": len(own) / len(of)}
            row |= {f"mean_{letter}": mean, f"inference_{letter}": strongest[1], f"position_{letter}": strongest[2]}
        row["difference"] = row["rate_a"] - row["rate_b"]
        rows.append(row)
    rows.sort(
        key=lambda row: (-round(abs(row["difference"]), 12), -max(row["mean_a"] or 0, row["mean_b"] or 0),
                         row["feature"])
    )  # fmt: skip
    return rows


def kinds(stored: Stored) -> dict[str, tuple[dict[str, Any], Places, Places]]:
    """What is asked, and the positions on either side."""
    one, two = stored.one, stored.two
    return {
        "two inferences": ({"inference": 1, "against": 3}, in_scope([one[1]], "generated"),
                           in_scope([one[3]], "generated")),
        "in thoughts": ({"inference": 1, "against": 2, "scope": "think"}, in_scope([one[1]], "think"),
                        in_scope([one[2]], "think")),
        "of two experiments": ({"inference": 4, "against": 2, "other": stored.there}, in_scope([one[4]], "generated"),
                               in_scope([two[2]], "generated")),
        "one number in two": ({"inference": 2, "other": stored.there}, in_scope([one[2]], "generated"),
                              in_scope([two[2]], "generated")),
        "two spans": ({"inference": 0, "span": (3, 30), "opposite": (31, 500)}, inside(one[0], (3, 30)),
                      inside(one[0], (31, 500))),
        "spans of two": ({"inference": 0, "against": 1, "span": (9, 30), "opposite": (9, 40)}, inside(one[0], (9, 30)),
                         inside(one[1], (9, 40))),
        "two experiments": ({"other": stored.there}, in_scope(one, "generated"), in_scope(two, "generated")),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["two inferences", "in thoughts", "of two experiments", "one number in two",
                                  "two spans", "spans of two", "two experiments"])  # fmt: skip
def test_counts_means_places_and_order_are_those_of_the_records(stored: Stored, kind: str) -> None:
    asked, one, two = kinds(stored)[kind]
    found = differences(stored.here, AT, top=10**6, **asked)
    rows = pd.DataFrame(expected(one, two))
    assert tuple(found.columns) == COLUMNS
    assert found["feature"].tolist() == rows["feature"].tolist()
    for name in rows.columns:
        here, there = (table[name].astype(float).to_numpy(float) for table in (found, rows))
        np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-12, err_msg=name)
    known = found["low"].notna()
    assert (found["low"] <= found["difference"] + 1e-9)[known].all()
    assert (found["difference"] <= found["high"] + 1e-9)[known].all()
    pd.testing.assert_frame_equal(differences(stored.here, AT, top=5, **asked), found.head(5))


def units(places: Places) -> list[list[int]]:
    """The sentences of one trace's stretch: positions of each."""
    inference, first = places[0]
    texts = [inference.texts[at] for _, at in places]
    return [[*range(each.first, each.last + 1)] for each in sentences(texts, first)]


@pytest.mark.parametrize("kind", ["two inferences", "two spans"])
def test_p_is_the_share_of_all_ways_to_deal_sentences_out(stored: Stored, kind: str) -> None:
    """Of sentences that are all alike in length, so that the ways are few enough to count."""
    asked, one, two = kinds(stored)[kind]
    if kind == "two inferences":  # five or six sentences a side: 462 ways at most
        asked |= {"span": (9, 29), "opposite": (9, 31)}
        one, two = inside(one[0][0], (9, 29)), inside(two[0][0], (9, 31))
    else:
        asked |= {"span": (9, 28), "opposite": (29, 48)}
        one, two = inside(one[0][0], (9, 28)), inside(one[0][0], (29, 48))
    table = differences(stored.here, AT, top=10**6, **asked).set_index("feature")
    sides = [units(one), units(two)]
    assert [len(side) for side in sides] == [table["n_a"].iloc[0], table["n_b"].iloc[0]]
    every = [(side, unit) for side, of in zip((one, two), sides, strict=True) for unit in of]
    assert len(every) < 12  # one stratum
    lengths = np.array([len(unit) for _, unit in every], float)
    for feature in table.index[:20]:
        counts = np.array([
            sum((at in unit) for _, _, at in fired([(side[0][0], at) for at in unit]).get(feature, []))
            for side, unit in every
        ], float)  # fmt: skip
        excess = counts - counts.sum() / lengths.sum() * lengths
        true = abs(excess[: len(sides[0])].sum())
        ways = [abs(excess[list(way)].sum()) for way in combinations(range(len(every)), len(sides[0]))]
        share = np.mean([way >= true - 1e-5 for way in ways])
        assert table.loc[feature, "p"] == pytest.approx(share if counts.any() and excess.any() else 1), feature


def newcombe(counts: list[NDArray[np.int64]], positions: list[NDArray[np.int64]]) -> tuple[float, float]:
    """Of one feature, by side, in plain Python."""
    effects, ends = [], []
    for active, of in zip(counts, positions, strict=True):
        n, m, share = of.sum(), len(of), active.sum() / of.sum()
        between = m / (m - 1) * sum((c - share * k) ** 2 for c, k in zip(active, of, strict=True)) / n**2
        effects.append(None if share in (0, 1) else max(between / (share * (1 - share) / n), 1))
    for own, other, active, of in zip(effects, effects[::-1], counts, positions, strict=True):
        n, m, share = of.sum(), len(of), active.sum() / of.sum()
        counted = n / own if own else max(n / other, m) if other else m
        z = 1.959963984540054
        middle, half = (
            (share + z**2 / (2 * counted)) / (1 + z**2 / counted),
            z / (1 + z**2 / counted) * (share * (1 - share) / counted + z**2 / (4 * counted**2)) ** 0.5,
        )
        ends.append((share, 0 if share == 0 else middle - half, 1 if share == 1 else middle + half))
    (a, a_low, a_high), (b, b_low, b_high) = ends
    return (
        a - b - ((a - a_low) ** 2 + (b_high - b) ** 2) ** 0.5,
        a - b + ((a_high - a) ** 2 + (b - b_low) ** 2) ** 0.5,
    )


@given(some.data())
@settings(max_examples=40, deadline=None)
def test_intervals_are_newcombes_of_as_many_positions_as_sentences_vary_like(data: some.DataObject) -> None:
    positions, counts = [], []
    for _ in range(2):
        of = data.draw(some.lists(some.integers(1, 9), min_size=2, max_size=8))
        positions.append(np.array(of))
        counts.append(np.array([data.draw(some.integers(0, most)) for most in of]))
    whole = np.concatenate(counts).astype(np.float32)
    on_a = np.arange(len(whole)) < len(counts[0])
    columns = csc_array(np.stack([np.ones_like(whole), whole], axis=1))
    low, high = difference_intervals(columns, np.concatenate(positions), on_a, np.array([1]))
    np.testing.assert_allclose([low[0], high[0]], newcombe(counts, positions), rtol=1e-9, atol=1e-12)


def test_intervals_hold_what_they_promise_where_positions_hang_together() -> None:
    """Of sentences half of which are much fuller than the others: positions alone would promise far too much."""
    random = np.random.default_rng(3)
    held, sizes = [], random.integers(4, 20, 60)
    on_a = np.arange(60) < 25
    for _ in range(400):
        shares = random.choice([0.02, 0.5], 60)
        counts = random.binomial(sizes, shares).astype(np.float32)
        low, high = difference_intervals(csc_array(counts[:, None]), sizes, on_a, np.array([0]))
        held.append(bool(low[0] <= 0 <= high[0]))
    assert 0.92 < np.mean(held) < 0.99


def test_of_two_experiments_figures_are_those_of_their_contrast(stored: Stored) -> None:
    names = ["rate_a", "rate_b", "difference", "low", "high", "p", "q"]
    found = differences(stored.here, AT, other=stored.there, top=10**6).set_index("feature")
    known = contrast(stored.here, AT, "experiments", other=stored.there, top=10**6).set_index("feature")
    pd.testing.assert_frame_equal(found.sort_index()[names], known.sort_index()[names])
    assert {5} == {*found["n_a"]} and {3} == {*found["n_b"]}


def test_chance_is_no_finding_and_too_little_says_so(stored: Stored) -> None:
    """Features of the sample fire by the token, whatever the sentence is about."""
    pairs = [differences(stored.here, AT, inference=a, against=b, top=10**6) for a, b in pairwise(range(5))]
    assert sum(int((table["q"] < 0.05).sum()) for table in pairs) == 0
    told = remarks(stored.here, pairs[0], {"hookpoint": AT, "inference": 0, "against": 1})
    assert any("One trace a side" in line for line in told) and any("q < 0.05" in line for line in told)
    few = differences(stored.here, AT, inference=0, span=(9, 12), opposite=(13, 40))
    assert few[["low", "high", "p", "q"]].isna().to_numpy().all()
    assert any("only" in line for line in remarks(stored.here, few, {"hookpoint": AT, "inference": 0}))


def test_what_cannot_be_compared_is_refused_with_the_reason(stored: Stored) -> None:
    one, span = {"inference": 1}, {"span": (9, 20)}
    refused: list[tuple[dict[str, Any], type[KthinkError], str]] = [
        ({}, BadValue, "name an inference"),
        (span, BadValue, "name an inference"),
        ({"against": 2, "other": stored.there}, BadValue, "name an inference"),
        (one, BadValue, "cannot be compared with itself"),
        (one | {"against": 1}, BadValue, "cannot be compared with itself"),
        (one | {"against": 9}, OutOfRange, "9"),
        ({"inference": 4, "other": stored.there}, OutOfRange, "4"),
        (one | span, BadValue, "name both"),
        (one | span | {"opposite": (20, 30)}, BadValue, "positions in common"),
        (one | span | {"opposite": (30, 21)}, BadValue, "ends before it begins"),
        (one | span | {"opposite": (900, 950)}, BadValue, "no position in the span from 900 to 950"),
        (one | {"against": 2, "scope": "no"}, UnknownName, "no"),
        ({"other": stored.here}, BadValue, "with itself"),
        ({"other": stored.unlike}, NotComparable, "differ in SAE"),
        (one | {"against": 0, "other": stored.unlike}, NotComparable, "differ in SAE"),
    ]
    for asked, kind, reason in refused:
        with pytest.raises(kind, match=reason):
            differences(stored.here, AT, **asked)
    differences(stored.here, AT, **one, **span, against=2, opposite=(15, 30))
    with pytest.raises(BadValue, match="top"):
        differences(stored.here, AT, **one, against=2, top=0)

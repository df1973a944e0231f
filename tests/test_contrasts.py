"""Contrasts against plain loops over the raw records, exact enumeration, and what must not be found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise, product
from math import comb, prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.stats import false_discovery_control

from kthink_core.errors import BadValue, NotComparable, UnknownName
from kthink_core.evidence import permutation
from kthink_core.evidence.bootstrap import intervals
from kthink_core.evidence.caveats import caveats
from kthink_core.evidence.differences import contrast
from kthink_core.evidence.divides import BETWEEN, Between
from kthink_core.evidence.occurrences import Around, around, pattern
from kthink_core.evidence.strata import by_group, by_length
from kthink_core.evidence.stretches import common, shortest, starts
from kthink_core.prompts import Segment
from kthink_core.records import Encoding, Inference
from kthink_core.store.reader import Reader, open_reader
from tests.store_samples import HOOKPOINTS, sample_experiment, sample_inferences, write_sample

COUNT = 40
WORD = "Wait"
AT = HOOKPOINTS[1]
ALONE: tuple[Between, ...] = ("right:wrong", "think:answer", "finished:cut-off", "before:after")


class Stored(NamedTuple):
    reader: Reader
    other: Reader
    here: list[Inference]
    there: list[Inference]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """Two experiments of the same SAEs, the other one bypassing the thought; parts of both are in increments."""
    cache = tmp_path_factory.mktemp("cache")
    one, two = sample_experiment("one", COUNT), sample_experiment("two", COUNT, mode="bypass", seed=7)
    here, there = sample_inferences(one), [replace(each, mode="bypass") for each in sample_inferences(two, seed=1)]
    write_sample(cache, one, here, built=36, shown=True)
    write_sample(cache, two, there, built=COUNT)
    with open_reader(cache, "one") as reader, open_reader(cache, "two") as other:
        yield Stored(reader, other, here, there)


def outcome(inference: Inference) -> str:
    if inference.finish_reason == "length":
        return "cut-off"
    return {True: "right", False: "wrong", None: "ungraded"}[inference.correct]


def is_the_word(texts: tuple[str, ...], at: int) -> bool:
    """No letter goes before it or follows it, in whatever token."""
    before, after = "".join(texts[:at])[-1:], "".join(texts[at + 1 :])[:1]
    apart = not after.isalnum() and (texts[at] == " Wait" or not before.isalnum())
    return texts[at] in ("Wait", " Wait") and apart


def places(stored: Stored, between: Between) -> tuple[list, list]:
    """Of both sides (inference, positions), worked out from the records alone."""
    if between in ("think:bypass", "experiments"):
        return tuple(
            [(each, [at for at, segment in enumerate(each.segments) if segment != "prompt"]) for each in side]
            for side in (stored.here, stored.there)
        )
    found: tuple[list, list] = ([], [])
    for each in stored.here:
        generated = [at for at, segment in enumerate(each.segments) if segment != "prompt"]
        if between == "think:answer":
            sides = [[at for at in generated if each.segments[at] == name] for name in ("think", "answer")]
        elif between == "before:after":
            words = {at for at in generated if is_the_word(each.texts[generated[0] :], at - generated[0])}
            before = {at - back for at in words for back in (1, 2, 3)} - words
            after = {at + on for at in words for on in (1, 2, 3)} - words
            sides = [[at for at in generated if at in one - two] for one, two in ((before, after), (after, before))]
        elif between == "finished:cut-off":
            sides = [generated if outcome(each) != "cut-off" else [], generated if outcome(each) == "cut-off" else []]
        else:
            sides = [generated if outcome(each) == name else [] for name in ("right", "wrong")]
        for side, positions in zip(found, sides, strict=True):
            if positions:
                side.append((each, positions))
    return found


def rates(side: list, features: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    active, sums, total = np.zeros(features), np.zeros(features), 0
    for inference, positions in side:
        encoding = inference.encodings[AT]
        total += len(positions)
        for at in positions:
            for feature, value in zip(encoding.features[at], encoding.activations[at], strict=True):
                if value > 0:
                    active[feature] += 1
                    sums[feature] += float(value)
    return active / total, np.where(active > 0, sums / np.maximum(active, 1), 0)


def asked(stored: Stored, between: Between, **more) -> pd.DataFrame:
    given = {"word": WORD} if between == "before:after" else {}
    given |= {"other": stored.other} if between in ("think:bypass", "experiments") else {}
    return contrast(stored.reader, AT, between, **{"top": 10**6} | given | more)


@pytest.mark.parametrize("between", BETWEEN)
def test_rates_means_and_differences_are_those_of_the_records(stored: Stored, between: Between) -> None:
    sides = places(stored, between)
    size = stored.reader.experiment.saes[AT].num_latents
    (rate_a, mean_a), (rate_b, mean_b) = (rates(side, size) for side in sides)
    found = asked(stored, between).set_index("feature").sort_index()
    assert found.index.tolist() == np.flatnonzero(rate_a + rate_b).tolist()
    for name, expected in (
        ("rate_a", rate_a), ("rate_b", rate_b), ("mean_a", mean_a), ("mean_b", mean_b), ("difference", rate_a - rate_b),
    ):  # fmt: skip
        np.testing.assert_allclose(found[name], expected[found.index], rtol=1e-6, atol=1e-12)
    assert set(found["inferences_a"]) == {len(sides[0])} and set(found["inferences_b"]) == {len(sides[1])}
    low, high, difference = (found[name] for name in ("low", "high", "difference"))
    assert (low <= difference + 1e-6).all() and (difference <= high + 1e-6).all()
    assert (found["q"] <= 1).all() and (found["p"] * found["labelings"] >= 1 - 1e-9).all()


@pytest.mark.parametrize("between", BETWEEN)
def test_the_same_question_has_the_same_answer_in_a_total_order(stored: Stored, between: Between) -> None:
    found = asked(stored, between)
    pd.testing.assert_frame_equal(found, asked(stored, between))
    order = [
        (row.q, row.p, -round(abs(0 if pd.isna(row.matched) else row.matched), 9), row.feature)
        for row in found.itertuples()
    ]
    assert order == sorted(order)
    pd.testing.assert_frame_equal(found.head(3), asked(stored, between, top=3))


def test_a_scope_limits_the_positions(stored: Stored) -> None:
    for scope in ("think", "answer"):
        kept = [
            [(each, [at for at in positions if each.segments[at] == scope]) for each, positions in side]
            for side in places(stored, "right:wrong")
        ]
        found = asked(stored, "right:wrong", scope=scope).set_index("feature").sort_index()
        expected = [rates([part for part in side if part[1]], 24)[0] for side in kept]
        np.testing.assert_allclose(found["rate_a"], expected[0][found.index])
        np.testing.assert_allclose(found["rate_b"], expected[1][found.index])


def test_sides_keep_their_names_whichever_experiment_is_asked(stored: Stored) -> None:
    swapped = contrast(stored.other, AT, "think:bypass", other=stored.reader, top=10**6)
    pd.testing.assert_frame_equal(swapped, asked(stored, "think:bypass"))
    other_way = contrast(stored.other, AT, "experiments", other=stored.reader, top=10**6)
    both = asked(stored, "experiments").merge(other_way, on="feature", suffixes=("", "_swapped"))
    np.testing.assert_allclose(both["difference"], -both["difference_swapped"])
    np.testing.assert_allclose(both["p"], both["p_swapped"], atol=0.06)
    np.testing.assert_allclose(both["matched"], -both["matched_swapped"], atol=1e-6)


# ---- the test itself ------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    counts: NDArray[np.float32]
    positions: NDArray[np.int64]
    on_a: NDArray[np.bool_]
    strata: NDArray[np.int64]

    def tested(self, **more) -> permutation.Tested:
        return permutation.test(csc_array(self.counts), self.positions, self.on_a, self.strata, **more)


@some.composite
def small(draw: some.DrawFn) -> Sample:
    """Up to eight units in up to three strata, and up to five features; counts tie often."""
    units = draw(some.integers(2, 8))
    numbers = some.lists(some.integers(0, 3), min_size=units, max_size=units)
    features = draw(some.integers(1, 5))
    positions = np.array(draw(some.lists(some.integers(3, 6), min_size=units, max_size=units)), np.int64)
    counts = np.array([draw(numbers) for _ in range(features)], np.float32).T
    on_a = np.array(draw(some.lists(some.booleans(), min_size=units, max_size=units)), bool)
    strata = np.array(draw(some.lists(some.integers(0, 2), min_size=units, max_size=units)), np.int64)
    return Sample(counts, positions, on_a, strata)


def plain(sample: Sample) -> tuple[list[float], list[float], list[float], int]:
    """|z| of the true labels, p and q by listing every labeling, with nothing vectorised."""
    counts, positions, on_a, strata = sample
    groups = [np.flatnonzero(strata == stratum).tolist() for stratum in sorted(set(strata.tolist()))]
    groups = [group for group in groups if 0 < sum(on_a[group]) < len(group)]
    ways = list(product(*(combinations(group, int(sum(on_a[group]))) for group in groups)))
    sizes = []  # of each feature, by labeling
    for column in counts.T.astype(float):
        excess, variance = {}, 0.0
        for group in groups:
            rate = sum(column[group]) / sum(positions[group])
            excess |= {unit: column[unit] - rate * positions[unit] for unit in group}
            a, m = sum(on_a[group]), len(group)
            variance += a * (m - a) / (m * (m - 1)) * sum(excess[unit] ** 2 for unit in group)
        sums = [sum(excess[unit] for part in way for unit in part) for way in ways]
        sizes.append([abs(total) / variance**0.5 if variance > 1e-9 else 0.0 for total in sums])
    true = ways.index(tuple(tuple(unit for unit in group if on_a[unit]) for group in groups))
    z = [size[true] for size in sizes]
    p = [sum(each >= size[true] - 1e-9 for each in size) / len(ways) for size in sizes]

    def smallest(labeling: int, least: float) -> float:
        found = []
        for t in {size[labeling] for size in sizes if size[labeling] <= least + 1e-9}:
            reached = [sum(size[each] >= t - 1e-9 for size in sizes) for each in range(len(ways))]
            found.append(sum(reached) / len(ways) / reached[labeling])
        return min([1.0, *found])

    own = [smallest(labeling, np.inf) for labeling in range(len(ways))]
    anywhere = sum(each <= own[true] + 1e-9 for each in own) / len(ways)
    return z, p, [max(smallest(true, each), anywhere) for each in z], len(ways)


@given(small())
@settings(max_examples=60)
def test_p_and_q_are_those_of_all_labelings(sample: Sample) -> None:
    tested = sample.tested()
    z, p, q, ways = plain(sample)
    assert tested.labelings == ways
    np.testing.assert_allclose(np.abs(tested.z), z, atol=1e-4)
    np.testing.assert_allclose(tested.p, p, atol=1e-9)
    # Statistics are told apart to 1/128: nearer ones may change places.
    sizes = sorted(set(np.round(z, 6)))
    if all(later - earlier > 0.02 for earlier, later in pairwise(sizes)) and apart(sample):
        np.testing.assert_allclose(tested.q, q, atol=1e-6)


def apart(sample: Sample) -> bool:
    """Whether no two different statistics of any labeling lie nearer than what is told apart."""
    groups = by_group(sample.strata)
    values = set()
    for labels in product((False, True), repeat=len(groups)):
        on_a = np.array(labels)
        if all(on_a[groups == g].sum() == sample.on_a[groups == g].sum() for g in set(groups.tolist())):
            values |= {round(each, 5) for each in plain(sample._replace(on_a=on_a))[0]}
    ordered = sorted(values)
    return all(later - earlier > 0.02 for earlier, later in pairwise(ordered))


@given(small())
@example(
    Sample(
        np.array([[0, 0], [0, 0], [0, 1], [0, 0], [1, 2], [1, 1], [3, 0]], np.float32),
        np.full(7, 3),
        np.array([False] * 4 + [True] * 3),
        np.array([0, 1, 1, 2, 1, 0, 0]),
    )
)
def test_sides_that_change_places_change_signs_only(sample: Sample) -> None:
    one, two = sample.tested(), sample._replace(on_a=~sample.on_a).tested()
    np.testing.assert_allclose(one.z, -two.z, atol=1e-5)
    np.testing.assert_allclose(one.p, two.p)
    np.testing.assert_allclose(one.q, two.q)
    np.testing.assert_allclose(one.matched, -two.matched, atol=1e-6)


@given(small())
def test_the_deviation_is_that_of_the_matched_difference_over_all_labelings(sample: Sample) -> None:
    tested, groups = sample.tested(), by_group(sample.strata)
    if not tested.used.any():
        assert np.isnan(tested.deviation).all()
        return
    found = []
    for labels in product((False, True), repeat=len(groups)):
        on_a = np.array(labels)
        if all(on_a[groups == g].sum() == sample.on_a[groups == g].sum() for g in set(groups.tolist())):
            relabelled = sample._replace(on_a=on_a).tested()
            weight = relabelled.matched  # each is divided by the weight of its own labeling
            found.append(weight * _weight(sample, on_a) / _weight(sample, sample.on_a))
    np.testing.assert_allclose(tested.deviation, np.std(found, axis=0), atol=1e-6)
    np.testing.assert_allclose(tested.matched, tested.z * tested.deviation, atol=1e-5)


def _weight(sample: Sample, on_a: NDArray[np.bool_]) -> float:
    """Σ N_a N_b / (N_a + N_b) over strata, in positions."""
    sizes = [
        [sample.positions[(sample.strata == stratum) & (on_a == side)].sum() for side in (True, False)]
        for stratum in np.unique(sample.strata)
    ]
    return sum(a * b / (a + b) for a, b in sizes)


def test_a_sample_of_labelings_tells_what_all_of_them_tell() -> None:
    random = np.random.default_rng(0)
    sample = Sample(
        random.poisson(3, (12, 30)).astype(np.float32), np.full(12, 20), np.arange(12) < 5, np.zeros(12, int)
    )
    every, drawn = sample.tested(permutations=1000), sample.tested(permutations=500)
    assert (every.labelings, drawn.labelings) == (792, 501)
    np.testing.assert_allclose(drawn.p, every.p, atol=0.09)
    np.testing.assert_allclose(drawn.z, every.z, atol=1e-5)


def made(seed: int, units: int = 60, features: int = 400) -> Sample:
    """Nothing differs; sixteen of the units are on side b."""
    random = np.random.default_rng(seed)
    positions = random.integers(150, 300, units)
    rates = 10 ** random.uniform(-3.5, -1, features) * np.exp(0.4 * random.normal(size=(units, features)))
    counts = random.binomial(positions[:, None], np.minimum(rates, 1)).astype(np.float32)
    return Sample(counts, positions, random.permutation(units) >= 16, by_length(np.zeros(units, int), positions))


def test_shuffled_labels_find_nothing_more_often_than_they_may() -> None:
    found = [bool((made(seed).tested(permutations=300).q < 0.05).any()) for seed in range(60)]
    assert sum(found) <= 6  # of 60 at a rate of 5 %: more in one of thirty runs, and the seeds are fixed


def test_what_is_planted_is_found_and_little_else() -> None:
    sample = made(0)
    sample.counts[:, :8] = np.random.default_rng(1).poisson(np.where(sample.on_a, 6, 24)[:, None], (60, 8))
    tested = sample.tested()
    assert (tested.q[:8] < 0.05).all() and (tested.q[8:] < 0.05).sum() <= 2
    assert (tested.z[:8] < 0).all() and (tested.matched[:8] < 0).all(), "side a has less of them"


def test_q_is_over_all_features_and_no_better_than_benjamini_and_hochberg() -> None:
    sample = made(3, features=300)
    sample.counts[:, 0] = np.random.default_rng(1).poisson(np.where(sample.on_a, 8, 12))
    alone = sample._replace(counts=sample.counts[:, :1]).tested()
    among = sample.tested()
    assert alone.z[0] == pytest.approx(among.z[0])
    assert among.q[0] > 5 * alone.q[0], "the more features are looked at, the surer a find has to be"
    assert (among.q >= alone.p[0]).all()
    pooled = np.abs(np.array([shuffled(sample, seed) for seed in range(400)]))
    own = np.array([(pooled >= abs(z)).mean() for z in among.z])
    expected = false_discovery_control(own)
    assert among.q[0] == pytest.approx(expected[0], abs=0.03) and (among.q >= 0.8 * expected - 0.02).all()


def shuffled(sample: Sample, seed: int) -> NDArray[np.float64]:
    """z of all features under labels dealt out anew, by a sum for each stratum."""
    random, on_a = np.random.default_rng(seed), sample.on_a.copy()
    for stratum in set(sample.strata.tolist()):
        on_a[sample.strata == stratum] = random.permutation(on_a[sample.strata == stratum])
    return sample._replace(on_a=on_a).tested(permutations=1).z


def test_labels_go_round_within_a_problem_only() -> None:
    """Right answers come from easy problems; a feature of easy problems says nothing about being right."""
    random = np.random.default_rng(5)
    problem = np.repeat(np.arange(30), 4)
    easy = problem % 2 == 0
    on_a = random.random(120) < np.where(easy, 0.85, 0.15)
    positions = random.integers(180, 220, 120)
    counts = random.binomial(positions[:, None], np.where(easy, 0.2, 0.05)[:, None], (120, 3)).astype(np.float32)
    sample = Sample(counts, positions, on_a, by_length(problem, positions))
    assert (sample.tested().q > 0.05).all()
    assert (sample._replace(strata=np.zeros(120, int)).tested().q < 0.01).all()
    assert all(len(set(problem[sample.strata == stratum])) == 1 for stratum in sample.strata)


@pytest.mark.parametrize("units", [60, 600])
def test_lengths_alone_make_no_feature_of_right_answers(units: int) -> None:
    """One fires late in long traces, one once a trace, one at the last twenty positions; wrong traces are longer."""
    found = np.zeros(3)
    for seed in range(10):
        random = np.random.default_rng(seed)
        positions = random.lognormal(np.log(170), 0.3, units).astype(int) + 20
        on_a = random.random(units) > 1 / (1 + np.exp(-(positions - 190) / 30))
        late = random.binomial(np.maximum(positions - 150, 0), 0.3)
        last = random.binomial(20, 0.3, units)
        counts = np.column_stack([late, np.ones(units), last]).astype(np.float32)
        sample = Sample(counts, positions, on_a, by_length(np.zeros(units, int), positions))
        found += sample.tested().q < 0.05
        assert (sample._replace(strata=np.zeros(units, int)).tested().q[:2] < 0.05).all(), "it would be, unmatched"
    assert (found <= 2).all()


def test_parts_of_different_lengths_are_compared_on_equally_many_positions() -> None:
    """A feature that fires once a trace, anywhere, is in the longer part more often: that makes it no feature of it."""
    random = np.random.default_rng(0)
    traces, thinking, answer = 40, 80, 20
    place = random.integers(0, thinking + answer, (traces, 200))
    positions = np.r_[np.full(traces, thinking), np.full(traces, answer)]
    strata = np.tile(np.arange(traces), 2)
    lengths = shortest(strata, positions)
    first = starts(lengths, positions, anywhere=True) + np.repeat([0, thinking], traces)
    inside = (np.tile(place, (2, 1)) >= first[:, None]) & (np.tile(place, (2, 1)) < (first + lengths)[:, None])
    sample = Sample(inside.astype(np.float32), lengths, np.arange(2 * traces) < traces, strata)
    assert set(lengths) == {answer}
    assert (sample.tested().q > 0.05).all()
    whole = np.r_[place < thinking, place >= thinking].astype(np.float32)
    assert (sample._replace(counts=whole, positions=positions).tested().q < 0.05).any()


def test_a_store_where_each_feature_fires_once_a_trace_shows_no_difference(tmp_path: Path) -> None:
    """Anywhere in 60 positions of thinking and 12 of an answer: in the longer part more often, for that alone."""
    experiment, random = sample_experiment("once", 20, latents=450), np.random.default_rng(5)
    segments: tuple[Segment, ...] = ("prompt",) * 2 + ("think",) * 60 + ("answer",) * 12
    inferences = []
    for each in sample_inferences(experiment):
        features = np.r_[np.arange(432, 444), random.permutation(432)].astype(np.int32).reshape(-1, 6)
        ones = np.ones(len(segments), np.float32)
        sums = {name: np.zeros(5) for name in dict.fromkeys(segments)}
        encodings = dict.fromkeys(HOOKPOINTS, Encoding(features, np.ones_like(features, np.float32), ones, ones, sums))
        inferences.append(
            replace(
                each, prompt_tokens=2, token_ids=np.zeros(len(segments), np.int32), texts=("a",) * len(segments),
                segments=segments, logprobs=-ones, encodings=encodings, mode="think", finish_reason="stop",
                alternatives=None,
            )
        )  # fmt: skip
    write_sample(tmp_path, experiment, inferences, built=20)
    with open_reader(tmp_path, "once") as reader:
        table = contrast(reader, AT, "think:answer", top=500)
    assert len(table) == 432 and (table["q"] > 0.05).all()
    assert np.allclose(60 * table["rate_a"] + 12 * table["rate_b"], 1), "rates are of all positions"


@given(some.lists(some.tuples(some.integers(0, 2), some.booleans(), some.integers(1, 9)), min_size=1, max_size=20))
def test_stretches_fit(units: list[tuple[int, bool, int]]) -> None:
    strata, on_a, positions = (np.array(part) for part in zip(*units, strict=True))
    for lengths in (shortest(strata, positions), common(strata, on_a, positions)):
        first = starts(lengths, positions, anywhere=True)
        assert ((first >= 0) & (first + lengths <= positions)).all()
        for stratum in set(strata.tolist()):
            used = lengths[(strata == stratum) & (lengths > 0)]
            assert len(set(used)) <= 1
    kept = common(strata, on_a, positions) > 0
    for stratum in set(strata[kept].tolist()):
        assert len(set(on_a[kept & (strata == stratum)])) == 2


@given(some.lists(some.tuples(some.integers(0, 3), some.integers(1, 50)), min_size=1, max_size=60))
def test_strata_of_like_lengths(units: list[tuple[int, int]]) -> None:
    groups, lengths = (np.array(part) for part in zip(*units, strict=True))
    strata = by_length(groups, lengths)
    for stratum in set(strata.tolist()):
        members = strata == stratum
        assert len(set(groups[members])) == 1
        same = groups == groups[members][0]
        assert members.sum() <= 11 and (members.sum() >= 6 or members.sum() == same.sum())
        between = same & (lengths > lengths[members].min()) & (lengths < lengths[members].max())
        assert (strata[between] == stratum).all(), "no other stratum lies between"


def test_intervals_are_over_inferences_not_tokens() -> None:
    """Half of the inferences fire everywhere, the others never: 10,000 tokens know the share, 20 traces do not."""
    counts = np.tile([[0], [500]], (20, 1)).astype(np.float32)
    on_a = np.arange(40) < 20
    low, high = intervals(csc_array(counts), np.full(40, 500), on_a, np.arange(40))
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * (2 * 0.25 / 20) ** 0.5, rel=0.15)
    paired, _ = intervals(csc_array(np.r_[counts[:20], counts[:20]]), np.full(40, 500), on_a, np.arange(40) % 20)
    assert paired[0] == 0, "an inference brings both its parts"
    few = intervals(csc_array(counts[:3]), np.full(3, 500), np.array([True, False, False]), np.arange(3))
    assert np.isnan(few).all()


def test_answers_to_one_problem_are_one_case() -> None:
    """Each problem run five times with the same outcome knows no more than each run once."""
    counts = np.random.default_rng(3).integers(0, 9, (24, 2)).astype(np.float32)
    on_a = np.arange(24) < 12
    once = intervals(csc_array(counts), np.full(24, 9), on_a, np.arange(24))
    five = np.tile(np.arange(24), 5)
    often = intervals(csc_array(counts[five]), np.full(120, 9), on_a[five], five)
    np.testing.assert_allclose(np.array(often), np.array(once), rtol=1e-6)
    alone = intervals(csc_array(counts[five]), np.full(120, 9), on_a[five], np.arange(120))
    assert (np.diff(alone, axis=0) < 0.6 * np.diff(once, axis=0)).all(), "five times as many would"


@pytest.mark.parametrize("between", ["right:wrong", "finished:cut-off"])
@pytest.mark.parametrize("problems", [4, 13])
def test_a_store_is_compared_within_problems_else_among_like_lengths(
    tmp_path: Path, between: Between, problems: int
) -> None:
    """Thirteen inferences of four problems, or of as many; every labeling within strata is listed, and no other."""
    experiment = sample_experiment("some", 13)
    one, two = between.split(":")
    drawn = [
        replace(
            each, problem=each.inference % problems, question=f"{each.inference % problems}?",
            correct=each.inference % 3 > 0,
            finish_reason="length" if one == "finished" and each.inference % 3 else "stop",
        )
        for each in sample_inferences(experiment)
    ]  # fmt: skip
    write_sample(tmp_path, experiment, drawn, built=13)
    with open_reader(tmp_path, "some") as reader:
        found = contrast(reader, AT, between, top=100).set_index("feature")
    on_a = {each.inference: (each.inference % 3 > 0) == (one == "right") for each in drawn}
    order = sorted(drawn, key=lambda each: (each.generated_tokens, each.inference))
    if problems == 4:
        strata = [[each for each in drawn if each.problem == problem] for problem in range(4)]
    else:
        strata = [order[:7], order[7:]] if one == "right" else [drawn]
    numbers = [(len(group), sum(on_a[each.inference] for each in group)) for group in strata]
    if one == "right":
        ways = prod(comb(size, of_a) for size, of_a in numbers)
        assert set(found["labelings"]) == {min(ways, 1001)}
        assert set(found["tested"]) == {sum(size for size, of_a in numbers if 0 < of_a < size)}
        sums = np.zeros(24), 0.0
        for group in strata:
            sides = [[each for each in group if on_a[each.inference] is side] for side in (True, False)]
            if not all(sides):
                continue
            parts = [[(each, range(each.prompt_tokens, len(each.texts))) for each in side] for side in sides]
            a, b = (sum(each.generated_tokens for each in side) for side in sides)
            difference = rates(parts[0], 24)[0] - rates(parts[1], 24)[0]
            sums = sums[0] + a * b / (a + b) * difference, sums[1] + a * b / (a + b)
        np.testing.assert_allclose(found["matched"], (sums[0] / sums[1])[found.index], atol=1e-6)
    else:
        assert found["tested"].iloc[0] <= 13 and two == "cut-off"


# ---- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "word", "expected"),
    [
        (["a", " b", " c", " Wait", ",", " d", " e", " f"], "wait", ([0, 1, 2], [4, 5, 6])),
        (["Wait", " no"], "wait", ([], [1])),
        (["x", " wait", " y", " wait", " z"], "Wait", ([0], [4])),  # y is after one and before the other
        (["x", " a", "wait", "ed", "ing"], "wait", ([], [])),
        (["x", "Wait", "ing", " y"], "wait", ([], [])),
        (["x", " W", "ait", ".", " y"], "wait", ([0], [3, 4])),
        (["so", " let", " me", " see"], "let me", ([0], [3])),
        (["so", " WAIT", " y"], "wait", ([], [])),
        (["so", " WAIT", " y"], "WAIT", ([0], [2])),
        (["x", "", " wait", "", " y"], "wait", ([0, 1], [3, 4])),
        (["x wait", " y"], "wait", ([], [])),  # not a token of its own
        (["a", "</think>", "b"], "</think>", ([0], [2])),
    ],
)
def test_where_a_word_stands(texts: list[str], word: str, expected: tuple[list[int], list[int]]) -> None:
    assert around(texts, pattern(word)) == Around(*expected)
    assert around(texts, pattern(word), 10) == Around(*([10 + at for at in side] for side in expected))


# ---- bad input, and what there is too little of ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("between", "given", "error", "said"),
    [
        ("right:left", {}, UnknownName, "known: right:wrong, think:answer"),
        ("before:after", {}, BadValue, "needs --word"),
        ("before:after", {"word": "  "}, BadValue, "1 to 60 characters"),
        ("before:after", {"word": "elephant"}, BadValue, "'elephant' never stands in scope generated"),
        ("right:wrong", {"word": "wait"}, BadValue, "no other contrast takes it"),
        ("experiments", {}, BadValue, "needs? --other"),
        ("right:wrong", {"scope": "prompt", "top": 0}, BadValue, "top is 0"),
        ("right:wrong", {"scope": "thought"}, UnknownName, "scope"),
    ],
)
def test_mistakes_are_told(stored: Stored, between: Between, given: dict, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        contrast(stored.reader, AT, between, **given)
    with pytest.raises(UnknownName, match="hookpoint"):
        contrast(stored.reader, "layers.99.mlp", "right:wrong")


def test_experiments_that_cannot_be_compared_say_what_differs(tmp_path: Path, stored: Stored) -> None:
    made = {
        "model": {"model": "another"}, "sae": {"sae": "another"}, "site": {"site": "residual"},
        "temperature": {"mode": "bypass", "temperature": 1.5},
    }  # fmt: skip
    for name, config in made.items():
        experiment = sample_experiment(name, 2, **config)
        write_sample(tmp_path, experiment, sample_inferences(experiment), built=2)
        with open_reader(tmp_path, name) as other, pytest.raises(NotComparable, match=f"differ in {name}: "):
            contrast(stored.reader, AT, "think:bypass", other=other)
    with open_reader(tmp_path, "temperature") as other:
        contrast(stored.reader, AT, "experiments", other=other)
        with pytest.raises(BadValue, match="both of mode bypass"):
            contrast(other, AT, "think:bypass", other=other)
    strange = sample_experiment("strange", 2)
    write_sample(tmp_path, strange, [replace(each, question="?") for each in sample_inferences(strange)], built=2)
    with open_reader(tmp_path, "strange") as other, pytest.raises(BadValue, match="no problem in common"):
        contrast(stored.reader, AT, "experiments", other=other)


def test_a_side_without_inferences_is_counted(tmp_path: Path) -> None:
    experiment = sample_experiment("right", 6)
    right = [replace(each, correct=True) for each in sample_inferences(experiment)]
    write_sample(tmp_path, experiment, right, built=6)
    with open_reader(tmp_path, "right") as reader, pytest.raises(BadValue, match=r"5 right, 0 wrong of 6 inferences"):
        contrast(reader, AT, "right:wrong")


def test_what_there_is_too_little_of_is_said(tmp_path: Path) -> None:
    experiment = sample_experiment("few", 8)
    drawn = sample_inferences(experiment)
    few = [replace(each, correct=index > 0, finish_reason="stop") for index, each in enumerate(drawn)]
    write_sample(tmp_path, experiment, few, built=8)
    with open_reader(tmp_path, "few") as reader:
        found = contrast(reader, AT, "right:wrong")
    assert found["low"].isna().all() and found["labelings"].iloc[0] == 8
    told = " ".join(caveats(found, "right:wrong"))
    assert "Only 1 inference wrong" in told and "8 ways only" in told and "No feature has q < 0.05" in told
    needed = int(found["needed"].min())
    feature = found["feature"][found["needed"].idxmin()]
    assert f"Feature {feature}, the nearest, would take about {needed:,} inferences" in told and needed > 8
    assert caveats(found.head(0), "right:wrong") == ["No feature fires on either side."]


def test_where_no_lengths_are_alike_nothing_is_tested() -> None:
    positions = np.r_[np.full(12, 50), np.full(12, 500)]
    sample = Sample(np.ones((24, 1), np.float32), positions, positions < 100, by_length(np.zeros(24, int), positions))
    tested = sample.tested()
    assert not tested.used.any() and tested.p[0] == tested.q[0] == 1 and np.isnan(tested.matched[0])


def test_more_inferences_are_needed_for_less() -> None:
    """As many as it says do show it, in about four cases of five."""
    random, shown, needed = np.random.default_rng(2), [], []

    def drawn(units: int) -> Sample:
        on_a = np.arange(units) % 2 == 0
        counts = random.poisson(np.where(on_a, 10, 13)[:, None], (units, 1))
        null = random.poisson(10, (units, 49))
        return Sample(np.c_[counts, null].astype(np.float32), np.full(units, 100), on_a, np.zeros(units, int))

    big = drawn(4000).tested()
    needed = 4000 * ((big.threshold + 0.84) / abs(big.z[0])) ** 2
    assert 40 < needed < 150
    shown = [drawn(int(needed)).tested(permutations=300).q[0] < 0.05 for _ in range(40)]
    assert 22 <= sum(shown) <= 39

"""Whether a feature follows the word or the phase, against plain loops over positions; and what was planted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from kthink_core.cli import main
from kthink_core.errors import OutOfRange
from kthink_core.evidence import phase_parts
from kthink_core.evidence import think_or_word as tested
from kthink_core.evidence.bootstrap import draws
from kthink_core.evidence.phase_finding import finding
from kthink_core.evidence.phase_parts import Counts, Part, Parts, parts_of
from kthink_core.evidence.think_or_word import remarks, think_or_word, think_or_word_tokens
from kthink_core.queries import top_tokens
from kthink_core.records import Inference
from kthink_core.store.reader import Reader, open_reader
from kthink_core.ui.guided_reading import HOOKPOINT, THINKING
from tests.store_samples import HOOKPOINTS, sample_experiment, sample_inferences, write_sample

AT = HOOKPOINTS[0]
EXPERIMENT = sample_experiment(inferences=60)
RECORDS = [replace(one, problem=one.inference // 3) for one in sample_inferences(EXPERIMENT)]
SIDES = ("think", "answer")
Z = 1.959963984540054

Cell = tuple[int, int]
"""How often a token stands there, and the feature fires on it."""
Cells = dict[tuple[int, int, str], Cell]
"""By token, problem and side."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Three inferences a problem, in a database and an increment."""
    cache = tmp_path_factory.mktemp("cache")
    write_sample(cache, EXPERIMENT, RECORDS, built=40)
    with open_reader(cache, EXPERIMENT.name) as opened:
        yield opened


# ---- by hand --------------------------------------------------------------------------------------------------------


def cells_of(records: Sequence[Inference], feature: int) -> tuple[Cells, dict[tuple[int, str], int]]:
    """Tokens on which it fires; and the positions of each problem and side."""
    cells: Cells = {}
    totals: dict[tuple[int, str], int] = {}
    for one in records:
        encoding = one.encodings[AT]
        for position, (token, side) in enumerate(zip(one.token_ids.tolist(), one.segments, strict=True)):
            if side == "prompt":
                continue
            at = zip(encoding.features[position], encoding.activations[position], strict=True)
            fires = any(number == feature and activation > 0 for number, activation in at)
            n, f = cells.get((token, one.problem, side), (0, 0))
            cells[token, one.problem, side] = n + 1, f + fires
            totals[one.problem, side] = totals.get((one.problem, side), 0) + 1
    own = {token for (token, *_), (_, f) in cells.items() if f}
    return {key: cell for key, cell in cells.items() if key[0] in own}, totals


def summed(cells: Cells, drawn: dict[int, int]) -> dict[tuple[int, str], Cell]:
    """By token and side, each problem as often as it is drawn."""
    found: dict[tuple[int, str], Cell] = {}
    for (token, problem, side), (n, f) in cells.items():
        before = found.get((token, side), (0, 0))
        found[token, side] = before[0] + drawn[problem] * n, before[1] + drawn[problem] * f
    return found


def by_hand(
    cells: Cells, totals: dict[tuple[int, str], int], drawn: dict[int, int], among: set[int]
) -> tuple[float, ...]:
    """Difference, words, phase, one-sided."""
    whole = {side: sum(n * drawn[problem] for (problem, at), n in totals.items() if at == side) for side in SIDES}
    by_token = summed(cells, drawn)
    rates = {side: sum(f for (_, at), (_, f) in by_token.items() if at == side) / whole[side] for side in SIDES}
    words = phase = 0.0
    for token in among:
        (n, f), (m, g) = (by_token.get((token, side), (0, 0)) for side in SIDES)
        if n and m:
            p, q, r, s = n / whole["think"], m / whole["answer"], f / n, g / m
            words += (p - q) * (r + s) / 2
            phase += (r - s) * (p + q) / 2
    difference = rates["think"] - rates["answer"]
    return difference, words, phase, difference - words - phase


class Share(NamedTuple):
    value: float
    low: float
    high: float


def share_by_hand(cells: Sequence[Cell]) -> Share:
    """Of the cells of one token and side, a problem each."""
    n, f = (sum(column) for column in zip(*cells, strict=True))
    share, m = f / n, len(cells)
    if m < 2:
        return Share(share, math.nan, math.nan)
    counted = m
    if 0 < f < n:
        between = m / (m - 1) * sum((g - share * k) ** 2 for k, g in cells) / n**2
        counted = min(n, share * (1 - share) / between) if between else n
    # What p would be as far from the share as 1.96 of its own standard deviations: the roots of a parabola.
    a, b, c = 1 + Z**2 / counted, -(2 * share + Z**2 / counted), share**2
    root = math.sqrt(max(b * b - 4 * a * c, 0))
    return Share(share, (-b - root) / (2 * a), (-b + root) / (2 * a))


@pytest.mark.parametrize(("feature", "most"), [(0, 250), (2, 250), (5, 250), (7, 250), (5, 3)])
def test_counts_shares_and_parts_are_those_of_plain_loops(
    reader: Reader, feature: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (phase_parts, tested):
        monkeypatch.setattr(module, "MOST", most)
    cells, totals = cells_of(RECORDS, feature)
    problems = sorted({problem for problem, _ in totals})
    once = dict.fromkeys(problems, 1)
    by_token = summed(cells, once)
    tokens = sorted({token for token, *_ in cells})
    whole = {side: sum(n for (_, at), n in totals.items() if at == side) for side in SIDES}
    fired = {token: sum(by_token.get((token, side), (0, 0))[1] for side in SIDES) for token in tokens}
    first = sorted(tokens, key=lambda token: (-fired[token], token))[:most]
    among = {token for token in first if all(by_token.get((token, side), (0, 0))[0] >= 5 for side in SIDES)}

    table = think_or_word_tokens(reader, AT, feature)
    order = sorted(tokens, key=lambda token: (token not in among, -fired[token], token))
    assert table["token_id"].tolist() == order and table["comparable"].tolist() == [one in among for one in order]
    shares: dict[tuple[int, str], Share] = {}
    for row in table.to_dict("records"):
        token, points = row["token_id"], 0.0
        for side, sign in zip(SIDES, (1, -1), strict=True):
            n, f = by_token.get((token, side), (0, 0))
            assert (row[f"{side}_positions"], row[f"{side}_active"]) == (n, f)
            points += sign * f / whole[side]
            if n:
                own = [cell for (one, _, at), cell in cells.items() if (one, at) == (token, side)]
                shares[token, side] = share_by_hand(own)
                found = [row[f"{side}_{name}"] for name in ("share", "low", "high")]
                assert found == pytest.approx(shares[token, side], nan_ok=True)
            else:
                assert math.isnan(row[f"{side}_share"])
        assert row["points"] == pytest.approx(points)

    one = think_or_word(reader, AT, feature).iloc[0].to_dict()
    values = by_hand(cells, totals, once, among)
    names = {"difference": "", "words": "words_", "phase": "phase_", "one_sided": "one_sided_"}
    assert [one[name] for name in names] == pytest.approx(values, abs=1e-6)
    resampled = [by_hand(cells, totals, dict(zip(problems, map(int, row), strict=True)), among) for row in draws(20)]
    for place, (name, prefix) in enumerate(names.items()):
        low, high = np.quantile([row[place] for row in resampled], (0.025, 0.975))
        below = above = 0.0
        for token in among if name in ("words", "phase") else ():
            mix = [by_token[token, side][0] / whole[side] for side in SIDES]
            half = (mix[0] - mix[1]) / 2
            weights = (half, half) if name == "words" else (sum(mix) / 2, -sum(mix) / 2)
            for weight, side in zip(weights, SIDES, strict=True):
                share = shares[token, side]
                reach = weight * (share.low - share.value), weight * (share.high - share.value)
                below, above = below + min(reach) ** 2, above + max(reach) ** 2
        expected = min(low, values[place] - below**0.5), max(high, values[place] + above**0.5)
        assert (one[f"{prefix}low"], one[f"{prefix}high"]) == pytest.approx(
            (low, high) if name in ("difference", "one_sided") else expected, abs=1e-6
        )
    assert one["tokens"] == len(tokens) and one["tokens_compared"] == len(among)
    weights = {token: sum(by_token[token, side][0] / whole[side] for side in SIDES) for token in among}
    for side in SIDES:
        like = sum(weights[token] * by_token[token, side][1] / by_token[token, side][0] for token in among)
        assert one[f"like_{side}"] == pytest.approx(like / sum(weights.values()))
        assert one[f"{side}_share"] == one[f"{side}_active"] / whole[side]
    assert one["problems"] == sum(all((problem, side) in totals for side in SIDES) for problem in problems)
    assert sum(table["points"].tolist()) == pytest.approx(one["difference"], abs=1e-6)


# ---- what was planted -----------------------------------------------------------------------------------------------

RATES = np.array([0.02, 0.1, 0.3, 0.5, 0.95])


def made_up(
    random: np.random.Generator, rates: np.ndarray, mixes: np.ndarray, problems: int, spread: float = 0.0
) -> Counts:
    """Of each problem some 100 tokens of a thought and 40 of an answer by `mixes`, [2, tokens], fired on by `rates`,
    [2, tokens]; problems differ by `spread` in the log-odds."""
    rows, totals = [], np.zeros((2, problems), np.int64)
    for problem in range(problems):
        shift = random.normal(0, spread)
        for side, size in ((0, 100), (1, 40)):
            totals[side, problem] = size
            for token, n in enumerate(random.multinomial(size, mixes[side])):
                odds = rates[side, token] / (1 - rates[side, token]) * math.exp(shift)
                rows += [(token, problem, side, n, random.binomial(n, odds / (1 + odds)))] if n else []
    token, problem, side, n, f = np.array(rows, np.int64).T
    fired = np.zeros((2, problems), np.int64)
    np.add.at(fired, (side, problem), f)
    return Counts(token, problem, side, n, f, totals, fired)


def of(counts: Counts) -> str:
    active = np.bincount(counts.side, counts.active, 2)
    positions = counts.totals.sum(axis=1)
    return finding(parts_of(counts), tuple(map(int, active)), tuple(map(int, positions)), counts.totals.shape[1])


def test_what_was_planted_is_found() -> None:
    random = np.random.default_rng(3)
    same, other = np.full((2, 5), 0.2), np.array([[0.05, 0.05, 0.1, 0.3, 0.5], [0.5, 0.3, 0.1, 0.05, 0.05]])
    word, phase = np.stack([RATES, RATES]), np.array([[0.6] * 5, [0.1] * 5])
    assert of(made_up(random, word, other, 40)) == "word"
    assert of(made_up(random, phase, same, 40)) == "phase"
    assert of(made_up(random, np.stack([RATES, RATES / 3]), other, 40)) == "both"
    assert of(made_up(random, word, same, 40)) == "no difference"
    apart = np.array([[0.0, 0.0, 0.0, 0.2, 0.8], [0.5, 0.3, 0.2, 0.0, 0.0]])
    assert of(made_up(random, word, apart, 40)) == "cannot be told"
    assert of(made_up(random, word, other, 4)) == "too few"


@pytest.mark.parametrize("problems", [6, 30])
def test_what_fires_alike_on_each_token_is_rarely_said_to_follow_the_phase(problems: int) -> None:
    """However many stand on either side, and however much problems differ: bootstrap alone would say so of 14 % of
    features over six problems."""
    random = np.random.default_rng(11)
    found = 0
    for _ in range(100):
        mixes = random.dirichlet(np.full(10, 0.7), 2)
        rates = random.choice(RATES, 10)
        found += parts_of(made_up(random, np.stack([rates, rates]), mixes, problems, 0.8)).phase.is_sure
    assert found <= 5


# ---- where there is little ------------------------------------------------------------------------------------------


def test_where_nothing_can_be_said_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thoughts = [one for one in sample_inferences(EXPERIMENT, 30) if set(one.segments) == {"prompt", "think"}]
    one_phase = [replace(one, inference=number) for number, one in enumerate(thoughts[:6])]
    for name, records in (("thoughts", one_phase), ("few", RECORDS[:4]), ("none", [])):
        write_sample(tmp_path, sample_experiment(name, max(len(records), 1)), records, built=len(records))
    said = {}
    for name, feature in (("thoughts", 2), ("few", 2), ("few", 20), ("none", 2)):
        with open_reader(tmp_path, name) as reader:
            table = think_or_word(reader, AT, feature)
            (said[name, feature],) = remarks(table)
            assert all(map(math.isnan, table["low"])) or name == "few"
            assert len(think_or_word_tokens(reader, AT, feature, top=1)) == (feature == 2 and name != "none")
            with pytest.raises(OutOfRange):
                think_or_word_tokens(reader, AT, 24)
    assert said["thoughts", 2].startswith("All that the model wrote is inside a thought")
    assert said["few", 2].startswith("Too few occurrences")
    assert said["few", 20] == said["none", 2] == "It never fires in what the model wrote."
    asked = ["think-or-word", "--experiment", "few", "--hookpoint", AT, "--feature", "2", "--cache", str(tmp_path)]
    assert main(["query", *asked]) == 0
    assert "Too few occurrences" in capsys.readouterr().err


def test_sentences_name_the_side_and_the_doubt() -> None:
    sure, unsure = Part(-0.1, -0.2, -0.05), Part(0.01, -0.1, 0.1)
    nothing = Part(0.0, 0.0, 0.0)
    parts = Parts(sure, unsure, nothing, sure, 0.25, 0.125)
    row = dict(zip(("difference", "words", "phase", "one_sided"), (part.value for part in parts[:4]), strict=True))
    row |= {"phase_low": 0.0, "phase_high": 0.0, "like_think": 0.25, "like_answer": 0.125, "tokens": 7}
    row |= {
        "finding": finding(parts, (10, 10), (50, 50), 9),
        "tokens_compared": 1,
        "think_active": 10,
        "think_positions": 50,
    }
    first, second = remarks(pd.DataFrame([row | {"answer_active": 10, "problems": 9}]))
    assert "stand fewer than 5 times inside a thought" in first
    assert "at 25.0 % inside a thought and at 12.5 % outside, no more apart" in second


# ---- what the guided reading says of the demo -----------------------------------------------------------------------


def test_the_guided_reading_says_of_the_demo_what_is_so(demo: Path) -> None:
    with open_reader(demo, "demo") as reader:
        for feature in THINKING:
            one = think_or_word(reader, HOOKPOINT, feature).iloc[0].to_dict()
            assert one["finding"] == "cannot be told"
            assert 0.07 < one["think_share"] < 0.15 and one["answer_share"] < 0.02
            assert one["one_sided"] > one["difference"] / 2
        table = think_or_word_tokens(reader, HOOKPOINT, THINKING[0]).set_index("text")
        assert (table.loc[[" Now", " Hmm", " Maybe"], "answer_positions"] == 0).all()
        assert (table.loc[["Therefore"], "answer_active"] > 0).all()
        strongest = top_tokens(reader, HOOKPOINT, THINKING[0], top=10)["text"].str.strip()
        assert {"Well", "Okay", "Now", "Hmm", "Therefore"} <= set(strongest)

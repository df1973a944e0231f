"""The figures of a sweep against plain loops over its runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, product
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.evidence.bootstrap import draws
from kthink_core.evidence.paired_means import mean, sign_flip_p
from kthink_core.evidence.steer_table import COLUMNS as STEERED
from kthink_core.evidence.steer_table import DISCORDANT, steer_table, too_few
from kthink_core.evidence.sweep_figures import (
    COLUMNS,
    MEASURES,
    RUN_COLUMNS,
    Measure,
    benjamini_hochberg,
    figures,
    remarks,
    runs,
)
from kthink_core.records import Check
from kthink_core.store.sweeps import Run, Sweep
from tests.share_intervals import newcombe_of, wilson_of
from tests.sweep_samples import made_up


def value(run: Run, measure: Measure) -> float:
    right = run.correct and run.finish_reason == "stop"
    found = {"accuracy": right, "tokens": run.tokens, "closed": run.closed, "repetition": run.repetition}[measure]
    assert found is not None
    return float(found)


def resampled(by_problem: list[list[float]]) -> tuple[float, float]:
    """Ends of the interval: problems drawn as often as the bootstrap draws them, with all their runs, one by one."""
    means = []
    for times in draws(len(by_problem)):
        drawn = [number for often, own in zip(times, by_problem, strict=True) for _ in range(often) for number in own]
        means.append(fmean(drawn))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize(("missing", "cut"), [(0.0, 0.4), (0.3, 0.0)])
def test_every_figure_is_that_of_plain_loops(missing: float, cut: float) -> None:
    sweep = made_up(missing=missing, seed=3, cut=cut)
    table = figures(sweep)
    assert tuple(table) == COLUMNS
    assert table["measure"].tolist() == [name for name in MEASURES for _ in sweep.arms]
    tested = []
    for (measure, number), row in zip(product(MEASURES, range(len(sweep.arms))), table.itertuples(), strict=True):
        own = {run.key[1:]: value(run, measure) for run in sweep.runs if run.arm == number}
        base = {run.key[1:]: value(run, measure) for run in sweep.runs if run.arm == 0}
        assert row.runs == len(own) and row.problems == len({problem for problem, _ in own})
        assert row.mean == pytest.approx(fmean(own.values()))
        grouped = [[v for (p, _), v in own.items() if p == problem] for problem in sorted({p for p, _ in own})]
        ends = wilson_of(grouped) if measure in ("accuracy", "closed") else resampled(grouped)
        assert (row.low, row.high) == pytest.approx(ends)
        if not number:
            assert np.isnan([row.difference, row.p, row.q]).all() and np.isnan(row.strength)
            continue
        both = sorted(own.keys() & base.keys())
        apart = [[own[key] - base[key] for key in both if key[0] == p] for p in sorted({p for p, _ in both})]
        assert row.baseline == pytest.approx(fmean(base[key] for key in both))
        assert row.difference == pytest.approx(fmean(chain(*apart)))
        ends = resampled(apart)
        if measure in ("accuracy", "closed"):
            ends = newcombe_of(*([[of[key] for key in both if key[0] == p] for p in sorted({p for p, _ in both})]
                                 for of in (own, base)))  # fmt: skip
        assert (row.difference_low, row.difference_high) == pytest.approx(ends)
        sums = [sum(own) for own in apart]
        ways = [
            abs(sum(s * sign for s, sign in zip(sums, signs, strict=True)))
            for signs in product((1, -1), repeat=len(sums))
        ]
        assert row.p == pytest.approx(fmean(way >= abs(sum(sums)) - 1e-9 for way in ways))
        tested.append(row.p)
    ascending = sorted(tested)
    for row in table[table["p"].notna()].itertuples():  # the smallest q at which it is called
        least = min(p * len(tested) / rank for rank, p in enumerate(ascending, 1) if p >= row.p)
        assert row.q == pytest.approx(min(1, least))


def test_arms_have_the_strength_times_the_maximum() -> None:
    table = figures(made_up(strengths=(0.0, 1.5)))
    arms = table[table["measure"] == "tokens"]
    assert arms["feature"].tolist()[1:] == [7, 7, 8, 8]
    assert arms["value"].tolist()[1:] == [0, 3, 0, 3] and arms["strength"].tolist()[1:] == [0, 1.5, 0, 1.5]


def test_the_sign_flips_of_many_problems_are_drawn_and_of_no_effect_find_none() -> None:
    random = np.random.default_rng(5)
    assert sign_flip_p(np.ones(30)) == pytest.approx(1 / 10_000)
    assert sign_flip_p(np.zeros(30)) == 1
    found = np.array([sign_flip_p(random.normal(size=14)) for _ in range(200)])
    assert 2 <= (found <= 0.05).sum() <= 22  # 10 expected


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9))
def test_a_p_does_not_depend_on_which_side_is_called_the_baseline(sums: list[int]) -> None:
    values = np.array(sums, dtype=np.float64)
    assert sign_flip_p(values) == sign_flip_p(-values)
    assert sign_flip_p(values) >= 2 ** (1 - len(sums))


def test_one_problem_has_no_interval() -> None:
    one = mean(np.array([3.0]), np.array([2]))
    assert one.value == 1.5 and np.isnan(one.low) and np.isnan(one.high)
    assert np.isnan(mean(np.empty(0), np.empty(0, np.int64)).value)
    assert np.isnan(sign_flip_p(np.array([1.0])))
    table = figures(made_up(problems=1))
    assert table["p"].isna().all() and table["q"].isna().all() and table["difference"].notna().sum() == 16


def solved(sweep: Sweep, arm: int) -> dict[int, bool]:
    """By problem: whether more than half of its samples are right."""
    found: dict[int, list[bool]] = {}
    for run in sweep.runs:
        if run.arm == arm:
            found.setdefault(run.problem, []).append(bool(value(run, "accuracy")))
    return {problem: sum(right) > len(right) / 2 for problem, right in found.items()}


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_the_table_pairs_problems_not_runs(samples: int) -> None:
    sweep = made_up(problems=12, samples=samples, seed=samples, cut=0.3)
    table = steer_table(sweep)
    assert tuple(table) == STEERED and len(table) == len(sweep.arms) - 1
    before = solved(sweep, 0)
    for number, row in enumerate(table.itertuples(), 1):
        after = solved(sweep, number)
        assert row.n == 12
        assert row.b == sum(before[p] and not after[p] for p in before)
        assert row.c == sum(after[p] and not before[p] for p in before)
        assert row.accuracy_baseline == pytest.approx(fmean(before.values()))
        assert row.accuracy == pytest.approx(fmean(after.values()))
        assert row.difference == pytest.approx((row.c - row.b) / 12)
        ends = newcombe_of(*([[float(of[p])] for p in sorted(before)] for of in (after, before)))
        assert (row.difference_low, row.difference_high) == pytest.approx(ends)
        few, both = min(row.b, row.c), row.b + row.c
        ways = [min(sum(way), both - sum(way)) <= few for way in product((0, 1), repeat=both)]
        assert row.p == pytest.approx(fmean(ways) if few * 2 != both else 1)
        tokens = {(run.arm, *run.key[1:]): run.tokens for run in sweep.runs}
        longer = [[tokens[number, p, s] - tokens[0, p, s] for s in range(samples)] for p in range(12)]
        assert row.length_difference == pytest.approx(fmean(chain(*longer)))
        assert (row.length_low, row.length_high) == pytest.approx(
            resampled([[float(v) for v in own] for own in longer])
        )
    order = np.argsort(table["p"], kind="stable")
    stepped = np.maximum.accumulate(table["p"].to_numpy()[order] * np.arange(len(table), 0, -1)).clip(max=1)
    assert table["p_holm"].to_numpy()[order] == pytest.approx(stepped)


def test_problems_without_references_have_lengths_only() -> None:
    sweep = made_up(referenced=False)
    table = steer_table(sweep)
    assert (table["n"] == 0).all() and table[["p", "p_holm", "accuracy"]].isna().all(axis=None)
    assert table["length_difference"].notna().all()
    assert any("no reference" in remark for remark in remarks(sweep))
    assert too_few(table) == []


def test_what_is_too_little_is_said() -> None:
    sweep = made_up(problems=4, samples=1, missing=0.5)
    assert any("not complete" in remark for remark in remarks(sweep))
    assert any("no difference has a p below 0.12" in remark for remark in remarks(sweep))
    assert str(DISCORDANT) in too_few(steer_table(made_up(problems=4)))[0]


def test_runs_say_what_steering_did() -> None:
    sweep = made_up(problems=2, samples=2)
    table = runs(sweep)
    assert tuple(table) == RUN_COLUMNS and len(table) == len(sweep.runs)
    assert table["positions"].isna().sum() == 4 and table["feature"].isna().sum() == 4
    assert table["change"].dropna().unique().tolist() == [0.5] and table["after"].dropna().unique().tolist() == [1.2]
    assert table["seed"].tolist()[:4] == [4, 6, 5, 7]


def test_what_was_tried_on_a_run_is_told_and_what_does_not_hold_loudly() -> None:
    held, broken = Check("as it is", 1e-8, 1e-6), Check("as it is", 0.5, 1e-6)
    sweep = made_up(problems=4, samples=1)
    checks = {(1, 0, 0): (held, Check("silent", 0.0, 0.0)), (2, 0, 0): (held,), (2, 1, 0): (broken,)}
    given = [
        run.model_copy(update={"receipt": run.receipt and replace(run.receipt, checks=checks.get(run.key, ()))})
        for run in sweep.runs
    ]
    tried = Sweep.model_validate_json(sweep.model_copy(update={"runs": tuple(given)}).model_dump_json())
    table, each = steer_table(tried), runs(tried)
    said = ["as it is 1e-08 of 1e-06; silent 0 of 0", "as it is 0.5 of 1e-06", "", ""]
    assert table["checks"].fillna("").tolist() == said
    assert table["checks_failed"].tolist() == [0, 1, 0, 0]
    assert (table["change"] == 0.5).all() and (table["change_max"] == 0.9).all()
    assert each["change_max"].dropna().tolist() == [0.9] * 16 and each["checks"].notna().sum() == 3
    (told,) = [remark for remark in remarks(tried) if "does not hold" in remark]
    assert "in 1 of 2 runs" in told and "layers.0.mlp:7 clamp 1.5×: as it is 0.5 of 1e-06." in told
    assert not any("hold" in remark for remark in remarks(sweep))


def test_what_was_cut_off_at_the_limit_has_no_answer_and_solves_nothing() -> None:
    """Although its answer stands in it and is right, as older sweeps store it, too."""
    sweep = made_up(cut=1.0)
    assert any(run.correct for run in sweep.runs) and all(run.answer for run in sweep.runs)
    accuracy = figures(sweep).query("measure == 'accuracy'")
    assert (accuracy["mean"] == 0).all() and (accuracy["runs"] == 15).all()
    solved_of = steer_table(sweep)
    assert (solved_of[["accuracy_baseline", "accuracy", "b", "c"]] == 0).all(axis=None)
    told = runs(sweep)
    assert told["answer"].isna().all() and not told["correct"].any()
    assert runs(made_up(cut=1.0, referenced=False))["correct"].isna().all()


def test_benjamini_hochberg_by_hand() -> None:
    found = benjamini_hochberg(np.array([0.01, np.nan, 0.04, 0.03]))
    assert found[[0, 2, 3]] == pytest.approx([0.03, 0.04, 0.04]) and np.isnan(found[1])

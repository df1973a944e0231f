"""Sweeps on the tiny model: the same generations as the experiment's, steered as asked; gone on with after a break."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stand_in import SHAPES
from kthink_core.errors import BadFile, BadValue, KthinkError, OutOfRange, PromptTooLong, UnknownName
from kthink_core.evidence.sweep_question import KIND, ProblemSet, Wish, asked_of, begun, own_problems
from kthink_core.interventions.sweep import Machine, repetition, run_sweep
from kthink_core.model.generate import generate
from kthink_core.model.language_model import text_of
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import steering
from kthink_core.precompute.pipeline import Plan, plan_with, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.prompts import Grade
from kthink_core.records import Intervention, Problem
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.studies import list_studies, made_with, save_study
from kthink_core.store.sweeps import MOST_RUNS, Sweep, questions_of

HOOKPOINT = SHAPES["tiny"].hookpoints[0]


@pytest.fixture(scope="module")
def sampled(tiny_plan: Plan) -> Plan:
    """Three questions, each with two seeds, graded as text."""
    own = {"samples": 2, "seed": 3, "grade": "text"}
    return plan_with(tiny_plan, "sampled", tiny_plan.experiment.config.model_copy(update=own))


@pytest.fixture(scope="module")
def reader(sampled: Plan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    cache = tmp_path_factory.mktemp("cache")
    precompute(sampled, cache, 32, Silent())
    with open_reader(cache, "sampled") as opened:
        yield opened


@pytest.fixture(scope="module")
def machine(sampled: Plan) -> Machine:
    return Machine(sampled.lm, sampled.saes.by_hookpoint, sampled.experiment.config.site)


@pytest.fixture(scope="module")
def firing(reader: Reader) -> int:
    sql = "SELECT feature FROM feature_stats WHERE hookpoint = $h AND scope = 'generated' ORDER BY max_activation DESC"
    return int(reader.query(f"{sql} LIMIT 1", {"h": HOOKPOINT})["feature"].iloc[0])


def wish(feature: int, **others: object) -> Wish:
    usual = Wish([(HOOKPOINT, feature)], "clamp", [2.0, 0.0], 0, 2, None, False)
    return usual._replace(**others)


def asked(reader: Reader, of: Wish) -> tuple[str, Sweep, ProblemSet]:
    problems = own_problems(reader, None)
    made = made_with(reader.experiment, [HOOKPOINT], "cpu", "float32")
    return *begun(reader, asked_of(reader, of, problems, "--flag"), problems, made), problems


def whole(machine: Machine, sweep: Sweep, problems: ProblemSet, batch_size: int = 32) -> Sweep:
    *_, last = run_sweep(machine, sweep, problems.problems, batch_size)
    return last


def test_the_baseline_is_what_the_experiment_holds(reader: Reader, machine: Machine, firing: int) -> None:
    _, sweep, problems = asked(reader, wish(firing))
    done = whole(machine, sweep, problems)
    assert done.complete and len(done.runs) == done.of == 18
    stored = reader.query(
        "SELECT inference, problem, seed, prompt_tokens, generated_tokens, finish_reason, answer FROM inferences"
    ).set_index("inference")
    baseline = [run for run in done.runs if run.arm == 0]
    assert len(baseline) == len(stored) == 6
    for run in baseline:
        inference = run.sample * 3 + run.problem
        row = stored.loc[inference]
        ids = reader.query(
            "SELECT token_id FROM tokens WHERE inference = $i AND position >= $p ORDER BY position",
            {"i": inference, "p": int(row.prompt_tokens)},
        )["token_id"].tolist()
        assert (run.problem, run.seed) == (row.problem, row.seed)
        assert run.text == text_of(machine.lm.tokenizer, ids)
        assert (run.tokens, run.finish_reason) == (row.generated_tokens, row.finish_reason)
        assert run.repetition == repetition(ids)
        assert run.receipt is None


@pytest.mark.parametrize(("grade", "verdict"), [("number", False), ("text", False), ("none", None)])
def test_runs_are_graded_as_the_experiment(
    reader: Reader, machine: Machine, grade: Grade, verdict: bool | None
) -> None:
    """What writes no final answer is wrong where there is a reference, unless nothing is graded."""
    problem = Problem(0, "How many legs have 6 cats?", "24")
    _, sweep, problems = asked(reader, wish(0, action="ablate", strengths=[], samples=1))
    assert sweep.asked.grade == "text"
    own = sweep.asked.model_copy(update={"grade": grade})
    of = ProblemSet([problem], problems.source, 1)
    fresh = sweep.model_copy(update={"asked": own, "questions": questions_of([problem])})
    assert [run.correct for run in whole(machine, fresh, of).runs] == [verdict] * 2
    assert (fresh.id == sweep.id) == (grade == "text")


def test_an_arm_is_steered_to_its_strength_times_the_maximum(
    reader: Reader, sampled: Plan, machine: Machine, firing: int
) -> None:
    _, sweep, problems = asked(reader, wish(firing, start=2))
    done = whole(machine, sweep, problems)
    maximum = float(
        reader.query(
            "SELECT max(activation) AS m FROM latents JOIN tokens USING (inference, position) "
            "WHERE hookpoint = $h AND feature = $f AND tokens.segment <> 'prompt'",
            {"h": HOOKPOINT, "f": firing},
        )["m"].iloc[0]
    )
    config = sampled.experiment.config
    sampling = Sampling(config.temperature, config.top_p, config.max_new_tokens)
    for number, value in ((1, 0.0), (2, 2 * maximum)):
        steered = steering([Intervention(HOOKPOINT, firing, "clamp", value, 2)], machine.saes)
        written = {
            generation.prompt.seed: generation
            for generation, _ in generate(machine.lm, sampled.prompts, sampling, (), "hookpoint", steering=steered)
        }
        runs = [run for run in done.runs if run.arm == number]
        assert len(runs) == 6
        for run in runs:
            assert run.text == text_of(machine.lm.tokenizer, written[run.seed].token_ids)
            assert run.receipt is not None and run.receipt.positions == run.tokens - 2
            assert run.receipt.began == 2
        checks = [run.receipt.checks for run in runs if run.receipt and run.receipt.checks]
        assert len(checks) == 1 and all(check.holds for check in checks[0])
    assert any(run.receipt and (run.receipt.change_max or 0) > 0.1 for run in done.runs if run.arm == 2)


@pytest.mark.parametrize("batches", [1, 4])
def test_interrupted_it_goes_on_with_what_is_missing(
    reader: Reader, machine: Machine, firing: int, batches: int
) -> None:
    of = wish(firing, seed=50 + batches)
    id, sweep, problems = asked(reader, of)
    expected = whole(machine, sweep, problems, batch_size=2)
    for part in islice(run_sweep(machine, sweep, problems.problems, 2), batches):
        save_study(reader.layout, KIND, id, part)
    same, stored, _ = asked(reader, of)
    assert same == id and not stored.complete and len(stored.runs) == 2 * batches
    assert whole(machine, stored, problems, batch_size=2).runs == expected.runs
    save_study(reader.layout, KIND, id, expected)
    _, stored, _ = asked(reader, of)
    assert stored.complete and list(run_sweep(machine, stored, problems.problems)) == []
    assert id in list_studies(reader.layout, reader.experiment, KIND, Sweep).found


def test_it_gives_way_between_two_tokens(reader: Reader, machine: Machine, firing: int) -> None:
    class Stop(Exception):
        pass

    paused = 0

    def pause() -> None:
        nonlocal paused
        paused += 1
        if paused == 30:
            raise Stop

    _, sweep, problems = asked(reader, wish(firing))
    found = []
    with pytest.raises(Stop):
        found.extend(run_sweep(machine, sweep, problems.problems, pause=pause))
    assert paused == 30 and len(found) <= 1


def test_out_of_memory_halves_the_batch(
    reader: Reader, machine: Machine, firing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kthink_core.interventions import sweep as module

    def small(lm: object, prompts: list[object], *rest: object) -> object:
        if len(prompts) > 2:
            raise torch.cuda.OutOfMemoryError
        return generate(lm, prompts, *rest)  # type: ignore[arg-type]

    _, sweep, problems = asked(reader, wish(firing))
    expected = whole(machine, sweep, problems, batch_size=2)
    monkeypatch.setattr(module, "generate", small)
    got = whole(machine, sweep, problems, batch_size=4)
    assert {run.key: run.text for run in got.runs} == {run.key: run.text for run in expected.runs}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"strengths": [float("nan")]}, BadValue, "strength nan"),
        ({"strengths": [1, float("inf")]}, BadValue, "strength inf"),
        ({"strengths": [-1.0]}, BadValue, "never negative"),
        ({"strengths": []}, BadValue, "0 strengths"),
        ({"strengths": [0.0], "action": "add"}, BadValue, "the baseline"),
        ({"action": "ablate"}, BadValue, "has no strength"),
        ({"start": 24}, BadValue, "at most 24 are generated"),
        ({"start": -1}, BadValue, "count from 0"),
        ({"samples": 0}, BadValue, "at least 1"),
        ({"samples": MOST_RUNS}, BadValue, "runs"),
        ({"seed": -1}, BadValue, "seed"),
        ({"seed": 2**31 - 1}, BadValue, "seed"),
        ({"features": []}, BadValue, "0 features"),
        ({"features": [("layers.9.mlp", 1)]}, UnknownName, "layers.9.mlp"),
        ({"features": [(HOOKPOINT, 10**6)]}, OutOfRange, "out of range"),
    ],
)
def test_what_cannot_be_swept_is_told(
    reader: Reader, firing: int, change: dict[str, object], error: type[KthinkError], says: str
) -> None:
    with pytest.raises(error, match=says):
        asked(reader, wish(firing, **change))


def test_a_silent_feature_has_no_maximum_and_can_be_ablated(sampled: Plan, machine: Machine, tmp_path: Path) -> None:
    short = {"limit": 1, "max_new_tokens": 1, "samples": 1}
    precompute(plan_with(sampled, "short", sampled.experiment.config.model_copy(update=short)), tmp_path, 1, Silent())
    with open_reader(tmp_path, "short") as reader:
        sql = "SELECT DISTINCT feature FROM feature_stats WHERE hookpoint = $h AND scope = 'generated'"
        fires = set(reader.query(sql, {"h": HOOKPOINT})["feature"])
        silent = next(number for number in range(reader.experiment.saes[HOOKPOINT].num_latents) if number not in fires)
        with pytest.raises(BadValue, match="no maximum to scale by"):
            asked(reader, wish(silent))
        _, sweep, problems = asked(reader, wish(silent, action="ablate", strengths=[], samples=1))
        before, after = whole(machine, sweep, problems).runs
    assert after.text == before.text
    assert after.receipt is not None and (after.receipt.positions, after.receipt.change_max) == (1, 0)


def test_a_prompt_that_does_not_fit_is_told_before_anything_runs(reader: Reader, machine: Machine, firing: int) -> None:
    long = ProblemSet([Problem(0, "word " * machine.lm.context, None)], "here", 1)
    made = made_with(reader.experiment, [HOOKPOINT], "cpu", "float32")
    _, sweep = begun(reader, asked_of(reader, wish(firing), long, "--flag"), long, made)
    with pytest.raises(PromptTooLong):
        next(run_sweep(machine, sweep, long.problems))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content["runs"].append(content["runs"][0]), "twice"),
        (lambda content: content["runs"][0].update(arm=9), "none of its arms"),
        (lambda content: content["runs"].pop(), "complete"),
        (lambda content: content["runs"][0].update(text=5), "text"),
        (lambda content: content["asked"].update(strengths=[2.0, 1.0]), "ascend"),
        (lambda content: content["asked"].update(samples=MOST_RUNS), "more than"),
        (lambda content: content.update(more=1), "more"),
    ],
)
def test_what_somebody_else_wrote_is_checked(
    reader: Reader, machine: Machine, firing: int, change: object, says: str
) -> None:
    of = wish(firing, seed=90)
    id, sweep, problems = asked(reader, of)
    path = save_study(reader.layout, KIND, id, whole(machine, sweep, problems))
    content = json.loads(path.read_text())
    change(content)  # type: ignore[operator]
    path.write_text(json.dumps(content))
    try:
        with pytest.raises(BadFile, match=says):
            asked(reader, of)
    finally:
        path.unlink()


@given(st.lists(st.integers(0, 3), max_size=40))
def test_repetition_by_counting(ids: list[int]) -> None:
    seen: list[list[int]] = []
    again = 0
    for first in range(len(ids) - 3):
        group = ids[first : first + 4]
        again += group in seen
        seen.append(group)
    assert repetition(ids) == pytest.approx(again / len(seen) if seen else 0)

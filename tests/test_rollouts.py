"""A thought gone on with from between its sentences: what is written, kept, resumed and told."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from streamlit.testing.v1 import AppTest

from kthink_core.cli import main
from kthink_core.config import ExperimentConfig
from kthink_core.errors import BadFile, BadValue, WorkerRefused
from kthink_core.evidence.rollout_plan import Question, left, standing
from kthink_core.evidence.sentence_results import doubts, failures, sentences, stored, table
from kthink_core.interventions.rollouts import roll_out
from kthink_core.interventions.sentence_run import Engaged, Step, run
from kthink_core.live.api import Cancelled, Done, Progressed, Studied
from kthink_core.live.client import WorkerClient
from kthink_core.live.study_requests import SentencesRequest
from kthink_core.model.generate import generate
from kthink_core.model.language_model import text_of
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import Steering, steering
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.problems import load_problems
from kthink_core.precompute.progress import Silent
from kthink_core.prompts import answer_key, final_answer, is_correct
from kthink_core.records import Intervention, Problem, Prompt, Trigger
from kthink_core.settings import WorkerSettings
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.sentence_studies import KIND, SentenceStudy
from kthink_core.store.studies import list_studies, save_study
from kthink_core.store.writer import open_writer
from tests.app_visits import Open, tables, texts, visiting
from tests.worker_process import working

HOOKPOINT = "layers.6.mlp"
ROLLOUTS = 3
LIMIT = 240
"""Tokens of a trace: enough for both thoughts and their answers."""
QUESTION = Question(inference=0, rollouts=ROLLOUTS, seed=0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Two problems of the demo; the first thought is a short one."""
    problems = tmp_path_factory.mktemp("problems") / "problems.jsonl"
    chosen = [{"question": one.question, "answer": one.reference} for one in load_problems("demo", 23)]
    problems.write_text("".join(json.dumps(chosen[number]) + "\n" for number in (11, 22)))
    config = ExperimentConfig(hookpoints=(HOOKPOINT,), problems=str(problems), seed=11, max_new_tokens=LIMIT)
    return plan("thoughts", config, "cpu", Silent())


@pytest.fixture(scope="module")
def engaged(made: Plan) -> Engaged:
    return Engaged(made.lm, made.saes.by_hookpoint)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, made: Plan) -> Path:
    cache = tmp_path_factory.mktemp("thoughts")
    precompute(made, cache, 8, Silent())
    return cache


@pytest.fixture
def cache(untouched: Path, tmp_path: Path) -> Path:
    """Without a study."""
    (tmp_path / "thoughts").mkdir()
    for path in (untouched / "thoughts").iterdir():
        if path.name != "studies":
            (tmp_path / "thoughts" / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture(scope="module")
def studied(untouched: Path, engaged: Engaged) -> Path:
    """The cache with the rollouts of `QUESTION`, and with a feature clamped in them."""
    with open_reader(untouched, "thoughts") as reader:
        for _ in run(reader, QUESTION._replace(clamp=busiest(reader)), engaged):
            pass
    return untouched


def busiest(reader: Reader) -> Intervention:
    """The feature that is active most often in the first trace, held at 0."""
    encoding = reader.inference(0).encodings[HOOKPOINT]
    active = Counter(encoding.features[encoding.activations > 0].tolist())
    return Intervention(HOOKPOINT, active.most_common(1)[0][0], "clamp", 0.0)


def untimed(study: SentenceStudy) -> dict[str, Any]:
    document = study.model_dump(mode="json", exclude={"made"})
    return document | {"places": [place | {"seconds": 0} for place in document["places"]]}


class TestGoingOn:
    """Writing on from a text that was written in part."""

    SAMPLING = Sampling(0.0, 1.0, 20)

    def whole(self, made: Plan, done: tuple[Intervention, ...]) -> tuple[int, ...]:
        steered = steering(done, made.saes.by_hookpoint)
        ((found, _),) = generate(made.lm, made.prompts[:1], self.SAMPLING, (), "hookpoint", steering=steered)
        return found.token_ids

    def resumed(self, made: Plan, done: tuple[Intervention, ...], after: int, earlier: int) -> tuple[int, ...]:
        prompt = made.prompts[0]
        ids = prompt.token_ids + self.whole(made, done)[:after]
        steered = steering(done, made.saes.by_hookpoint)
        sampling = self.SAMPLING._replace(max_new_tokens=20 - after)
        ((found, _),) = generate(
            made.lm, [prompt._replace(token_ids=ids)], sampling, (), "hookpoint", steering=steered, earlier=earlier
        )
        return found.token_ids

    @pytest.mark.parametrize("start", [0, 3, 15])
    def test_steering_acts_on_what_was_written_before(self, made: Plan, start: int) -> None:
        done = (Intervention(HOOKPOINT, 1075, "add", 60.0, start),)
        assert self.whole(made, done) != self.whole(made, ())
        assert self.resumed(made, done, 8, earlier=8) == self.whole(made, done)[8:]

    def test_what_waits_for_a_feature_has_begun_where_that_fired(self, made: Plan) -> None:
        prompt = made.prompts[0]
        ((plain, seen),) = generate(made.lm, [prompt], self.SAMPLING, (HOOKPOINT,), "hookpoint")
        latents = made.saes.by_hookpoint[HOOKPOINT].encode(seen.vectors[HOOKPOINT][len(prompt.token_ids) :])
        fired = latents.indices[4][latents.activations[4].argmax()].item()
        done = (Intervention(HOOKPOINT, 1075, "add", 60.0, 0, Trigger(HOOKPOINT, int(fired))),)
        assert self.whole(made, done) != plain.token_ids
        assert self.resumed(made, done, 8, earlier=8) == self.whole(made, done)[8:]

    def test_unless_it_is_said_that_it_was_written_it_is_a_prompt(self, made: Plan) -> None:
        done = (Intervention(HOOKPOINT, 1075, "add", 60.0),)
        assert self.resumed(made, done, 8, earlier=0) != self.whole(made, done)[8:]

    def test_prompts_that_are_the_same_pass_once_and_each_row_is_its_own(self, made: Plan) -> None:
        sampling = Sampling(1.0, 1.0, 12)
        rows = [made.prompts[0]._replace(inference=seed, seed=seed) for seed in range(5)]
        together = {
            found.prompt.seed: (found, seen)
            for found, seen in generate(made.lm, rows, sampling, (HOOKPOINT,), "hookpoint")
        }
        assert len({found.token_ids for found, _ in together.values()}) > 1
        for row in rows:
            ((alone, vectors),) = generate(made.lm, [row], sampling, (HOOKPOINT,), "hookpoint")
            found, seen = together[row.seed]
            assert found.token_ids == alone.token_ids
            assert seen.vectors[HOOKPOINT].sub(vectors.vectors[HOOKPOINT]).abs().max() < 1e-3


class TestRollouts:
    def test_answers_are_of_what_stood_before_and_what_was_written(self, made: Plan, studied: Path) -> None:
        """Each of them made again alone, from the definition."""
        with open_reader(studied, "thoughts") as reader:
            trace = reader.inference(0)
            study = stored(reader, 0).plain
        assert study is not None and study.complete
        assert [said.text for said in study.sentences] == [
            "".join(trace.texts[said.first : said.last + 1]) for said in study.sentences
        ]
        for number in (0, len(study.sentences)):
            place = study.places[number]
            before = tuple(trace.token_ids[: place.position].tolist())
            written = place.position - trace.prompt_tokens
            for row, seed in ((0, 0), (ROLLOUTS - 1, ROLLOUTS - 1)):
                prompt = made.prompts[0]._replace(seed=seed, token_ids=before)
                ((alone, _),) = generate(made.lm, [prompt], Sampling(0.6, 0.95, LIMIT - written), (), "hookpoint")
                whole = (*before[trace.prompt_tokens :], *alone.token_ids)
                answer = final_answer(text_of(made.lm.tokenizer, whole, special=False))
                assert place.answers[row] == (answer if alone.finish_reason == "stop" else None)
                if place.repeats:
                    text = text_of(made.lm.tokenizer, alone.token_ids).split(".")[0].split("?")[0]
                    same = study.sentences[0].text.strip().rstrip(".?")
                    assert place.repeats[row] == (text.strip().casefold() == same.casefold())

    def test_what_is_beyond_the_limit_has_no_rollouts(self, made: Plan, studied: Path) -> None:
        with open_reader(studied, "thoughts") as reader:
            trace = reader.inference(0)
        at, sampling = trace.prompt_tokens + 10, Sampling(0.6, 0.95, 10)
        found = dict(roll_out(made.lm, "hookpoint", trace, at, [1, 2], sampling, None, None))
        assert [(one.answer, one.tokens) for one in found.values()] == [(None, 0)] * 2

    def test_what_is_cut_off_has_no_answer_though_one_was_written(self, made: Plan, cache: Path) -> None:
        with open_reader(cache, "thoughts") as reader:
            trace = reader.inference(0)
        written = next(
            many for many in range(LIMIT) if final_answer("".join(trace.texts[trace.prompt_tokens :][:many]))
        )
        for limit, answer in ((written, None), (LIMIT, trace.answer)):
            at, sampling = trace.prompt_tokens + written, Sampling(0.0, 1.0, limit)
            ((_, one),) = roll_out(made.lm, "hookpoint", trace, at, [1], sampling, None, None)
            assert one.answer == answer

    def test_a_clamp_leaves_a_receipt(self, studied: Path, engaged: Engaged) -> None:
        with open_reader(studied, "thoughts") as reader:
            trace, (held,) = reader.inference(0), stored(reader, 0).clamped
        assert held.clamp is not None and all(len(place.receipts) == 1 for place in held.places)
        for place in held.places:
            (told,) = place.receipts
            assert told.positions == place.tokens and told.began == place.position - trace.prompt_tokens
            assert [check.name for check in told.checks] == ["as it is", "silent", "cached"]
            assert all(check.holds for check in told.checks)
        assert any((place.receipts[0].change_max or 0) > 0.01 for place in held.places)
        # One alone: what the vectors that went on give when they are encoded again, and what it took to get there.
        at, sampling = held.positions[1], Sampling(0.0, 1.0, LIMIT)
        steered = steering([held.clamp], engaged.saes)
        assert steered is not None
        ((_, one),) = roll_out(engaged.lm, "hookpoint", trace, at, [1], sampling, steered, None)
        before = tuple(trace.token_ids[:at].tolist())
        prompt = Prompt(0, Problem(0, "", None), "think", 1, before)
        written, left_over = at - trace.prompt_tokens, LIMIT - at + trace.prompt_tokens
        again = generate(
            engaged.lm, [prompt], Sampling(0.0, 1.0, left_over), (HOOKPOINT,), "hookpoint",
            steering=steered, earlier=written,
        )  # fmt: skip
        ((_, seen),) = again
        latents = engaged.saes[HOOKPOINT].encode(seen.vectors[HOOKPOINT][at:])
        after = (latents.activations * (latents.indices == held.clamp.feature)).sum(1)
        assert one.receipts[0].after_median == pytest.approx(float(after.double().quantile(0.5)), abs=1e-4)
        assert one.receipts[0].after_max == pytest.approx(float(after.max()), abs=1e-4)
        norm, length, _, activation = seen.notes[HOOKPOINT].double().T
        assert one.receipts[0].change_max == pytest.approx(float((length / norm).max()))
        assert one.receipts[0].before_max == pytest.approx(float(activation.max()))

    def test_what_has_no_room_left_is_steered_nowhere(self, cache: Path, engaged: Engaged) -> None:
        with open_reader(cache, "thoughts") as reader:
            trace = reader.inference(0)
        steered = steering([Intervention(HOOKPOINT, 1075, "clamp", 0.0)], engaged.saes)
        at, sampling = trace.prompt_tokens + 10, Sampling(0.6, 0.95, 10)
        found = dict(roll_out(engaged.lm, "hookpoint", trace, at, [1, 2], sampling, steered, None))
        assert [(one.answer, one.tokens, one.receipts) for one in found.values()] == [(None, 0, ())] * 2

    def test_the_traces_own_steering_goes_on(self, made: Plan, cache: Path, engaged: Engaged) -> None:
        done = Intervention(HOOKPOINT, 1075, "add", 25.0)
        with open_reader(cache, "thoughts") as reader:
            trace = reader.inference(0)
            plain = standing(reader, trace, QUESTION)[0]
            steered = standing(reader, replace(trace, interventions=(done,)), QUESTION)[0]
        assert steered.steering == (done,) and steered.id != plain.id and HOOKPOINT in steered.made.saes
        at, sampling = plain.positions[2], Sampling(0.6, 0.95, 240)
        steered_by, seeds = steering([done], engaged.saes), [1, 2, 3, 4]
        found = dict(roll_out(made.lm, "hookpoint", trace, at, seeds, sampling, steered_by, None))
        written = at - trace.prompt_tokens
        prompts = [
            made.prompts[0]._replace(inference=row, seed=seed, token_ids=tuple(trace.token_ids[:at].tolist()))
            for row, seed in enumerate(seeds)
        ]
        left_over = sampling._replace(max_new_tokens=240 - written)

        def again(steered: Steering | None, earlier: int) -> list[tuple[int, str | None]]:
            passed = generate(made.lm, prompts, left_over, (), "hookpoint", steering=steered, earlier=earlier)
            ids = {one.prompt.inference: one.token_ids for one, _ in passed}
            begun = prompts[0].token_ids[trace.prompt_tokens :]
            texts = [text_of(made.lm.tokenizer, (*begun, *ids[row])) for row in sorted(ids)]
            return [(len(ids[row]), final_answer(texts[row])) for row in sorted(ids)]

        made_again = again(steered_by, written)
        assert [(found[row].tokens, found[row].answer) for row in sorted(found)] == made_again
        assert again(steered_by, 0) != made_again != again(None, written)


class TestRun:
    def test_ended_at_any_moment_it_goes_on_to_the_same_document(
        self, cache: Path, studied: Path, engaged: Engaged
    ) -> None:
        class Killed(Exception):
            pass

        tokens = 0

        def pause() -> None:
            nonlocal tokens
            tokens += 1
            if tokens % 400 == 0:
                raise Killed

        kills, ended = 0, False
        with open_reader(cache, "thoughts") as reader:
            while not ended:
                try:
                    ended = not list(run(reader, QUESTION, engaged, pause))[-1].left.places
                except Killed:
                    kills += 1
                    (half,) = list_studies(reader.layout, reader.experiment, KIND, SentenceStudy).found.values()
                    assert not half.complete and len(half.places) < len(half.positions)
                    assert len(table(half)) == max(len(half.places) - 1, 0)
                    assert not half.places or any("places are done" in doubt for doubt in doubts(half))
            resumed = stored(reader, 0).plain
        assert kills >= 2 and resumed is not None
        with open_reader(studied, "thoughts") as reader:
            whole = stored(reader, 0).plain
        assert whole is not None and untimed(resumed) == untimed(whole) and resumed.id == whole.id

    def test_steps_and_cost(self, cache: Path, engaged: Engaged) -> None:
        question = QUESTION._replace(inference=1, rollouts=2)
        with open_reader(cache, "thoughts") as reader:
            trace = reader.inference(1)
            before = left(reader, standing(reader, trace, question))
            (study,) = standing(reader, trace, question)
            ends = trace.prompt_tokens + trace.generated_tokens
            assert before.places == len(study.sentences) + 1 and before.seconds is None
            assert before.tokens == 2 * sum(ends - position for position in study.positions)
            steps = []
            for step in run(reader, question, engaged):
                steps.append(step)
                if len(step.study.places) == 2:
                    break
            assert [step.done for step in steps] == list(range(5)) and steps[-1].of == 2 * before.places
            assert steps[-1].left.places == before.places - 2
            # Once a place is done, it is known how fast this goes; other questions profit from it.
            assert all((step.left.seconds is not None) == bool(step.study.places) for step in steps)
            another = left(reader, standing(reader, trace, question._replace(seed=7)))
            assert another.seconds == pytest.approx(another.tokens / _speed(steps[-1]))
            assert another.tokens == before.tokens

    def test_a_clamped_feature_takes_the_others_over(self, studied: Path, engaged: Engaged) -> None:
        with open_reader(studied, "thoughts") as reader:
            found = stored(reader, 0)
            assert found.plain is not None and len(found.clamped) == 1
            (held,) = found.clamped
            assert held.clamp == busiest(reader) and held.complete and held.id != found.plain.id
            assert held.places != found.plain.places
            (step,) = run(reader, QUESTION._replace(clamp=held.clamp), engaged)
            assert step.done == step.of == 2 * ROLLOUTS * len(found.plain.positions)

    @pytest.mark.parametrize("rollouts", [1, 501])
    def test_how_many(self, cache: Path, rollouts: int) -> None:
        with open_reader(cache, "thoughts") as reader, pytest.raises(BadValue, match="from 2 to 500"):
            standing(reader, reader.inference(0), QUESTION._replace(rollouts=rollouts))

    def test_without_a_thought(self, cache: Path) -> None:
        with open_reader(cache, "thoughts") as reader:
            trace = reader.inference(0)
            answered = tuple("answer" if one == "think" else one for one in trace.segments)
            with pytest.raises(BadValue, match="has no thought"):
                standing(reader, replace(trace, segments=answered), QUESTION)

    def test_a_trace_that_was_made_anew_has_no_rollouts(self, studied: Path) -> None:
        with open_reader(studied, "thoughts") as reader:
            trace = reader.inference(0)
            other = trace.token_ids.copy()
            other[-1] += 1
            (fresh,) = standing(reader, replace(trace, token_ids=other), QUESTION)
            assert not fresh.places

    def test_documents_of_others_are_checked(self, studied: Path, cache: Path) -> None:
        with open_reader(studied, "thoughts") as reader:
            found = stored(reader, 0).plain
        assert found is not None
        document = found.model_dump(mode="json")
        for wrong in (
            {"complete": False},
            {"places": document["places"][1:]},
            {"rollouts": ROLLOUTS + 1},
            {"sentences": document["sentences"][::-1]},
            {"top_p": 0},
            {"more": 1},
        ):
            with pytest.raises(ValidationError):
                SentenceStudy.model_validate(document | wrong)
        folder = cache / "thoughts" / "studies" / KIND
        folder.mkdir(parents=True)
        (folder / f"{found.id}.json").write_text(json.dumps(document | {"rollouts": ROLLOUTS + 1}))
        with open_reader(cache, "thoughts") as reader:
            assert stored(reader, 0).plain is None and f"{ROLLOUTS + 1} rollouts" in stored(reader, 0).problems[0]
            with pytest.raises(BadFile):
                standing(reader, reader.inference(0), QUESTION)


def _speed(step: Step) -> float:
    return sum(one.tokens for one in step.study.places) / sum(one.seconds for one in step.study.places)


def test_the_table_is_what_the_answers_say(studied: Path) -> None:
    with open_reader(studied, "thoughts") as reader:
        found = stored(reader, 0)
        rows = sentences(reader, 0)
        clamp = found.clamped[0].clamp
        assert clamp is not None and found.plain is not None
        held = sentences(reader, 0, HOOKPOINT, clamp.feature)
        with pytest.raises(BadValue, match=f"known: {HOOKPOINT}:{clamp.feature}"):
            sentences(reader, 0, HOOKPOINT, clamp.feature + 1)
        with pytest.raises(BadValue, match="no rollouts yet"):
            sentences(reader, 1)
    assert rows["sentence"].tolist() == list(range(len(found.plain.sentences)))
    assert set(rows["clamped"].isna()) == {True} and set(held["clamped"].isna()) == {False}
    receipt = ["positions", "change", "change_max", "before", "after", "checks"]
    of_the_clamp = [one for one in rows if "clamp" in one or "passing" in one or one in receipt]
    assert rows.drop(columns=of_the_clamp).equals(held.drop(columns=of_the_clamp))
    assert rows[receipt].isna().all(axis=None) and held[receipt].notna().all(axis=None)
    for number, row in enumerate(held.to_dict("records")):
        told = [place.receipts[0] for place in found.clamped[0].places[number : number + 2]]
        assert row["positions"] == sum(one.positions for one in told)
        assert row["change"] == pytest.approx(sum(one.change_median or 0 for one in told) / 2)
        assert row["change_max"] == pytest.approx(max(one.change_max or 0 for one in told))
        assert row["checks"].startswith("as it is ") and row["checks"].count(" of ") == 3
    for number, row in enumerate(rows.to_dict("records")):
        before, after = found.plain.places[number], found.plain.places[number + 1]
        right = [[bool(is_correct(one, found.plain.reference)) for one in place.answers] for place in (before, after)]
        assert row["accuracy_before"] == pytest.approx(sum(right[0]) / ROLLOUTS)
        assert row["accuracy_after"] == pytest.approx(sum(right[1]) / ROLLOUTS)
        assert row["none_after"] == after.answers.count(None) and row["differing"] == before.repeats.count(False)
        assert row["rollouts"] == ROLLOUTS
        if list(map(answer_key, before.answers)) == list(map(answer_key, after.answers)):
            assert row["importance"] == pytest.approx(0) and row["q"] == 1


def test_rollouts_without_a_receipt_and_with_a_check_that_does_not_hold(
    studied: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of an older version have none."""
    with open_reader(studied, "thoughts") as reader:
        found = stored(reader, 0)
    (held,) = found.clamped
    assert found.plain is not None and all("receipts" not in place for place in found.plain.model_dump()["places"])
    document = held.model_dump(mode="json")
    older = document | {
        "places": [{name: field for name, field in place.items() if name != "receipts"} for place in document["places"]]
    }
    old = SentenceStudy.model_validate(older)
    assert old.model_dump(mode="json") == older and old.id == held.id and failures(old) == failures(held) == []
    assert table(found.plain, old)["checks"].isna().all() and table(found.plain, old)["passing"].notna().all()
    document["places"][0]["receipts"][0]["checks"][0]["value"] = 0.5
    broken = SentenceStudy.model_validate(document)
    (told,) = failures(broken)
    assert f"in 1 of {len(held.places)} runs" in told and "as it is 0.5 of 1e-06" in told
    with open_reader(cache, "thoughts") as reader:
        save_study(reader.layout, KIND, found.plain.id, found.plain)
        save_study(reader.layout, KIND, broken.id, broken)
    assert held.clamp is not None
    named = f"{held.clamp.hookpoint}:{held.clamp.feature}"
    where = ["--experiment", "thoughts", "--cache", str(cache), "--inference", "0", "--format", "json"]
    query = ["query", "sentences", "--hookpoint", held.clamp.hookpoint, "--feature", str(held.clamp.feature)]
    for command in (["sentences", "--rollouts", str(ROLLOUTS), "--clamp", named], query):
        assert main([*command, *where]) == 0
        assert told in capsys.readouterr().err
    document["places"][0]["receipts"] *= 2
    with pytest.raises(ValidationError, match="receipt of each intervention"):
        SentenceStudy.model_validate(document)


def test_answers_are_compared_as_the_experiment_grades(studied: Path) -> None:
    with open_reader(studied, "thoughts") as reader:
        plain = stored(reader, 0).plain
    assert plain is not None and plain.grade == "number" and "grade" not in plain.model_dump()
    spelled = [("35", "35.0"), ("35.0", "35"), *[("35", "35")] * (len(plain.places) - 2)]
    answers = [tuple(both[at % 2] for at in range(ROLLOUTS)) for both in spelled]
    places = [place.model_copy(update={"answers": own}) for place, own in zip(plain.places, answers, strict=True)]
    changed = plain.model_copy(update={"places": tuple(places), "reference": "35"})
    as_text = changed.model_copy(update={"grade": "text"})
    assert set(table(changed)["accuracy_before"]) == {1} and set(table(changed)["importance"]) == {0}
    rows = table(as_text)
    assert rows["accuracy_before"].tolist()[0] == pytest.approx(sum(one == "35" for one in answers[0]) / ROLLOUTS)
    assert rows["importance"].tolist()[1] > 0
    assert as_text.id != changed.id


@pytest.mark.parametrize(
    ("one", "other"), [("35", "35.0"), ("$1,000", "1000"), ("\\frac{1}{2}", "0.5"), (" x + y", "X+Y"), (None, None)]
)
def test_answers_that_state_the_same_count_as_one(one: str | None, other: str | None) -> None:
    assert answer_key(one) == answer_key(other)
    assert len({answer_key(text) for text in (None, "", "35", "36", "none")}) == 5


class TestCommand:
    def command(self, cache: Path, *arguments: str) -> int:
        where = ["--experiment", "thoughts", "--cache", str(cache)]
        return main(["sentences", *where, "--inference", "0", "--device", "cpu", "--format", "json", *arguments])

    def test_from_an_estimate_to_the_table(
        self, cache: Path, capsys: pytest.CaptureFixture[str], studied: Path
    ) -> None:
        few = ["--rollouts", "2"]
        assert self.command(cache, *few, "--estimate") == 0
        (first,) = json.loads(capsys.readouterr().out)
        with open_reader(cache, "thoughts") as reader:
            (study,) = list_studies(reader.layout, reader.experiment, KIND, SentenceStudy).found.values()
        assert len(study.places) == 1 and first["places"] == len(study.positions) - 1 and first["seconds"] > 0
        assert self.command(cache, *few, "--estimate") == 0
        assert json.loads(capsys.readouterr().out) == [first], "nothing is done once the speed is known"
        assert self.command(cache, *few) == 0
        out, err = capsys.readouterr()
        rows = json.loads(out)
        assert len(rows) == len(study.sentences) and "only large changes stand out" in err
        assert f"{first['places']} places, 2 rollouts from each" in err
        query = ["query", "sentences", "--experiment", "thoughts", "--cache", str(cache), "--inference", "0"]
        assert main([*query, "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out) == rows
        assert main([*query, "--top", "1", "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out) == [max(rows, key=lambda row: row["importance"])]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--clamp", "layers.6.mlp"], "HOOKPOINT:FEATURE=VALUE"),
            (["--clamp", "layers.6.mlp:3=nan"], "HOOKPOINT:FEATURE=VALUE"),
            (["--clamp", "layers.6.mlp:3=1.2.3"], "HOOKPOINT:FEATURE=VALUE"),
            (["--clamp", "layers.6.mlp:99999"], "feature 99999 is out of range"),
            (["--clamp", "layers.1.mlp:3"], "unknown hookpoint"),
            (["--inference", "9"], "inference 9 is out of range"),
            (["--rollouts", "1"], "1 rollouts"),
            (["--seed", "-1"], "--seed -1"),
        ],
    )
    def test_mistakes(self, cache: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
        assert self.command(cache, *arguments) == 2
        assert told in capsys.readouterr().err


def asked(**fields: object) -> SentencesRequest:
    trace = {"trace": "stored", "experiment": "thoughts", "inference": 0}
    return SentencesRequest.model_validate({"trace": trace, "rollouts": 2} | fields)


class TestWorker:
    @pytest.fixture
    def worker(self, cache: Path, made: Plan) -> Iterator[WorkerSettings]:
        with working(made, cache=cache) as (settings, _):
            yield settings

    def test_it_can_be_stopped_and_goes_on_from_there(self, worker: WorkerSettings, cache: Path) -> None:
        with WorkerClient(worker) as client:
            events = client.study(asked())
            job = next(event.job for event in events if event.event == "started")
            next(event for event in events if isinstance(event, Progressed) and event.done > 2)
            client.cancel(job)
            assert isinstance(list(events)[-1], Cancelled)
            with open_reader(cache, "thoughts") as reader:
                found = stored(reader, 0).plain
                assert found is not None and 1 <= len(found.places) < len(found.positions)
            later = list(client.study(asked()))
        steps = [event for event in later if isinstance(event, Progressed)]
        of = 2 * len(found.positions)
        assert [(step.done, step.of) for step in steps] == [(done, of) for done in range(2 * len(found.places), of + 1)]
        (result,) = [event for event in later if isinstance(event, Studied)]
        assert isinstance(later[-1], Done)
        with open_reader(cache, "thoughts") as reader:
            found = stored(reader, 0).plain
        assert found is not None and result.id == found.id
        assert SentenceStudy.model_validate(result.document) == found

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"trace": {"trace": "stored", "experiment": "nowhere", "inference": 0}}, "unknown experiment"),
            ({"trace": {"trace": "stored", "experiment": "thoughts", "inference": 7}}, "inference 7 is out of range"),
            ({"clamp": {"hookpoint": "layers.1.mlp", "feature": 1, "action": "clamp"}}, "unknown hookpoint"),
            ({"clamp": {"hookpoint": HOOKPOINT, "feature": 9999, "action": "clamp"}}, "feature 9999"),
            ({"clamp": {"hookpoint": HOOKPOINT, "feature": 1, "action": "clamp", "value": -1}}, "never negative"),
        ],
    )
    def test_what_cannot_be_asked(self, worker: WorkerSettings, fields: dict[str, object], told: str) -> None:
        with WorkerClient(worker) as client, pytest.raises(WorkerRefused, match=told):
            list(client.study(asked(**fields)))

    def test_of_another_model(self, worker: WorkerSettings, made: Plan, cache: Path) -> None:
        revisions = made.experiment.revisions.model_copy(update={"model": "sha256:another"})
        foreign = made.experiment.model_copy(update={"name": "foreign", "revisions": revisions})
        with open_writer(cache, foreign) as writer, open_reader(cache, "thoughts") as reader:
            writer.append(reader.inference(0))
            writer.publish()
        sent = asked(trace={"trace": "stored", "experiment": "foreign", "inference": 0})
        with WorkerClient(worker) as client, pytest.raises(WorkerRefused, match="another model"):
            list(client.study(sent))


class TestPage:
    @pytest.fixture
    def visit(self, monkeypatch: pytest.MonkeyPatch, untouched: Path) -> Iterator[Open]:
        monkeypatch.setenv("KTHINK_WORKER_PORT", "9")
        with visiting(untouched, monkeypatch) as opened:
            yield opened

    def opened(self, visit: Open, cache: Path, **parameters: str) -> AppTest:
        return visit("inference", folder=cache, experiment="thoughts", hookpoint=HOOKPOINT, **parameters)

    def test_closed_it_asks_nobody(self, visit: Open, studied: Path) -> None:
        app = self.opened(visit, studied)
        assert "Sentences that matter" in texts(app) and "No worker answers" not in texts(app)
        app.toggle(key="open sentences").set_value(True).run()
        assert app.query_params["sentences"] in ("open", ["open"]) and "No worker answers" not in texts(app)

    def test_a_stored_result(self, visit: Open, studied: Path) -> None:
        app = self.opened(visit, studied, sentences="open")
        assert not app.error and not app.warning
        with open_reader(studied, "thoughts") as reader:
            rows = sentences(reader, 0)
            (held,) = stored(reader, 0).clamped
        sure = sum(q < 0.05 for q in rows["q"].tolist())
        assert f"{sure or 'For none'} of {len(rows)} sentences" in texts(app)
        assert f"{QUESTION.rollouts} rollouts from each place)" in texts(app)
        assert "All of this is measured and stored." in texts(app)
        (figures,) = tables(app, "Counterfactual")
        assert figures["Sentence"].tolist() == list(range(1, len(rows) + 1)) and not tables(app, "Passes")
        assert held.clamp is not None
        clamped = self.opened(visit, studied, sentences="open", feature=str(held.clamp.feature))
        (passes,) = tables(clamped, "Passes")
        assert len(passes) == len(rows)
        assert re.search(rf"with feature {held.clamp.feature}\b.* of ", texts(clamped))
        assert "less or more important" in texts(clamped)
        assert "Receipt of the rollouts with the feature held" in [one.label for one in clamped.expander]
        (receipt,) = tables(clamped, "began")
        assert receipt["positions"].tolist() == [sum(place.tokens for place in held.places)]
        assert "token by token and in one pass" in texts(clamped)
        assert "Receipt of the rollouts" not in str([one.label for one in app.expander])

    def test_nothing_stored_yet(self, visit: Open, cache: Path) -> None:
        app = self.opened(visit, cache, sentences="open")
        with open_reader(cache, "thoughts") as reader:
            cost = left(reader, standing(reader, reader.inference(0), QUESTION._replace(rollouts=100)))
        assert f"{cost.places} places, 100 rollouts from each: about {cost.tokens:,} tokens" in texts(app)
        assert "No worker answers" in texts(app)

    def test_a_worker_is_asked_by_a_button(
        self, visit: Open, cache: Path, made: Plan, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with working(made, cache=cache) as (settings, _):
            monkeypatch.setenv("KTHINK_WORKER_PORT", str(settings.port))
            app = self.opened(visit, cache, sentences="open")
            assert [button.label for button in app.button if button.label == "Measure"]

    def test_more_rollouts_are_another_question(self, visit: Open, studied: Path) -> None:
        app = self.opened(visit, studied, sentences="open")
        app.selectbox(key="rollouts").set_value(50).run()
        assert "50 rollouts from each" in texts(app) and "tokens to write, about" in texts(app)

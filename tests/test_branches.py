"""Branches of traces: exact tokens, the trace's own segments, and a link to what they were begun as."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.stand_in import SHAPES
from kthink_core import queries
from kthink_core.errors import WorkerRefused
from kthink_core.live.api import Done, EncodeRequest, GenerateRequest, TokenizeRequest, Tokens
from kthink_core.live.branch import Branch
from kthink_core.live.client import WorkerClient
from kthink_core.live.live_trace import LiveTrace
from kthink_core.live.study_requests import RunTrace, StoredTrace
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.records import Inference, Intervention, Trigger
from kthink_core.store.reader import open_reader
from tests.test_alternatives import check
from tests.worker_process import request, working

H1, H2 = SHAPES["tiny"].hookpoints


@pytest.fixture(scope="module")
def stored(tiny_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the tiny experiment."""
    cache = tmp_path_factory.mktemp("cache")
    precompute(tiny_plan, cache, 4, Silent())
    return cache


@pytest.fixture(scope="module")
def client(tiny_plan: Plan, stored: Path) -> Iterator[WorkerClient]:
    with (
        working(tiny_plan, cache=stored, prompt_tokens=40, trace_tokens=400) as (settings, _),
        WorkerClient(settings) as opened,
    ):
        yield opened


def run(client: WorkerClient, asked: GenerateRequest | EncodeRequest) -> tuple[str, LiveTrace]:
    """The job, and what came of it."""
    trace, end = LiveTrace(), None
    for event in client.encode(asked) if isinstance(asked, EncodeRequest) else client.generate(asked):
        if isinstance(event, Tokens):
            trace.add(event)
        end = event
    assert isinstance(end, Done), end
    return end.job, trace


def inference(cache: Path, experiment: str, number: int) -> Inference:
    with open_reader(cache, experiment) as reader:
        return reader.inference(number)


def test_a_branch_with_the_same_token_is_the_greedy_run_itself(client: WorkerClient, tiny_plan: Plan) -> None:
    job, whole = run(client, request(temperature=0, max_new_tokens=30))
    given = whole.segments.count("prompt")
    for position in (given, given + 9):
        for token_id in (whole.token_ids[position], None):
            branch = Branch(trace=RunTrace(job=job), position=position, token_id=token_id)
            left = 30 - (position - given) - (token_id is not None)
            _, again = run(client, request(temperature=0, max_new_tokens=left, branch=branch))
            assert again.token_ids == whole.token_ids and again.segments == whole.segments
            assert again.logprobs[given:] == pytest.approx(whole.logprobs[given:], abs=1e-4)
            assert again.alternatives()["token_id"].tolist() == whole.alternatives()["token_id"].tolist()


def test_a_branch_of_a_stored_trace_is_kept_as_its_child(client: WorkerClient, tiny_plan: Plan, stored: Path) -> None:
    """Its tokens are those of the parent's ids, which no text gives back: a random model writes any."""
    parent = inference(stored, "tiny", 1)
    position = parent.prompt_tokens + 5
    trace = StoredTrace(experiment="tiny", inference=1)
    branch = Branch(trace=trace, position=position, text=" Wait, no")
    asked = request(branch=branch, max_new_tokens=8, seed=5)
    kept = [client.keep(run(client, asked)[0], "Ada")]
    once_more = Branch(trace=StoredTrace(experiment="live", inference=kept[0].inference), position=position, token_id=7)
    kept.append(client.keep(run(client, asked.model_copy(update={"branch": once_more}))[0]))
    child, grandchild = (inference(stored, one.experiment, one.inference) for one in kept)

    put = tiny_plan.lm.tokenizer.encode(" Wait, no", add_special_tokens=False)
    assert child.token_ids[:position].tolist() == parent.token_ids[:position].tolist()
    assert child.token_ids[position : position + len(put)].tolist() == put
    assert (child.prompt_tokens, child.question, child.mode) == (parent.prompt_tokens, parent.question, parent.mode)
    assert child.segments[:position] == parent.segments[:position]
    assert child.generated_tokens == 5 + len(put) + 8
    assert child.alternatives
    check(tiny_plan.lm, child.token_ids.tolist(), child.prompt_tokens, child.alternatives)
    with open_reader(stored, "live") as reader:
        table = queries.branches(reader)
        alone = queries.branches(reader, kept[1].inference)
    assert table[["parent_experiment", "parent_inference", "parent_position", "token_id"]].values.tolist() == [
        ["tiny", 1, position, put[0]],
        ["live", child.inference, position, 7],
    ]
    assert alone.equals(table.iloc[[1]].reset_index(drop=True)) and grandchild.token_ids[position] == 7


def test_the_run_that_a_kept_branch_began_as_is_kept_too(client: WorkerClient, stored: Path) -> None:
    text = "<think>\nOkay, 2 + 2 is 4.</think>\nIt is 4."
    job, trace = run(client, EncodeRequest(text=text, special=True))
    position = trace.segments.index("answer") + 1
    branch = Branch(trace=RunTrace(job=job), position=position, token_id=trace.token_ids[position] + 1)
    kept = client.keep(run(client, request(branch=branch, max_new_tokens=3))[0], "Ada")
    child = inference(stored, kept.experiment, kept.inference)
    assert child.parent_experiment == kept.experiment and child.parent_inference is not None
    parent = inference(stored, kept.experiment, child.parent_inference)
    assert parent.token_ids.tolist() == trace.token_ids and parent.author == "Ada"
    assert child.segments[:position] == tuple(trace.segments[:position])
    assert set(child.segments[position:]) == {"answer"}


def test_a_long_trace_is_no_long_prompt(client: WorkerClient) -> None:
    """Each has a bound of its own."""
    text = "<think>\n" + "Okay, 2 + 2 is 4. " * 20
    found = client.tokenize(TokenizeRequest(prompt=text, template=False, special=True))
    assert found.limit == 400 and 40 < found.count == len(found.token_ids)
    job, trace = run(client, EncodeRequest(text=text, special=True))
    branch = Branch(trace=RunTrace(job=job), position=found.count, token_id=None)
    _, longer = run(client, request(branch=branch, max_new_tokens=3))
    assert longer.token_ids[: found.count] == trace.token_ids == list(found.token_ids)
    with pytest.raises(WorkerRefused, match="more than the 40 allowed"):
        run(client, request(prompt=text))
    with pytest.raises(WorkerRefused, match="more than the 400 allowed"):
        run(client, EncodeRequest(text=text * 2, special=True))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"position": 0}, "behind the prompt"),
        ({"position": 10**6}, "behind the prompt"),
        ({"token_id": 10**6}, "token id 1000000"),
        ({"token_id": -1}, "greater than or equal to 0"),
        ({"text": "a"}, "not both"),
        ({"trace": {"trace": "run", "job": "nobody"}}, "has forgotten that run"),
        ({"trace": {"trace": "stored", "experiment": "none", "inference": 1}}, "unknown experiment"),
        ({"trace": {"trace": "stored", "experiment": "tiny", "inference": 99}}, "inference 99"),
    ],
)
def test_what_is_no_branch_is_refused_in_a_sentence(
    client: WorkerClient, stored: Path, changed: dict[str, object], said: str
) -> None:
    position = inference(stored, "tiny", 1).prompt_tokens + 2
    branch = {"trace": {"trace": "stored", "experiment": "tiny", "inference": 1}, "position": position, "token_id": 9}
    body = request().model_dump() | {"branch": branch | changed}
    with pytest.raises(WorkerRefused, match=said):
        list(client._events("/generate", body))


def test_an_end_is_gone_on_from_by_nothing(client: WorkerClient, tiny_plan: Plan, stored: Path) -> None:
    trace = StoredTrace(experiment="tiny", inference=1)
    position = inference(stored, "tiny", 1).prompt_tokens + 2
    branch = Branch(trace=trace, position=position, token_id=int(tiny_plan.lm.stop_ids[0]))
    with pytest.raises(WorkerRefused, match="nothing would be written after it"):
        run(client, request(branch=branch))


def steered(start: int) -> tuple[Intervention, ...]:
    """One that acts from `start` on, and one that waits for a feature to fire."""
    return (
        Intervention(H1, 5, "clamp", 40.0, start),
        Intervention(H2, 1, "add", 60.0, after=Trigger(H1, 5)),
    )


@pytest.mark.parametrize("start", [2, 12])
def test_a_branch_of_a_steered_trace_goes_on_under_its_steering(client: WorkerClient, stored: Path, start: int) -> None:
    """With the token that stands there it is the greedy run itself, be it live or kept, whether an intervention begins
    before the branch or behind it; and it is kept as that run's child."""
    asked = request(temperature=0, max_new_tokens=20, steering=steered(start))
    job, whole = run(client, asked)
    position = whole.segments.count("prompt") + 7
    parent = client.keep(job)
    assert parent.experiment == "live-steered"
    traces = [RunTrace(job=job), StoredTrace(experiment=parent.experiment, inference=parent.inference)]
    for trace, token_id in zip(traces, [whole.token_ids[position], None], strict=True):
        branch = Branch(trace=trace, position=position, token_id=token_id)
        left = 13 - (token_id is not None)
        again, same = run(client, request(temperature=0, max_new_tokens=left, branch=branch))
        assert same.token_ids == whole.token_ids
        assert same.logprobs[-20:] == pytest.approx(whole.logprobs[-20:], abs=1e-4)
        for hookpoint in (H1, H2):
            own, other = (found.latents(hookpoint) for found in (whole, same))
            assert own["feature"].tolist() == other["feature"].tolist()
            assert own["activation"].to_numpy() == pytest.approx(other["activation"].to_numpy(), rel=1e-3, abs=1e-3)
        kept = client.keep(again)
        one, child = (inference(stored, "live-steered", number) for number in (parent.inference, kept.inference))
        assert (child.parent_experiment, child.parent_inference) == ("live-steered", parent.inference)
        assert child.interventions == one.interventions == steered(start)
        for receipt, before in zip(child.receipts, one.receipts, strict=True):
            assert (receipt.began, receipt.positions) == (before.began, before.positions)
            assert receipt.change_median == pytest.approx(before.change_median, rel=1e-3)
            assert receipt.after_max == pytest.approx(before.after_max, rel=1e-3)
            assert all(check.holds for check in receipt.checks)
    free = request(temperature=0, max_new_tokens=20)
    assert run(client, free)[1].token_ids != whole.token_ids, "the steering shows"
    with pytest.raises(WorkerRefused, match="goes on under the steering of its trace"):
        run(client, request(branch=Branch(trace=traces[0], position=position), steering=steered(start)))

"""The engine on a tiny random model: what jobs see, in which order they come, and what ends them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.stand_in import SHAPES
from kthink_core.errors import MissingFiles, QueueFull, UnknownName, WorkerFailed, WorkerUnready
from kthink_core.live.api import (
    ENDS,
    Done,
    EncodeRequest,
    Event,
    Failed,
    GenerateRequest,
    Queued,
    Started,
    Tokens,
)
from kthink_core.model.replay import replay
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.prompts import prompt_ids
from kthink_core.store.journal import read_segment
from kthink_core.worker.background import background
from kthink_core.worker.engine import Engine
from kthink_core.worker.jobs import Job
from tests.store_samples import committed
from tests.worker_process import QUESTIONS, request, tokens_of


@pytest.fixture
def engine(tiny_plan: Plan) -> Iterator[Engine]:
    engine = Engine(lambda: tiny_plan, None, 8)
    yield engine
    engine.close()


class Heard:
    """A job, and the events that it told."""

    def __init__(self, engine: Engine, request: GenerateRequest | EncodeRequest, tiny_plan: Plan) -> None:
        tokenizer = tiny_plan.lm.tokenizer
        if isinstance(request, GenerateRequest):
            ids = prompt_ids(tokenizer, tiny_plan.lm.frames, request.prompt, request.mode)
        else:
            ids = tokenizer.encode(request.text)
        self._events: queue.Queue[Event] = queue.Queue()
        self.job = Job(request, tuple(ids), self._events.put)
        while engine.plan is None:
            threading.Event().wait(0.01)
        engine.submit(self.job)

    def next(self) -> Event:
        return self._events.get(timeout=300)

    def all(self) -> list[Event]:
        events = [self.next()]
        while not isinstance(events[-1], ENDS):
            events.append(self.next())
        return events


def test_a_generation_is_what_the_pipeline_would_store(engine: Engine, tiny_plan: Plan, tmp_path: Path) -> None:
    precompute(tiny_plan, tmp_path, 8, Silent())
    for inference, question in enumerate(QUESTIONS):
        stored = read_segment(tmp_path / "tiny" / "journal" / f"{inference:06d}.parquet")
        heard = Heard(engine, request(prompt=question, seed=inference), tiny_plan)
        events = heard.all()
        assert tokens_of(events) == stored.token_ids.tolist()
        kept = heard.job.inference
        assert kept is not None and kept.texts == stored.texts and kept.segments == stored.segments
        np.testing.assert_allclose(kept.logprobs, stored.logprobs, atol=1e-5)
        shown = [segment for event in events if isinstance(event, Tokens) for segment in event.segments]
        assert tuple(shown) == stored.segments


def test_latents_are_those_of_a_teacher_forced_pass(engine: Engine, tiny_plan: Plan) -> None:
    """Relative error below 1e-3; other features only where activations nearly tie."""
    events = Heard(engine, request(seed=5), tiny_plan).all()
    ids = tokens_of(events)
    hookpoints = list(tiny_plan.saes.by_hookpoint)
    forced = replay(tiny_plan.lm, [ids], hookpoints, "hookpoint")[0]
    for hookpoint, sae in tiny_plan.saes.by_hookpoint.items():
        wanted = sae.encode(forced.vectors[hookpoint])
        position = 0
        for event in events:
            for index in range(len(event.token_ids) if isinstance(event, Tokens) else 0):
                assert isinstance(event, Tokens)
                latents = event.latents[hookpoint]
                got = dict(zip(latents.features[index], latents.activations[index], strict=True))
                pairs = zip(wanted.top_indices[position].tolist(), wanted.top_acts[position].tolist(), strict=True)
                true = {feature: value for feature, value in pairs if value > 0}
                least = min(true.values())
                for feature in got.keys() | true.keys():
                    assert got.get(feature, least) == pytest.approx(true.get(feature, least), rel=1e-3, abs=1e-6)
                position += 1
        assert position == len(ids)


def test_encode_generates_nothing(engine: Engine, tiny_plan: Plan) -> None:
    events = Heard(engine, EncodeRequest(text="Wait, hmm."), tiny_plan).all()
    (tokens,) = [event for event in events if isinstance(event, Tokens)]
    assert list(tokens.token_ids) == tiny_plan.lm.tokenizer.encode("Wait, hmm.")
    assert set(tokens.segments) == {"prompt"}
    assert tokens.logprobs[0] is None and all(value is not None for value in tokens.logprobs[1:])


def test_together_as_alone(engine: Engine, tiny_plan: Plan) -> None:
    together = [Heard(engine, request(seed=seed), tiny_plan) for seed in range(6)]
    streams = [tokens_of(heard.all()) for heard in together]
    for seed, stream in enumerate(streams):
        assert tokens_of(Heard(engine, request(seed=seed), tiny_plan).all()) == stream
    assert len({tuple(stream) for stream in streams}) > 1


def test_asked_hookpoints_only(engine: Engine, tiny_plan: Plan) -> None:
    one = SHAPES["tiny"].hookpoints[0]
    events = Heard(engine, request(hookpoints=(one,)), tiny_plan).all()
    assert {hookpoint for event in events if isinstance(event, Tokens) for hookpoint in event.latents} == {one}
    with pytest.raises(UnknownName, match=r"layers\.9"):
        Heard(engine, request(hookpoints=("layers.9",)), tiny_plan)


class Held:
    """Holds the engine's thread at the first token of a job, so that others wait behind it."""

    def __init__(self, engine: Engine, tiny_plan: Plan) -> None:
        self._go, self._there = threading.Event(), threading.Event()
        self.events: list[Event] = []
        ids = tuple(prompt_ids(tiny_plan.lm.tokenizer, tiny_plan.lm.frames, QUESTIONS[0], "think"))
        while engine.plan is None:
            threading.Event().wait(0.01)
        self.job = Job(request(), ids, self._hear)
        engine.submit(self.job)
        assert self._there.wait(300)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Tokens):
            self._there.set()
            assert self._go.wait(300)

    def release(self) -> None:
        self._go.set()


def test_positions_and_order(engine: Engine, tiny_plan: Plan) -> None:
    held = Held(engine, tiny_plan)
    waiting = [Heard(engine, request(), tiny_plan) for _ in range(3)]
    first = [heard.next() for heard in waiting]
    assert [event.position for event in first if isinstance(event, Queued)] == [1, 2, 3]
    held.release()
    last = waiting[2].all()
    positions = [event.position for event in last if isinstance(event, Queued)]
    assert positions == sorted(positions, reverse=True) and positions[-1] <= 1
    assert any(isinstance(event, Started) for event in last)


def test_a_cancelled_queued_job_never_starts(engine: Engine, tiny_plan: Plan) -> None:
    held = Held(engine, tiny_plan)
    waiting = Heard(engine, request(), tiny_plan)
    engine.cancel(waiting.job.id)
    held.release()
    assert [event.event for event in waiting.all() if not isinstance(event, Queued)] == ["cancelled"]
    assert waiting.job.state == "cancelled"


def test_cancel_takes_effect_within_one_token(engine: Engine, tiny_plan: Plan) -> None:
    held = Held(engine, tiny_plan)  # at its first event of tokens, which it tells
    engine.cancel(held.job.id)
    held.release()
    assert Heard(engine, request(), tiny_plan).all()[-1].event == "done"
    assert held.job.state == "cancelled"
    assert [event.event for event in held.events] == ["queued", "started", "tokens", "cancelled"]


def test_the_queue_is_bounded(engine: Engine, tiny_plan: Plan) -> None:
    held = Held(engine, tiny_plan)
    for _ in range(8):
        Heard(engine, request(), tiny_plan)
    with pytest.raises(QueueFull, match="8 jobs"):
        Heard(engine, request(), tiny_plan)
    held.release()


@pytest.mark.parametrize(
    ("error", "told"),
    [(torch.OutOfMemoryError("CUDA out of memory"), "ran out of memory"), (ZeroDivisionError("secret"), "log tells")],
)
def test_a_failed_job_fails_alone(tiny_plan: Plan, error: Exception, told: str) -> None:
    def fail(_module: object, _inputs: object) -> None:
        raise error

    engine = Engine(lambda: tiny_plan, None, 8)
    handle = tiny_plan.lm.model.base_model.register_forward_pre_hook(fail)
    try:
        heard = Heard(engine, request(), tiny_plan)
        end = heard.all()[-1]
    finally:
        handle.remove()
    assert isinstance(end, Failed) and told in end.message and "secret" not in end.message
    assert heard.job.trace is not None and type(error).__name__ in heard.job.trace
    assert Heard(engine, request(), tiny_plan).all()[-1].event == "done"
    engine.close()


def test_live_jobs_go_before_the_background(tiny_plan: Plan, tmp_path: Path) -> None:
    """A job that comes while the background computes is done before the background's batch is."""
    order: list[str] = []
    heard: list[Heard] = []
    run = background(tmp_path, 8)

    def submit_at_first_token(plan: Plan, engine: Engine) -> None:
        waiting = engine.perform_waiting

        def perform(**options: bool) -> bool:
            if not heard:
                heard.append(Heard(engine, request(), tiny_plan))
            done = waiting(**options)
            order.append(f"job {heard[0].job.state}, stored {len(committed(tmp_path, 'tiny'))}")
            return done

        engine.perform_waiting = perform
        run(plan, engine)

    engine = Engine(lambda: tiny_plan, submit_at_first_token, 8)
    while engine.plan is None or len(committed(tmp_path, "tiny")) < len(QUESTIONS):
        threading.Event().wait(0.01)
    engine.close()
    assert order[0] == "job done, stored 0"


def test_closing_ends_the_background_in_order(tiny_plan: Plan, tmp_path: Path) -> None:
    engine = Engine(lambda: tiny_plan, background(tmp_path, 1), 8)
    while not committed(tmp_path, "tiny"):
        threading.Event().wait(0.005)
    engine.close()
    precompute(tiny_plan, tmp_path, 1, Silent())
    assert committed(tmp_path, "tiny") == frozenset(range(len(QUESTIONS)))


@pytest.mark.parametrize(
    ("error", "told"),
    [(MissingFiles("no such model"), "no such model"), (torch.OutOfMemoryError("no room"), "OutOfMemoryError")],
)
def test_what_cannot_be_loaded_is_said(error: Exception, told: str) -> None:
    def load() -> Plan:
        raise error

    engine = Engine(load, None, 8)
    engine.close()
    assert told in str(engine.failure)
    assert isinstance(engine.failure, WorkerFailed) == (told == "OutOfMemoryError")


def test_an_engine_that_cannot_go_on_fails_what_waits_and_takes_nothing_more(
    tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an error has left a GPU useless."""

    def fail(_module: object, _inputs: object) -> None:
        raise ZeroDivisionError

    def useless() -> None:
        raise RuntimeError("device-side assert")

    engine = Engine(lambda: tiny_plan, None, 8)
    held, waiting = Held(engine, tiny_plan), Heard(engine, request(), tiny_plan)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", useless)
    handle = tiny_plan.lm.model.base_model.register_forward_pre_hook(fail)
    held.release()
    assert waiting.all()[-1].event == "failed"
    handle.remove()
    engine.close()
    assert held.job.state == waiting.job.state == "failed"
    with pytest.raises(WorkerUnready):
        Heard(engine, request(), tiny_plan)


def test_ended_jobs_hold_little(engine: Engine, tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kthink_core.worker.engine._KEEPABLE", 2)
    monkeypatch.setattr("kthink_core.worker.engine._REMEMBERED", 3)
    jobs = []
    for _ in range(5):
        heard = Heard(engine, request(max_new_tokens=2), tiny_plan)
        heard.all()
        jobs.append(heard.job)
    Heard(engine, EncodeRequest(text="a"), tiny_plan).all()
    assert [job.inference is not None for job in jobs] == [False, False, False, True, True]
    assert [engine.find(job.id) is not None for job in jobs] == [False, False, False, True, True]


def test_some_hookpoints_make_an_end_but_nothing_to_keep(engine: Engine, tiny_plan: Plan) -> None:
    hookpoint = next(iter(tiny_plan.saes.by_hookpoint))
    heard = Heard(engine, request(hookpoints=(hookpoint,)), tiny_plan)
    end = heard.all()[-1]
    assert isinstance(end, Done) and end.finish_reason == "length" and heard.job.inference is None

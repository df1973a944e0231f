"""The engine on a tiny random model: what jobs see, in which order they come, and what ends them."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

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
from kthink_core.model.language_model import LanguageModel, load_model
from kthink_core.model.replay import replay
from kthink_core.model.sampling import Sampling
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.prompts import prompt_ids
from kthink_core.records import Encoding, Inference, Problem, Prompt
from kthink_core.store.completion import is_outdated
from kthink_core.store.journal import read_segment
from kthink_core.store.reader import open_reader
from kthink_core.worker.background import background
from kthink_core.worker.engine import Engine
from kthink_core.worker.jobs import Job
from kthink_core.worker.keeping import Keeping
from kthink_core.worker.stream import generate_live
from tests.store_samples import as_schema_2, committed, sample_experiment, sample_inferences, write_sample
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
        for hookpoint, encoding in stored.encodings.items():  # what is encoded together differs in the last bits
            live = kept.encodings[hookpoint]
            close = {"rtol": 1e-4, "atol": 1e-5}
            np.testing.assert_allclose(dense(live), dense(encoding), **close)
            np.testing.assert_allclose(live.squared_error, encoding.squared_error, **close)
            np.testing.assert_allclose(live.squared_norm, encoding.squared_norm, **close)
            assert list(live.vector_sums) == list(encoding.vector_sums)
            for segment, vector in encoding.vector_sums.items():
                np.testing.assert_allclose(live.vector_sums[segment], vector, **close)


def dense(encoding: Encoding) -> NDArray[np.float32]:
    """Activations by position and feature."""
    table = np.zeros((len(encoding.features), SHAPES["tiny"].num_latents), np.float32)
    np.put_along_axis(table, encoding.features, encoding.activations, axis=1)
    return table


def test_each_position_is_encoded_once(engine: Engine, tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: dict[str, int] = {}
    for hookpoint, sae in tiny_plan.saes.by_hookpoint.items():

        def counted(vectors: torch.Tensor, own: Any = sae.encode, hookpoint: str = hookpoint) -> Any:
            rows[hookpoint] = rows.get(hookpoint, 0) + len(vectors)
            return own(vectors)

        monkeypatch.setattr(sae, "encode", counted)
    heard = Heard(engine, request(), tiny_plan)
    positions = len(tokens_of(heard.all()))
    assert heard.job.inference is not None
    assert rows == dict.fromkeys(tiny_plan.saes.by_hookpoint, positions)


def test_the_first_new_token_is_told_at_once(engine: Engine, tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kthink_core.worker.stream.TOGETHER", float("inf"))
    heard = Heard(engine, request(), tiny_plan)
    told = [event for event in heard.all() if isinstance(event, Tokens)]
    assert [len(event.token_ids) for event in told] == [len(heard.job.token_ids), 1, 23]
    assert [event.first for event in told] == [0, len(heard.job.token_ids), len(heard.job.token_ids) + 1]


@pytest.mark.parametrize("together", [0.0, float("inf")])
def test_a_thought_that_ends_in_several_tokens(
    tiny: Path, tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch, together: float
) -> None:
    """Of a tokenizer that has no token for `</think>`, as of models that were not made to reason."""
    monkeypatch.setattr("kthink_core.worker.stream.TOGETHER", together)
    written = "Hmm<</think>So"  # it nearly ends before it does
    lm = reciting(load_model(str(tiny / "model"), None, torch.device("cpu")), written)
    close = lm.tokenizer.encode("</think>", add_special_tokens=False)
    ids = lm.tokenizer.encode(written, add_special_tokens=False)
    assert len(close) > 1
    prompt = Prompt(0, Problem(0, "", None), "think", 0, (0,))
    sampling = Sampling(0.0, 1.0, len(ids))
    parts = list(generate_live(lm, tiny_plan.saes, "hookpoint", prompt, sampling))
    made = parts[-1]
    assert isinstance(made, Inference) and made.token_ids[1:].tolist() == ids
    end = next(at for at in range(len(ids)) if ids[at : at + len(close)] == close) + len(close)
    wanted = ("prompt", *["think"] * end, *["answer"] * (len(ids) - end))
    assert made.segments == wanted and "answer" in wanted
    assert tuple(segment for part in parts if isinstance(part, Tokens) for segment in part.segments) == wanted
    assert list(made.encodings[SHAPES["tiny"].hookpoints[0]].vector_sums) == ["prompt", "think", "answer"]


def reciting(lm: LanguageModel, text: str) -> LanguageModel:
    """The model made to write a text after token 0, which must hold no token twice, without a token for `</think>`."""
    pieces = json.loads(lm.tokenizer.backend_tokenizer.to_str())
    pieces["added_tokens"] = [token for token in pieces["added_tokens"] if token["content"] != "</think>"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(pieces)))
    ids = [0, *tokenizer.encode(text, add_special_tokens=False)]
    assert len(set(ids)) == len(ids)
    for layer in lm.model.base_model.layers:  # nothing is added to the embedding, which tells the next token
        layer.self_attn.o_proj.weight.data.zero_()
        layer.mlp.down_proj.weight.data.zero_()
    embedded, head = lm.model.get_input_embeddings().weight.data, lm.model.get_output_embeddings().weight.data
    head.zero_()
    for token_id, following in pairwise(ids):
        embedded[token_id] = torch.nn.functional.normalize(embedded[token_id], dim=0)
        head[following] = embedded[token_id]
    return lm._replace(tokenizer=tokenizer)


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
                pairs = zip(wanted.indices[position].tolist(), wanted.activations[position].tolist(), strict=True)
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
    run = background(tmp_path, 8, Keeping(tmp_path))

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


def test_once_loaded_it_brings_up_to_date_what_an_older_version_kept(tiny_plan: Plan, tmp_path: Path) -> None:
    kept = sample_experiment("live").model_copy(update={"inferences": 0, "open_ended": True})
    write_sample(tmp_path, kept, sample_inferences(kept, 3), 3)
    as_schema_2(tmp_path / "live")
    engine = Engine(lambda: tiny_plan, background(tmp_path, 8, Keeping(tmp_path)), 8)
    while is_outdated(tmp_path, "live"):
        threading.Event().wait(0.01)
    engine.close()
    with open_reader(tmp_path, "live") as reader:
        assert reader.inference_ids == (0, 1, 2)


def test_closing_ends_the_background_in_order(tiny_plan: Plan, tmp_path: Path) -> None:
    engine = Engine(lambda: tiny_plan, background(tmp_path, 1, Keeping(tmp_path)), 8)
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

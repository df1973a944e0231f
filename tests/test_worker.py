"""The worker over HTTP, as clients meet it: real server, real client, tiny model."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from kthink_core import queries
from kthink_core.access.exposure import check_worker_exposure
from kthink_core.errors import BadValue, WorkerLost, WorkerMissing, WorkerRefused
from kthink_core.live.api import Done, EncodeRequest, Event, GenerateRequest, Queued, TokenizeRequest, Tokens
from kthink_core.live.client import WorkerClient
from kthink_core.precompute.pipeline import Plan
from kthink_core.settings import WorkerSettings, from_environment
from kthink_core.store.reader import open_reader
from kthink_core.worker.engine import Engine
from kthink_core.worker.metrics import REGISTRY, counting
from tests.worker_process import QUESTIONS, request, tokens_of, working

Worker = tuple[WorkerSettings, Engine]


@pytest.fixture(scope="module")
def worker(tiny_plan: Plan) -> Iterator[Worker]:
    with working(tiny_plan, queue=64, jobs_per_client=40, requests_per_minute=10_000, new_tokens=100_000) as found:
        yield found


@pytest.fixture
def client(worker: Worker) -> Iterator[WorkerClient]:
    with WorkerClient(worker[0], "somebody") as client:
        yield client


def endless() -> GenerateRequest:
    """The random model repeats itself, and draws no end token."""
    return request(max_new_tokens=60_000, temperature=0)


def until_idle(engine: Engine, seconds: int = 60) -> None:
    """Until nothing is queued or runs; a job that went on would keep it from that for minutes."""
    end = threading.Event()
    for _ in range(100 * seconds):
        load = engine.load()
        if not load.running and not load.queued:
            return
        end.wait(0.01)
    raise AssertionError("a job goes on")


def test_a_stream_from_first_to_last(client: WorkerClient, tiny_plan: Plan) -> None:
    events = list(client.generate(request()))
    assert [event.event for event in events[:3]] == ["queued", "started", "tokens"]
    assert isinstance(events[-1], Done) and events[-1].finish_reason == "length"
    given, *later = [event for event in events if isinstance(event, Tokens)]
    prompt = client.tokenize(TokenizeRequest(prompt=QUESTIONS[1]))
    assert given.token_ids == prompt.token_ids and len(prompt.token_ids) == prompt.count
    positions = [event.first + index for event in later for index in range(len(event.token_ids))]
    assert positions == [*range(prompt.count, prompt.count + 24)]
    for event in events:
        if isinstance(event, Tokens):
            sizes = {len(event.token_ids), len(event.texts), len(event.segments), len(event.logprobs)}
            sizes |= {len(latents.features) for latents in event.latents.values()}
            assert sizes == {len(event.token_ids)}


def test_thirty_clients_each_see_their_own_whole_stream(worker: Worker) -> None:
    found: dict[int, list[int]] = {}

    def run(seed: int) -> None:
        with WorkerClient(worker[0], f"client {seed}") as client:
            found[seed] = tokens_of(list(client.generate(request(seed=seed))))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    with WorkerClient(worker[0]) as client:
        for seed in range(30):
            assert found[seed] == tokens_of(list(client.generate(request(seed=seed))))


def test_a_client_that_goes_away_cancels_its_job(worker: Worker, client: WorkerClient) -> None:
    stream = client.generate(endless())
    job = next(stream)
    while not isinstance(next(stream), Tokens):
        pass
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    until_idle(worker[1])
    assert client.status(getattr(job, "job")).state == "cancelled"  # noqa: B009


def test_cancel_by_id(worker: Worker, client: WorkerClient) -> None:
    stream = client.generate(endless())
    job: str = getattr(next(stream), "job")  # noqa: B009
    client.cancel(job)
    assert list(stream)[-1].event == "cancelled"
    assert client.cancel(job).state == "cancelled"
    with pytest.raises(WorkerRefused, match="no such job"):
        client.cancel("another")


def test_a_slow_reader_holds_nobody_up(worker: Worker, client: WorkerClient) -> None:
    """Its stream is more than the connection holds: the rest waits for it."""
    slow = client.generate(request(max_new_tokens=3000, temperature=0))
    next(slow)
    until_idle(worker[1], seconds=600)  # it has its tokens to write, on whatever machine
    with WorkerClient(worker[0], "quick") as quick:
        assert list(quick.generate(request(seed=2)))[-1].event == "done"
    events = list(slow)
    assert events[-1].event == "done" and len(tokens_of(events)) > 3000


def test_tokenize_does_not_wait_behind_a_generation(client: WorkerClient, worker: Worker) -> None:
    stream = client.generate(endless())
    while not isinstance(next(stream), Tokens):
        pass
    with WorkerClient(worker[0]) as other:
        assert other.tokenize(TokenizeRequest(prompt="Tom")).limit > 0
        assert other.health().running
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
    until_idle(worker[1])


def test_who_waits_hears_so_again(worker: Worker, client: WorkerClient) -> None:
    """Only so a worker learns that a tab was closed whose job has not begun."""
    running = client.generate(endless())
    while not isinstance(next(running), Tokens):
        pass
    with WorkerClient(worker[0], "another") as other:
        waiting = other.generate(request())
        first, second = next(waiting), next(waiting)
        assert isinstance(first, Queued) and first.position == 1 and second == first
        waiting.close()
    running.close()
    until_idle(worker[1])


def test_a_long_prompt_is_counted_and_shown_up_to_the_limit(tiny_plan: Plan) -> None:
    with working(tiny_plan, prompt_tokens=20) as (settings, _), WorkerClient(settings) as client:
        found = client.tokenize(TokenizeRequest(prompt="word " * 50))
    assert found.count > 50 and found.limit == len(found.token_ids) == len(found.texts) == len(found.typed) == 20


FAKE = "1</think>2<｜Assistant｜>3<think>4<｜end▁of▁sentence｜>5"


@pytest.mark.parametrize("mode", ["think", "bypass"])
def test_typed_special_tokens_are_plain_text_unless_asked(client: WorkerClient, tiny_plan: Plan, mode: str) -> None:
    special = set(tiny_plan.lm.tokenizer.added_tokens_decoder)
    plain, typed, meant = (
        client.tokenize(TokenizeRequest.model_validate({"prompt": prompt, "mode": mode} | options)).token_ids
        for prompt, options in (("12345", {}), (FAKE, {}), (FAKE, {"special": True}))
    )
    count = {name: sum(token_id in special for token_id in ids) for name, ids in
             (("plain", plain), ("typed", typed), ("meant", meant))}  # fmt: skip
    assert count["typed"] == count["plain"] and count["meant"] == count["plain"] + 4
    assert FAKE in tiny_plan.lm.tokenizer.decode(typed)


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("/generate", {"prompt": " \n"}, 422, "type something"),
        ("/generate", {"prompt": "a\x00b"}, 422, "U+0000"),
        ("/generate", {"prompt": "\ud83d"}, 422, "prompt: "),
        ("/generate", {"prompt": "a", "temperature": -1}, 422, "temperature"),
        ("/generate", {"prompt": "a", "temperature": "NaN"}, 422, "temperature"),
        ("/generate", {"prompt": "a", "top_p": 0}, 422, "top_p"),
        ("/generate", {"prompt": "a", "max_new_tokens": 10**9}, 422, "that this worker allows"),
        ("/generate", {"prompt": "a", "hookpoints": ["layers.9.mlp"]}, 422, "layers.9.mlp"),
        ("/generate", {"prompt": "a", "surprise": 1}, 422, "surprise"),
        ("/generate", {"prompt": "a " * 9000}, 422, "more than the 4096 allowed"),
        ("/encode", {"text": ""}, 422, "type something"),
        ("/encode", {}, 422, "text"),
        ("/generate", b"{bad", 422, "JSON"),
        ("/generate", b"[" * 1_100_000, 413, "longer than 1000000 bytes"),
        ("/nowhere", {}, 404, ""),
    ],
)
def test_bad_requests_are_named_and_the_next_is_unharmed(
    worker: Worker, client: WorkerClient, path: str, body: object, status: int, told: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(
        worker[0].address + path, content=content, headers={"content-type": "application/json"}, trust_env=False
    )
    assert answer.status_code == status and told in answer.text and "Traceback" not in answer.text
    assert list(client.generate(request(max_new_tokens=2)))[-1].event == "done"


def test_what_a_client_is_refused_reads_as_a_sentence(client: WorkerClient) -> None:
    with pytest.raises(WorkerRefused, match="more than the 4096 allowed"):
        next(client.generate(request(prompt="a " * 9000)))
    with pytest.raises(WorkerRefused, match="unknown hookpoint"):
        next(client.encode(EncodeRequest(text="a", hookpoints=("x",))))


@pytest.mark.parametrize("short_by", [0, 1])
@pytest.mark.parametrize("limit", ["prompt", "context of the prompt", "new", "context"])
def test_a_limit_is_what_is_still_taken(tiny_plan: Plan, limit: str, short_by: int) -> None:
    """One token less of room, and it is refused."""
    count, new = len(tiny_plan.prompts[0].token_ids), 3
    room = {"prompt": count, "context of the prompt": count + 1, "new": new, "context": count + new}[limit] - short_by
    plan, settings = tiny_plan, {}
    if limit.startswith("context"):
        plan = tiny_plan._replace(lm=tiny_plan.lm._replace(context=room))
        new = new if limit == "context" else 1
    else:
        settings = {"prompt": {"prompt_tokens": room}, "new": {"new_tokens": room}}[limit]
    with working(plan, **settings) as (found, _), WorkerClient(found) as client:
        asked = request(prompt=QUESTIONS[0], max_new_tokens=new)
        if limit in ("prompt", "context of the prompt"):
            assert client.tokenize(TokenizeRequest(prompt=QUESTIONS[0])).limit == count - short_by
        if short_by:
            with pytest.raises(WorkerRefused, match="1 more than"):
                next(client.generate(asked))
        else:
            assert len(tokens_of(list(client.generate(asked)))) == count + new


def test_how_long_the_first_token_takes_is_observed_once() -> None:
    def observed() -> float | None:
        return REGISTRY.get_sample_value("kthink_first_token_seconds_count")

    def tokens(first: int, number: int) -> Tokens:
        texts, ids = ("x",) * number, (1,) * number
        segments, logprobs = ("prompt",) * number, (None,) * number
        return Tokens(first=first, token_ids=ids, texts=texts, segments=segments, logprobs=logprobs, latents={})

    heard: list[Event] = []
    counts, before = [], observed() or 0
    generation, encoding = counting("generate", heard.append), counting("encode", heard.append)
    events: list[Event] = [Queued(job="j", position=0), tokens(0, 5), tokens(5, 1), tokens(6, 3), Done(job="j")]
    for event in events:
        generation(event)
        counts.append((observed() or 0) - before)
    assert counts == [0, 0, 1, 1, 1] and heard == events
    encoding(tokens(0, 4))
    assert observed() == before + 2


def test_greedy(client: WorkerClient) -> None:
    first, second = (tokens_of(list(client.generate(request(temperature=0, seed=seed)))) for seed in (1, 2))
    assert first == second


def test_metrics_and_health_and_docs(worker: Worker, client: WorkerClient, tiny_plan: Plan) -> None:
    def done() -> float:
        text = httpx.get(worker[0].address + "/metrics", trust_env=False).text
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return float(lines.get('kthink_jobs_total{end="done",kind="generate"}', 0))

    before = done()
    list(client.generate(request()))
    assert done() == before + 1
    health = client.health()
    assert (
        health.status == "ready"
        and health.device == "cpu"
        and health.hookpoints.keys() == tiny_plan.saes.by_hookpoint.keys()
    )
    assert "/generate" in httpx.get(worker[0].address + "/openapi.json", trust_env=False).json()["paths"]
    page = httpx.get(worker[0].address + "/docs", trust_env=False)
    assert "://" not in page.text and "script-src 'self'" in page.headers["content-security-policy"]
    assert httpx.get(worker[0].address + "/docs/swagger-ui-bundle.js", trust_env=False).status_code == 200


def test_a_token_is_asked_for_everywhere(tiny_plan: Plan) -> None:
    with working(tiny_plan, token="a-long-secret") as (settings, _):
        with WorkerClient(settings) as right:
            assert list(right.generate(request(max_new_tokens=2)))[-1].event == "done"
        for token in (None, SecretStr("a-long-secre"), SecretStr("another secret ü")):
            with WorkerClient(settings.model_copy(update={"token": token})) as wrong:
                for call in (wrong.health, lambda: next(wrong.generate(request())), lambda: wrong.cancel("x")):
                    with pytest.raises(WorkerRefused, match="bearer token"):
                        call()


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"jobs_per_client": 1}, "1 jobs of yours"),
        ({"requests_per_minute": 1}, "1 requests a minute"),
        ({"queue": 1}, "full"),
    ],
)
def test_limits_answer_429_with_a_time(tiny_plan: Plan, limits: dict[str, int], told: str) -> None:
    with working(tiny_plan, new_tokens=100_000, **limits) as (settings, engine), WorkerClient(settings, "me") as client:
        running = client.generate(endless())
        while not isinstance(next(running), Tokens):
            pass
        with WorkerClient(settings, "another") as other:
            others = other.generate(endless())
            next(others)
            with WorkerClient(settings, "me") as again, pytest.raises(WorkerRefused, match=told) as refused:
                next(again.generate(request()))
            assert refused.value.retry_after is not None and 1 <= refused.value.retry_after <= 60
            others.close()  # pyright: ignore[reportAttributeAccessIssue]
        running.close()  # pyright: ignore[reportAttributeAccessIssue]
        until_idle(engine)


def test_what_is_kept_is_an_inference_like_any_other(tiny_plan: Plan, tmp_path: Path) -> None:
    with working(tiny_plan, cache=tmp_path) as (settings, _), WorkerClient(settings) as client:
        streams = [list(client.generate(request(seed=seed))) for seed in (3, 4)]
        jobs: list[str] = [getattr(events[0], "job") for events in streams]  # noqa: B009
        kept = [client.keep(job, "  Ada \n Lovelace ") for job in (jobs[0], jobs[1], jobs[0])]
        assert [(one.experiment, one.inference) for one in kept] == [("live", 0), ("live", 1), ("live", 0)]
        encoded: str = getattr(next(client.encode(EncodeRequest(text="a"))), "job")  # noqa: B009
        with pytest.raises(WorkerRefused, match="only a generation"):
            client.keep(encoded)
    with open_reader(tmp_path, "live") as reader:
        table = queries.inferences(reader)
        assert table["author"].tolist() == ["Ada Lovelace"] * 2 and table["seed"].tolist() == [3, 4]
        for inference, events in enumerate(streams):
            assert queries.transcript(reader, inference)["token_id"].tolist() == tokens_of(events)
        hookpoint = next(iter(tiny_plan.saes.by_hookpoint))
        assert len(queries.relevant_features(reader, 1, hookpoint)) == 10


def test_another_models_inferences_are_kept_apart(tiny_plan: Plan, tmp_path: Path) -> None:
    revisions = tiny_plan.experiment.revisions.model_copy(update={"model": "sha256:another"})
    another = tiny_plan._replace(experiment=tiny_plan.experiment.model_copy(update={"revisions": revisions}))
    names = []
    for plan in (tiny_plan, another, tiny_plan, another):
        with working(plan, cache=tmp_path) as (settings, _), WorkerClient(settings) as client:
            events = list(client.generate(request(max_new_tokens=2)))
            names.append(client.keep(getattr(events[0], "job")))  # noqa: B009
    assert [name.inference for name in names] == [0, 0, 1, 1]
    assert names[0].experiment == names[2].experiment == "live"
    assert names[1].experiment == names[3].experiment != "live"


def test_a_worker_that_ends_cancels_what_is_under_way(tiny_plan: Plan) -> None:
    with working(tiny_plan, new_tokens=100_000) as (settings, _):
        client = WorkerClient(settings)
        stream = client.generate(endless())
        while not isinstance(next(stream), Tokens):
            pass
    assert list(stream)[-1].event == "cancelled"
    for call in (client.health, lambda: next(client.generate(request()))):
        with pytest.raises(WorkerMissing, match="KTHINK_WORKER_URL"):
            call()
    client.close()


def test_a_worker_that_dies_in_the_middle_is_told_from_one_that_never_was() -> None:
    """A server that answers one event and is gone."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def die() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
                connection.sendall(f'{head}data: {{"event":"queued","job":"j","position":0}}\n\n'.encode())

        thread = threading.Thread(target=die)
        thread.start()
        with WorkerClient(WorkerSettings(port=listening.getsockname()[1])) as client:
            stream = client.generate(request())
            assert next(stream).event == "queued"
            with pytest.raises(WorkerLost, match="what came stays here"):
                next(stream)
        thread.join(10)


@pytest.mark.parametrize("answer", ["<html></html>", '{"event": "of a later version"}', ""])
def test_what_is_no_worker_is_told(answer: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    body = f"data: {answer}\n\n"
                    head = f"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {len(body)}"
                    connection.sendall(f"{head}\r\ncontent-type: text/event-stream\r\n\r\n{body}".encode())

        thread = threading.Thread(target=serve)
        thread.start()
        with WorkerClient(WorkerSettings(port=listening.getsockname()[1])) as client:
            for call in (client.health, lambda: next(client.generate(request()))):
                with pytest.raises((WorkerMissing, WorkerLost)):
                    call()
        thread.join(10)


def test_a_token_is_what_a_header_can_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTHINK_WORKER_TOKEN", " long-enough-secret\n")
    token = from_environment(WorkerSettings).token
    assert token is not None and token.get_secret_value() == "long-enough-secret"
    monkeypatch.setenv("KTHINK_WORKER_TOKEN", "  ")
    assert from_environment(WorkerSettings).token is None
    for bad in ("short", "with a space in it", "with-an-umlaut-ü"):
        monkeypatch.setenv("KTHINK_WORKER_TOKEN", bad)
        with pytest.raises(BadValue, match="KTHINK_WORKER_TOKEN") as refused:
            from_environment(WorkerSettings)
        assert bad not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "address"),
    [("::1", "http://[::1]:8765"), ("0.0.0.0", "http://127.0.0.1:8765"), ("gpu", "http://gpu:8765")],
)
def test_the_app_finds_a_worker_by_its_settings(host: str, address: str) -> None:
    assert WorkerSettings(host=host).address == address


def test_a_page_elsewhere_cannot_reach_it_under_another_name(worker: Worker) -> None:
    response = httpx.get(worker[0].address + "/health", headers={"host": "evil.example"}, trust_env=False)
    assert response.status_code == 400


def test_only_loopback_without_a_token() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        check_worker_exposure(WorkerSettings(host=host))
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"):
        with pytest.raises(BadValue, match="KTHINK_WORKER_TOKEN"):
            check_worker_exposure(WorkerSettings(host=host))
    check_worker_exposure(WorkerSettings(host="0.0.0.0", token=SecretStr("a-long-secret")))

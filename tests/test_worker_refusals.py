"""What the worker refuses, and how: before it reads, in one sentence, and never by failing itself."""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.access.request_rate import RequestRate
from kthink_core.errors import WorkerRefused
from kthink_core.live.client import WorkerClient
from kthink_core.precompute.pipeline import Plan
from kthink_core.settings import WorkerSettings
from kthink_core.worker.device_time import HOUR, DeviceTime
from kthink_core.worker.refusals import add_refusals
from tests.worker_process import request, working

TOKEN = "a-long-secret"
PATHS = ("/generate", "/encode", "/tokenize")


@pytest.fixture(scope="module")
def settings(tiny_plan: Plan) -> Iterator[WorkerSettings]:
    with working(tiny_plan, requests_per_minute=10_000) as (settings, _):
        yield settings


@pytest.fixture(scope="module")
def guarded(tiny_plan: Plan) -> Iterator[WorkerSettings]:
    with working(tiny_plan, token=TOKEN) as (settings, _):
        yield settings


def post(settings: WorkerSettings, path: str, body: bytes, token: str | None = None) -> httpx.Response:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    return httpx.post(settings.address + path, content=body, headers=headers, trust_env=False, timeout=300)


def sentence(response: httpx.Response) -> str:
    detail = response.json()["detail"]
    assert isinstance(detail, str) and detail and "\n" not in detail and len(detail) <= 1000
    return detail


DEEP = b"[" * 100_000
LONG = b"1" * 5000


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"prompt":' + DEEP,
        b'{"prompt":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"prompt": "a", "text": "a", "seed": ' + LONG + b"}",
        b'{"prompt": "a", "text": "a", "temperature": ' + LONG + b".0}",
        b'{"prompt": "a", "\\ud800": 1}',
        b'"\xff"',
        b"null",
        b"",
    ],
    ids=[
        "deep",
        "deep field",
        "nested field",
        "long integer",
        "long number",
        "half a name",
        "no UTF-8",
        "null",
        "none",
    ],
)
def test_strange_bodies_are_refused_in_a_sentence(settings: WorkerSettings, path: str, body: bytes) -> None:
    answer = post(settings, path, body)
    assert 400 <= answer.status_code < 500
    sentence(answer)


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/generate", {"prompt": "abc\ud800"}, "prompt: character 3 is half a surrogate pair: remove it"),
        ("/tokenize", {"prompt": "\udfff"}, "prompt: character 0 is half a surrogate pair: remove it"),
        ("/encode", {"text": "a😀\ud83d"}, "text: character 2 is half a surrogate pair: remove it"),
        ("/encode", {"text": "a\x85"}, "text: character 1 is the control character U+0085: remove it"),
        ("/generate", {"prompt": "a", "hookpoints": ["a", "b\ud800"]}, "hookpoints.1: character 1 is half a surrogate"),
        ("/generate", {"prompt": "a", "hookpoints": ["a\x00"]}, "hookpoints.0: character 1 is the control character"),
        ("/generate", {"prompt": "a", "hookpoints": ["a" * 1000]}, "hookpoints.0: String should have at most 200"),
        ("/generate", {"prompt": "a", "mode": "\ud800"}, "mode: "),
    ],
)
def test_what_is_no_text_is_named_by_its_character(
    settings: WorkerSettings, path: str, body: dict[str, object], told: str
) -> None:
    answer = post(settings, path, json.dumps(body).encode())
    assert answer.status_code == 422 and told in sentence(answer)


@pytest.mark.parametrize(("author", "told"), [("Ada\ud800", "character 3 is half"), ("Ada\x00", "character 3 is the")])
def test_an_author_is_a_text(settings: WorkerSettings, author: str, told: str) -> None:
    with WorkerClient(settings) as client:
        job: str = getattr(next(client.generate(request(max_new_tokens=2))), "job")  # noqa: B009
    answer = post(settings, f"/jobs/{job}/keep", json.dumps({"author": author}).encode())
    assert answer.status_code == 422 and f"author: {told}" in sentence(answer)


@pytest.mark.parametrize("path", [*PATHS, "/health", "/metrics", "/docs", "/redoc", "/openapi.json", "/nowhere", "/"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
def test_without_the_token_nothing_is_told(guarded: WorkerSettings, path: str, method: str) -> None:
    json_type = {"content-type": "application/json"}
    for sent in ({}, {"authorization": "Bearer another-secret"}, {"authorization": TOKEN}):
        answer = httpx.request(
            method, guarded.address + path, content=b"{bad", headers=json_type | sent, trust_env=False
        )
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert sentence(answer) == "send the worker's token (KTHINK_WORKER_TOKEN) as a bearer token"


def test_the_token_opens_all(guarded: WorkerSettings) -> None:
    assert post(guarded, "/generate", b"{bad", TOKEN).status_code == 422
    for path in ("/docs", "/openapi.json", "/health", "/metrics"):
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert httpx.get(guarded.address + path, headers=headers, trust_env=False).status_code == 200


def test_the_token_is_asked_for_before_the_body_has_come(guarded: WorkerSettings) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=300) as connection:
        connection.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 401"


@pytest.mark.parametrize("host", ["127.0.0.2", "127.0.0.1", "localhost"])
def test_a_worker_knows_its_own_host(tiny_plan: Plan, host: str) -> None:
    with working(tiny_plan, host=host) as (settings, _), WorkerClient(settings) as client:
        assert client.health().status == "ready"
        answer = httpx.get(settings.address + "/health", headers={"host": "evil.example"}, trust_env=False)
        assert answer.status_code == 400


@pytest.mark.parametrize("name", ["a file", "x" * 300])
def test_a_cache_that_cannot_be_written_is_named(tiny_plan: Plan, tmp_path: Path, name: str) -> None:
    cache = tmp_path / name
    if len(name) < 100:
        cache.write_text("")
    with working(tiny_plan, cache=cache) as (settings, _), WorkerClient(settings) as client:
        events = list(client.generate(request(max_new_tokens=2)))
        job: str = getattr(events[0], "job")  # noqa: B009
        answer = post(settings, f"/jobs/{job}/keep", b"{}")
        assert answer.status_code == 503 and str(cache) in sentence(answer)
        assert list(client.generate(request(max_new_tokens=2)))[-1].event == "done"


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/cache/live"), 507, "No space left on device: /cache/live"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 507, "Disk quota exceeded"),
        (PermissionError(errno.EACCES, "Permission denied", "/cache/\udcff"), 503, "Permission denied: /cache/\\udcff"),
        (TimeoutError(), 503, "TimeoutError"),
    ],
)
def test_errors_of_the_system(error: OSError, status: int, told: str) -> None:
    app = FastAPI()
    add_refusals(app)

    @app.get("/")
    def fail() -> None:
        raise error

    answer = TestClient(app).get("/")
    assert answer.status_code == status and sentence(answer) == told


def test_a_clock_that_is_set_back_makes_nobody_wait_longer(tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    with working(tiny_plan, requests_per_minute=1) as (settings, _), WorkerClient(settings, "me") as client:
        assert list(client.generate(request(max_new_tokens=2)))[-1].event == "done"
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - 86_400)
        with pytest.raises(WorkerRefused, match="1 requests a minute") as refused:
            next(client.generate(request()))
    assert refused.value.retry_after is not None and 1 <= refused.value.retry_after <= 60


def test_a_rate_counts_each_caller_in_its_window() -> None:
    now = [1000.0]
    rate = RequestRate(2, 60.0, lambda: now[0])
    assert [rate.wait("one") for _ in range(3)] == [0, 0, 60]
    now[0] += 59.5
    assert rate.wait("one") == 0.5 and rate.wait("other") == 0
    now[0] += 0.5
    assert [rate.wait("one") for _ in range(3)] == [0, 0, 60]


def test_a_day_of_the_device_is_each_callers_own(tiny_plan: Plan) -> None:
    limits = {"seconds_per_day": 100, "requests_per_minute": 10_000}
    with working(tiny_plan, **limits) as (settings, engine), WorkerClient(settings, "me") as client:
        assert list(client.generate(request(max_new_tokens=2)))[-1].event == "done"
        assert engine.device_time.wait("127.0.0.1 me", 1e-9) > 0 == engine.device_time.wait("127.0.0.1 me", 60)
        engine.device_time.spend("127.0.0.1 me", 100)
        with pytest.raises(WorkerRefused, match="taken the 100 seconds of the device") as refused:
            next(client.generate(request()))
        assert refused.value.retry_after is not None and 23 * HOUR < refused.value.retry_after <= 24 * HOUR
        with WorkerClient(settings, "another") as other:
            assert list(other.generate(request(max_new_tokens=2)))[-1].event == "done"


@given(
    st.lists(st.tuples(st.integers(0, 40 * 3600), st.sampled_from("ab"), st.integers(0, 9)), max_size=30),
    st.integers(1, 20),
)
def test_device_time_is_free_again_a_day_after_its_hour(told: list[tuple[int, str, int]], most: int) -> None:
    now = [0.0]
    spent = DeviceTime(lambda: now[0])
    for at, client, seconds in sorted(told):
        now[0] = at
        spent.spend(client, seconds)
    now[0] = 41 * HOUR

    def used(later: float) -> int:
        return sum(seconds for at, client, seconds in told if client == "a" and at // HOUR + 24 > later // HOUR)

    wait = spent.wait("a", most)
    free = next(hour for hour in range(26) if used((41 + hour) * HOUR) < most)
    assert wait == free * HOUR and spent.wait("nobody", most) == 0

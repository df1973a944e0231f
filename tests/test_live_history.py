"""Live runs are remembered for who ran them: by cookie and person, for a time, within bounds, whole or not at all."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from kthink_core.access.person import LOCAL, Person
from kthink_core.access.security_headers import SecurityHeaders
from kthink_core.access.visitor_cookie import COOKIE, VisitorCookie, is_visitor, new_visitor, owner_of
from kthink_core.live.api import Done, EncodeRequest, GenerateRequest, Kept, Latents, Others, Tokens
from kthink_core.live.live_trace import LiveTrace
from kthink_core.live.remembered import Remembered, new_run_id
from kthink_core.live.run_shelf import FOLDER, RunShelf
from kthink_core.live.watchlist import Watch
from kthink_core.settings import HistorySettings
from kthink_core.ui.live.audience import Audience

ANN, BEN = (Person(f"invitation {name}", name, "runner", way="invitation") for name in ("ann", "ben"))
DAY = 86_400.0


class Clock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def remembered(clock: Clock, prompt: str = "Two?", **facts: object) -> Remembered:
    given = {"run": new_run_id(), "began": clock(), "experiment": "demo", "mark": "0" * 16}
    return Remembered.model_validate(given | {"request": GenerateRequest(prompt=prompt)} | facts)


def a_trace(positions: int = 5, hookpoint: str = "layers.2.mlp") -> LiveTrace:
    random = np.random.default_rng(positions)
    trace = LiveTrace()
    for first in range(positions):
        values = random.random(2, np.float32).tolist()
        trace.add(
            Tokens(
                first=first,
                token_ids=(first,),
                texts=(f"é{first}",),
                segments=("prompt" if first < 2 else "think",),
                logprobs=(None if first < 2 else values[0],),
                latents={hookpoint: Latents(features=((first, 9),), activations=((values[0], values[1]),))},
                others=None if first < 2 else _others(values),
            )
        )
    return trace


def _others(values: list[float]) -> Others:
    return Others(token_ids=((1, 2),), texts=(("a", "b"),), logprobs=(tuple(values),), entropies=(values[1],))


def assert_same(one: LiveTrace, other: LiveTrace) -> None:
    for ask in (
        lambda trace: trace.tokens(),
        lambda trace: trace.latents("layers.2.mlp"),
        lambda trace: trace.strongest("layers.2.mlp"),
        lambda trace: trace.alternatives(),
    ):
        assert ask(one).equals(ask(other))


def test_what_is_remembered_is_read_back_bit_by_bit_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    shelf, owner = RunShelf(tmp_path, HistorySettings(), clock), owner_of(new_visitor(), LOCAL)
    watched = (Watch("layers.2.mlp", 9, 0.25),)
    first = remembered(clock, "Tom's\n🙂 \u2028", watched=watched, reference="4")
    shelf.begin(owner, first)
    assert shelf.of(owner) == [first] and first.state == "going"
    ended = first.model_copy(
        update={"state": "done", "end": Done(job="j", finish_reason="stop", answer="4"), "correct": True, "tokens": 3}
    )
    assert shelf.end(owner, ended, a_trace())
    shelf.keep(owner, first.run, Kept(experiment="live", inference=3))
    again = RunShelf(tmp_path, HistorySettings(), clock)
    assert again.of(owner) == [ended.model_copy(update={"kept": Kept(experiment="live", inference=3)})]
    assert again.find(first.run) == (owner, again.of(owner)[0])
    trace = again.trace(owner, first.run)
    assert trace is not None
    assert_same(trace, a_trace())
    [path] = (tmp_path / FOLDER).rglob("*.run")
    modes = [each.stat().st_mode & 0o777 for each in (path, path.parent, path.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]


def test_two_visitors_never_see_each_others_runs(tmp_path: Path, clock: Clock) -> None:
    """Neither by another cookie, nor as another person with the same one; a link, which has the run's id, finds it."""
    shelf = RunShelf(tmp_path, HistorySettings(), clock)
    one, two = new_visitor(), new_visitor()
    owners = [owner_of(visitor, person) for visitor in (one, two) for person in (LOCAL, ANN, BEN)]
    assert len(set(owners)) == 6
    runs = [remembered(clock, f"prompt {number}") for number in range(6)]
    for owner, run in zip(owners, runs, strict=True):
        shelf.begin(owner, run)
    for owner, run in zip(owners, runs, strict=True):
        assert shelf.of(owner) == [run]
        assert shelf.find(run.run) == (owner, run)
    shelf.forget(owners[0], runs[1].run)  # not its own
    assert shelf.find(runs[1].run) is not None
    shelf.forget(owners[1])
    assert shelf.of(owners[1]) == [] and shelf.find(runs[1].run) is None
    assert [len(shelf.of(owner)) for owner in owners] == [1, 0, 1, 1, 1, 1]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    names = "\n".join(map(str, tmp_path.rglob("*")))
    for visitor in (one, two):  # the cookie's value is nowhere
        assert visitor.encode() not in written and visitor not in names


def test_it_is_gone_after_its_time_and_not_before(tmp_path: Path, clock: Clock) -> None:
    shelf, owner = RunShelf(tmp_path, HistorySettings(days=7), clock), owner_of(new_visitor(), LOCAL)
    old = remembered(clock)
    shelf.begin(owner, old)
    clock.now += 3 * DAY
    new = remembered(clock)
    shelf.begin(owner, new)
    clock.now += 4 * DAY - 1
    assert shelf.of(owner) == [new, old]
    clock.now += 1
    assert shelf.of(owner) == [new] and shelf.find(old.run) is None
    assert len([*tmp_path.rglob("*.run")]) == 2  # not shown, although nobody has swept
    shelf.sweep()
    assert len([*tmp_path.rglob("*.run")]) == 1
    clock.now += 4 * DAY
    shelf.sweep()
    assert not [*(tmp_path / FOLDER).iterdir()]


def test_its_number_and_bytes_are_bounded_and_one_visitor_does_not_push_out_another(
    tmp_path: Path, clock: Clock
) -> None:
    bounds = HistorySettings.model_construct(days=7.0, runs=3, bytes=45_000, away=0.0)
    shelf, many, few = RunShelf(tmp_path, bounds, clock), *(owner_of(new_visitor(), LOCAL) for _ in range(2))
    shelf.begin(few, lonely := remembered(clock))
    runs = []
    for _ in range(5):
        clock.now += 1
        runs.append(remembered(clock))
        shelf.begin(many, runs[-1])
    assert shelf.of(many) == runs[:-4:-1] and shelf.of(few) == [lonely]
    clock.now += 1
    large = remembered(clock, "".join(map(chr, np.random.default_rng(0).integers(0x4E00, 0x9FFF, 6000).tolist())))
    shelf.begin(many, large)  # 18 kB: the oldest of whoever has most go
    assert shelf.of(few) == [lonely] and shelf.of(many)[0] == large and len(shelf.of(many)) < 3
    assert taken(tmp_path) <= 45_000


def taken(folder: Path) -> int:
    """Bytes of whole blocks, and one for each place in a folder."""
    return sum(4096 * (2 + (path.stat().st_size - 1) // 4096) for path in folder.rglob("*.run"))


def test_who_writes_is_bounded_at_once_and_all_others_after_a_while(tmp_path: Path, clock: Clock) -> None:
    """Of two processes, too: the one counts what the other wrote a minute later at most. In between nothing of others
    is looked at, and what is over is not shown all the same."""
    bounds = HistorySettings.model_construct(days=7.0, runs=3, bytes=120_000, away=0.0)
    here, there = (RunShelf(tmp_path, bounds, clock) for _ in range(2))
    owners = [owner_of(new_visitor(), LOCAL) for _ in range(6)]
    here.begin(owners[0], old := remembered(clock))
    clock.now += 7 * DAY - 30
    here.begin(owners[1], remembered(clock))
    clock.now += 30
    here.begin(owners[1], remembered(clock))
    [path] = (tmp_path / FOLDER / owners[0]).iterdir()
    assert here.find(old.run) is None and path.exists(), "not shown; nobody has looked there"
    large = "".join(map(chr, np.random.default_rng(0).integers(0x4E00, 0x9FFF, 6000).tolist()))
    for owner in owners[2:4] * 3:
        here.begin(owner, remembered(clock, large))
        assert taken(tmp_path) <= 120_000
        assert all(len([*folder.iterdir()]) <= 3 for folder in (tmp_path / FOLDER).iterdir())
    for owner in owners[4:] * 3:
        there.begin(owner, remembered(clock, large))
    assert taken(tmp_path) <= 120_000 and not path.exists(), "its first look is at all"
    clock.now += 60
    here.begin(owners[5], remembered(clock, large))
    assert taken(tmp_path) <= 120_000
    here.forget(owners[5])
    assert not (tmp_path / FOLDER / owners[5]).exists() and taken(tmp_path) <= 120_000


def test_a_run_that_cannot_be_read_hides_no_other(tmp_path: Path, clock: Clock) -> None:
    shelf, owner = RunShelf(tmp_path, HistorySettings(), clock), owner_of(new_visitor(), LOCAL)
    shelf.begin(owner, one := remembered(clock))
    (tmp_path / FOLDER / owner / f"{int(clock()):012d}-{new_run_id()}.run").mkdir()  # no file: the system refuses it
    assert shelf.of(owner) == [one]


def test_what_was_forgotten_while_it_ran_stays_forgotten_and_nothing_is_written_where_nothing_is_remembered(
    tmp_path: Path, clock: Clock
) -> None:
    shelf, owner = RunShelf(tmp_path, HistorySettings(), clock), owner_of(new_visitor(), LOCAL)
    shelf.begin(owner, run := remembered(clock))
    shelf.forget(owner)
    assert not shelf.end(owner, run, a_trace()) and shelf.of(owner) == []
    off = RunShelf(tmp_path / "off", HistorySettings(days=0), clock)
    off.begin(owner, run)
    assert not (tmp_path / "off").exists() and off.of(owner) == []


WRITER = """
import sys
from pathlib import Path
from tests.test_live_history import Clock, RunShelf, HistorySettings, a_trace, remembered
shelf, clock = RunShelf(Path(sys.argv[1]), HistorySettings(), Clock()), Clock()
run = remembered(clock, run="ab" * 16)
shelf.begin("0" * 64, run)
print("begun", flush=True)
while True:
    shelf.end("0" * 64, run.model_copy(update={"state": "done"}), a_trace(300))
"""


def test_killed_while_it_is_written_it_is_whole(tmp_path: Path, clock: Clock) -> None:
    root = Path(__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, cwd=root) as writer:
        assert writer.stdout is not None and writer.stdout.readline()
        shelf, torn = RunShelf(tmp_path, HistorySettings(), clock), 0
        for _ in range(40):  # whoever reads meanwhile, too
            [run] = shelf.of("0" * 64)
            trace = shelf.trace("0" * 64, run.run)
            assert trace is not None and len(trace) in (0, 300)
            torn += bool([*tmp_path.rglob(".tmp-*")])
        writer.send_signal(signal.SIGKILL)
    [run] = shelf.of("0" * 64)
    trace = shelf.trace("0" * 64, run.run)
    assert trace is not None and len(trace) in (0, 300)
    for left in tmp_path.rglob(".tmp-*"):
        os.utime(left, (0, 0))
    shelf.sweep()
    assert not [*tmp_path.rglob(".tmp-*")]


@given(some.data())
def test_a_damaged_file_is_no_run_and_no_error(tmp_path_factory: pytest.TempPathFactory, data: some.DataObject) -> None:
    clock, folder = Clock(), tmp_path_factory.mktemp("runs")
    shelf, owner = RunShelf(folder, HistorySettings(), clock), owner_of(new_visitor(), LOCAL)
    shelf.begin(owner, run := remembered(clock))
    shelf.end(owner, run, a_trace())
    [path] = folder.rglob("*.run")
    content = bytearray(path.read_bytes())
    at = data.draw(some.integers(0, len(content) - 1))
    content[at:] = data.draw(some.binary(max_size=20) | some.just(bytes(content[at + 1 :])))
    path.write_bytes(content)
    for found in shelf.of(owner):
        assert found.run and shelf.find(run.run)
    shelf.trace(owner, run.run)
    shelf.sweep()


@given(some.lists(some.sampled_from([1, 2, 5]), max_size=6), some.booleans())
def test_a_trace_that_came_in_parts_is_the_same_at_once(parts: list[int], prompt_only: bool) -> None:
    trace, first = LiveTrace(), 0
    for number, size in enumerate(parts):
        prompt = prompt_only or number == 0
        features = tuple(tuple(range(position % 3)) for position in range(first, first + size))
        trace.add(
            Tokens(
                first=first,
                token_ids=tuple(range(size)),
                texts=("x",) * size,
                segments=("prompt" if prompt else "answer",) * size,
                logprobs=(None if prompt else -0.1,) * size,
                latents={
                    "layers.2.mlp": Latents(
                        features=features, activations=tuple(tuple(0.1 + each for each in row) for row in features)
                    )
                },
                others=None if prompt else Others(
                    token_ids=((1, 2),) * size, texts=(("a", "b"),) * size, logprobs=((-0.1, -2.3),) * size,
                    entropies=(0.3,) * size,
                ),
            )
        )  # fmt: skip
        first += size
    again = LiveTrace()
    again.add(Tokens.model_validate_json(trace.whole().model_dump_json()))
    assert_same(again, trace)


def test_a_run_goes_on_as_long_as_somebody_looks_and_a_while_longer(clock: Clock) -> None:
    here = {"one", "two"}
    audience = Audience(here.__contains__, 30.0, clock)
    audience.join("one")
    clock.now += 1000
    assert audience.wants()
    here.clear()
    clock.now += 30
    assert audience.wants()
    audience.join("three")  # a reload
    here.add("three")
    clock.now += 1000
    assert audience.wants()
    here.clear()
    clock.now += 31
    assert not audience.wants()


def app(base: str) -> TestClient:
    routes = [
        Route(f"{base}/live", lambda request: HTMLResponse("<p>page", headers={"cache-control": "public"})),
        Route(f"{base}/refused", lambda request: HTMLResponse("<p>no", 403)),
        Route(f"{base}/api/v1/docs", lambda request: HTMLResponse("<p>docs")),
        Route(f"{base}/script.js", lambda request: PlainTextResponse("1")),
    ]
    inner = Starlette(routes=routes)
    return TestClient(SecurityHeaders(VisitorCookie(inner, base, 7)), base_url="http://kthink.test")


@pytest.mark.parametrize("base", ["", "/kthink"])
def test_a_page_brings_the_cookie_and_keeps_the_one_that_there_is(base: str) -> None:
    html = {"accept": "text/html,*/*"}
    with app(base) as client:
        for path in ("/refused", "/api/v1/docs", "/script.js"):
            accept = {"accept": "*/*"} if path == "/script.js" else html
            assert "set-cookie" not in client.get(base + path, headers=accept).headers
        first = client.get(f"{base}/live", headers=html)
        facts = re.fullmatch(
            rf"{COOKIE}=([^;]+); Max-Age=604800; Path=({base or '/'}); HttpOnly; SameSite=Lax",
            first.headers["set-cookie"],
        )
        assert facts is not None and is_visitor(facts[1])
        assert first.headers["cache-control"] == "private, no-cache"
        again = client.get(f"{base}/live", headers=html)  # with the cookie
        assert f"{COOKIE}={facts[1]};" in again.headers["set-cookie"]
        for other in ('a={"x": 1}', "a=b c", "a[0]=1", "flag", "path=5"):  # of whatever else the host has
            client.cookies.clear()
            beside = client.get(f"{base}/live", headers=html | {"cookie": f"{other}; {COOKIE}={facts[1]}"})
            assert f"{COOKIE}={facts[1]};" in beside.headers["set-cookie"]
        by_tls = client.get(f"{base}/live", headers=html | {"x-forwarded-proto": "https"})
        assert by_tls.headers["set-cookie"].endswith("; Secure")
        for strange in ("x", "../" * 20, "a" * 44, "a=b"):
            client.cookies.clear()
            given = client.get(f"{base}/live", headers=html | {"cookie": f"{COOKIE}={strange}"})
            assert re.search(rf"{COOKIE}=[A-Za-z0-9_-]{{43}};", given.headers["set-cookie"])
            assert facts[1] not in given.headers["set-cookie"]


def test_a_request_of_either_kind_is_told_apart(clock: Clock) -> None:
    for request in (GenerateRequest(prompt="Two?", seed=3), EncodeRequest(text="Two?", special=True)):
        run = remembered(clock, request=request)
        assert Remembered.model_validate(json.loads(run.model_dump_json())).request == request

"""`up`: two processes that start together, outlive a crash of the worker, and end together."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.generating import generating
from benchmarks.served import free_port
from kthink_core.access.gate import COOKIE
from kthink_core.access.invitations import Invitations
from kthink_core.access.secret_key import secret_key
from kthink_core.access.signatures import Signatures
from kthink_core.cli import main
from kthink_core.config import ExperimentConfig
from kthink_core.live import healthy
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.presets import PRESETS
from kthink_core.settings import WorkerSettings, from_environment
from kthink_core.store.completion import is_finished
from kthink_core.store.reader import open_reader
from kthink_core.worker.pulse import FIRST_ANSWER, Pulse, Silence
from kthink_core.worker.supervisor import FIRST_PAUSE, HEALTHY, Restarts
from tests.app_samples import sample_experiment, write_experiment
from tests.app_socket import visiting

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120.0


def test_pauses_grow_and_begin_again_after_a_healthy_time() -> None:
    now = [0.0]
    restarts = Restarts(lambda: now[0])
    pauses = []
    for _ in range(8):
        pauses.append(restarts.died())
        assert not restarts.due()
        now[0] += pauses[-1]
        assert restarts.due() and not restarts.due()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    now[0] += HEALTHY + 1
    assert restarts.died() == 1


def test_silence_is_counted_from_the_last_answer_and_longer_before_the_first() -> None:
    now = [50.0]
    silence = Silence(30, lambda: now[0])
    now[0] += FIRST_ANSWER - 1
    assert not silence.too_long()
    now[0] += 2
    assert silence.too_long()
    for _ in range(3):
        silence.heard()
        now[0] += 29
        assert not silence.too_long()
    now[0] += 2
    assert silence.too_long()
    assert not Silence(2 * FIRST_ANSWER, lambda: now[0]).too_long()


def test_whatever_is_answered_is_a_sign_of_life_and_silence_is_none() -> None:
    """The address of another worker, which the app may use, is not asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)
        given = {"port": listening.getsockname()[1], "silence": 5, "token": "long-enough!"}
        pulse = Pulse(WorkerSettings.model_validate(given | {"url": "http://127.0.0.1:9"}))
        for answer in ("503 Service Unavailable", "200 OK", "401 Unauthorized"):
            connection, _ = listening.accept()
            with connection:
                asked = connection.recv(10_000)
                assert asked.startswith(b"GET /health ") and b"Bearer long-enough!" in asked
                connection.sendall(f"HTTP/1.1 {answer}\r\nContent-Length: 9\r\n\r\n".encode())  # and no more
        assert not pulse.lost()
        began = time.monotonic()
        wait_until(pulse.lost)  # it is asked once more, and says nothing
        assert time.monotonic() - began > 1
        assert not pulse.lost()


def test_one_answer_that_does_not_come_is_asked_for_once_more() -> None:
    """The machine may have stood still while it was due."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)
        given = {"port": listening.getsockname()[1], "silence": 5}
        pulse = Pulse(WorkerSettings.model_validate(given))
        for _ in range(2):
            connection, _ = listening.accept()
            with connection:
                assert connection.recv(10_000)
                connection.sendall(answer)
            unanswered, _ = listening.accept()
            with unanswered:
                assert unanswered.recv(10_000) and not unanswered.recv(1)  # until it is given up
            last, _ = listening.accept()
            with last:
                assert last.recv(10_000)
                last.sendall(answer)
        connection, _ = listening.accept()  # it goes on to ask
        connection.close()
        assert not pulse.lost()
        pulse.close()


class Up:
    """A running `up`, and the addresses of its processes."""

    def __init__(self, cache: Path, *options: str, **environment: str) -> None:
        ports = {"KTHINK_APP_PORT": str(free_port()), "KTHINK_WORKER_PORT": str(free_port())}
        self.app, self.worker = (f"http://127.0.0.1:{port}" for port in ports.values())
        self.log = cache / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kthink_core", "up", *options],
                cwd=ROOT,
                env=os.environ | ports | {"KTHINK_CACHE": str(cache)} | environment,
                stderr=log,
                stdout=subprocess.DEVNULL,
            )

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        return [child for child in self.children() if "worker" in command(child)]

    def wait_for(self, address: str) -> None:
        wait_until(lambda: answers(address))


def command(process: psutil.Process) -> list[str]:
    """Nothing for one that has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def answers(address: str) -> bool:
    """Whatever it says: a worker with a token refuses."""
    try:
        return not httpx.get(address, timeout=5, trust_env=False).is_server_error
    except httpx.TransportError:
        return False


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def starting_up(cache: Path, *options: str, **environment: str) -> Iterator[Up]:
    up = Up(cache, *options, **environment)
    try:
        yield up
    finally:
        up.process.kill()
        up.process.wait()


@contextmanager
def running_up(cache: Path, *options: str, **environment: str) -> Iterator[Up]:
    with starting_up(cache, *options, **environment) as up:
        up.wait_for(up.app + "/_stcore/health")
        up.wait_for(up.worker + "/health")
        yield up


def end_both(up: Up, number: signal.Signals) -> None:
    children = up.children()
    assert len(children) >= 2
    up.process.send_signal(number)
    status = up.process.wait(PATIENCE)
    assert status == (0 if number != signal.SIGKILL else -signal.SIGKILL)
    wait_until(lambda: not any(child.is_running() and command(child) for child in children))
    assert not answers(up.app + "/_stcore/health") and not answers(up.worker + "/health")


def damage(folder: Path) -> None:
    for name in ("experiment.json", "manifest.json"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-7])


def is_mended(cache: Path, name: str, config: ExperimentConfig) -> None:
    wait_until(lambda: is_finished(cache, name, config))
    assert (cache / name / "experiment.json.damaged").exists()


def test_one_signal_ends_both_while_the_demo_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a page open and live prompts under way, nobody has to be killed. The token of the two is in a file."""
    monkeypatch.setenv("KTHINK_WORKER_TOKEN_FILE", str(tmp_path / ".access/worker-token"))
    with running_up(tmp_path) as up:
        for name, address in (("APP", up.app), ("WORKER", up.worker)):
            monkeypatch.setenv(f"KTHINK_{name}_PORT", address.rpartition(":")[2])
        assert healthy.main(["app", "worker"]) == 0
        settings = from_environment(WorkerSettings)
        assert settings.token is not None and httpx.get(up.worker + "/health", trust_env=False).status_code == 401
        with visiting(up.app) as page, generating(settings.port, settings.token.get_secret_value()):
            page.run()
            end_both(up, signal.SIGINT)
        assert "killed" not in up.log.read_text()
    assert healthy.main(["app", "worker"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told] == [
        "app",
        "worker",
    ] and settings.token.get_secret_value() not in str(told)


def test_a_worker_that_crashed_or_hangs_comes_back_and_the_app_stays_until_a_signal_ends_both(
    tiny_plan: Plan, tmp_path: Path
) -> None:
    """And what was damaged is mended meanwhile."""
    precompute(tiny_plan, tmp_path, 8, Silent())
    damage(tmp_path / "tiny")
    given = {"KTHINK_WORKER_SILENCE": "8", "KTHINK_WORKER_TOKEN": "a-token-of-its-own"}
    with running_up(tmp_path, "--experiment", "tiny", **given) as up:
        is_mended(tmp_path, "tiny", tiny_plan.experiment.config)
        (first,) = up.workers()
        first.kill()
        assert answers(up.app + "/_stcore/health")
        wait_until(lambda: any(other != first for other in up.workers()))
        up.wait_for(up.worker + "/health")
        (worker,) = up.workers()
        headers = {"authorization": "Bearer a-token-of-its-own"}
        # By then it has been asked many times.
        wait_until(lambda: httpx.get(up.worker + "/health", headers=headers, trust_env=False).json()["uptime"] > 3)
        worker.suspend()
        wait_until(lambda: any(other != worker for other in up.workers()))
        assert not worker.is_running() and answers(up.app + "/_stcore/health")
        told = [line for line in up.log.read_text().splitlines() if "hangs" in line]
        assert told and "KTHINK_WORKER_SILENCE" in told[0]
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d kthink: the worker hangs", told[0])
        end_both(up, signal.SIGTERM)


def test_what_is_damaged_is_mended_beside_the_app_and_the_two_have_a_secret_until_they_are_killed(
    demo: Path, tmp_path: Path
) -> None:
    """Without the secret the worker would take whoever reaches its port for the owner."""
    shutil.copytree(demo / "demo", tmp_path / "demo")
    damage(tmp_path / "demo")
    with running_up(tmp_path, "--preset", "demo", KTHINK_ACCESS="invitations") as up:
        is_mended(tmp_path, "demo", PRESETS["demo"])
        assert answers(up.app + "/_stcore/health")
        assert httpx.get(up.worker + "/health", trust_env=False).status_code == 401
        made = Invitations(tmp_path).issue("Rune", "runner", 1)
        cookie = f"{COOKIE}={Signatures(secret_key(tmp_path, None)).cookie(made.id)}"
        with visiting(up.app, cookie) as visit:
            live = visit.run("live")
        assert b"bearer token" not in live and b"No worker answers" not in live
        end_both(up, signal.SIGKILL)
    with open_reader(tmp_path, "demo") as reader:
        assert reader.inferences == 32 and reader.warnings == ()


EXPOSED = {"KTHINK_WORKER_HOST": "0.0.0.0"}
"""Without a token: a mistake that only the worker sees."""


def test_a_mistake_of_the_workers_ends_both_where_nothing_is_stored(tmp_path: Path) -> None:
    with starting_up(tmp_path, **EXPOSED) as up:
        assert up.process.wait(PATIENCE) == 2
    told = up.log.read_text()
    assert told.count("KTHINK_WORKER_TOKEN") == 1 and "started again" not in told


def test_a_worker_that_ended_with_a_mistake_stays_away_and_the_app_goes_on(tmp_path: Path) -> None:
    write_experiment(tmp_path, sample_experiment("demo", 2))
    with starting_up(tmp_path, **EXPOSED) as up:
        wait_until(lambda: "goes on without a worker" in up.log.read_text())
        up.wait_for(up.app + "/_stcore/health")
        end = time.monotonic() + 3 * FIRST_PAUSE  # it would be back by then, or a little later on a busy machine
        while time.monotonic() < end:
            assert not up.workers()
            time.sleep(0.05)
        up.process.send_signal(signal.SIGHUP)
        assert up.process.wait(PATIENCE) == 0
    assert "started again" not in up.log.read_text()


def test_a_taken_port_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("KTHINK_CACHE", str(tmp_path))
        monkeypatch.setenv("KTHINK_APP_PORT", str(free_port()))
        monkeypatch.setenv("KTHINK_WORKER_PORT", str(taken.getsockname()[1]))
        assert main(["up"]) == main(["worker"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and all("KTHINK_WORKER_PORT" in line for line in told)

"""Worker and app together: started, watched, and ended by one signal, so that nothing is left behind."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr
from tqdm import tqdm

import kthink_core
from kthink_core.errors import KthinkError
from kthink_core.settings import AccessSettings, Settings, WorkerSettings
from kthink_core.store.manifest import committed_count, read_experiment
from kthink_core.worker.ports import check_free
from kthink_core.worker.pulse import Pulse

_PACKAGE = Path(kthink_core.__file__).resolve().parent
APP = next(path for path in (_PACKAGE.parent / "app.py", _PACKAGE / "site" / "app.py") if path.is_file())
"""What Streamlit runs: beside the package in a checkout, in it where kthink is installed."""

TICK = 0.2
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a worker that died is started again; each time twice as long."""
HEALTHY = 60.0
"""A worker that lived so long begins again with the first pause."""
PATIENCE = 10.0
"""Seconds that a process has to end by itself."""
MISTAKE = 2
"""Exit status of a user's mistake: starting again would not help."""

_LIBC = ctypes.CDLL(None)  # looked up before any fork: little is safe after one


class Restarts:
    """When the worker is started again. `now` is a clock in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._pause, self._started = now, FIRST_PAUSE, now()
        self._at: float | None = None

    def died(self) -> float:
        """Plan a restart; returns the pause in seconds."""
        if self._now() - self._started > HEALTHY:
            self._pause = FIRST_PAUSE
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        self._at = self._now() + pause
        return pause

    def due(self) -> bool:
        """Whether it is time; once."""
        if self._at is None or self._now() < self._at:
            return False
        self._at, self._started = None, self._now()
        return True


def serve(chosen: tuple[str, str], settings: Settings, worker: WorkerSettings, access: AccessSettings) -> int:
    """Run both until a signal, or until the app ends; returns the exit status. `chosen`: the worker's option that says
    what it has, and its value. Raises BadValue for a taken port."""
    check_free(settings.app_host, settings.app_port, "KTHINK_APP_PORT")
    check_free(worker.host, worker.port, "KTHINK_WORKER_PORT")
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: stopping.append(received))
    environment = os.environ | {
        "KTHINK_CACHE": str(settings.cache.absolute()),
        "KTHINK_EXPERIMENT": settings.experiment,
        "KTHINK_OPEN": str(access.open),
    }
    if access.access and worker.token is None and worker.url is None:
        # The worker believes who asks where it and the app have a secret of their own.
        worker = worker.model_copy(update={"token": SecretStr(secrets.token_urlsafe(32))})
        environment["KTHINK_WORKER_TOKEN"] = worker.token.get_secret_value() if worker.token else ""
    command = [sys.executable, "-m", "kthink_core", "worker", *chosen]
    app, restarts = _start(_streamlit(settings), environment), Restarts()
    running: subprocess.Popen[bytes] | None = None
    bar = _Bar(settings.cache, settings.experiment)
    try:
        running, pulse = _start(command, environment), Pulse(worker)
        while not stopping and app.poll() is None:
            bar.draw()
            if running is not None and pulse.lost():
                _say("the worker hangs: no answer for longer than KTHINK_WORKER_SILENCE allows; it is killed")
                running.kill()  # what hangs does not hear a milder signal
            if running is not None and (status := running.poll()) is not None:
                running = None
                pulse.close()
                if status == MISTAKE:
                    if not _anything(settings):
                        return MISTAKE
                    _say("the app goes on without a worker: what is stored can be browsed")
                else:
                    _say(f"the worker ended with status {status}; it is started again in {restarts.died():.0f} s")
            if restarts.due():
                running, pulse = _start(command, environment), Pulse(worker)
            time.sleep(TICK)
        return 0 if stopping else app.returncode
    finally:
        bar.close()
        _stop([process for process in (app, running) if process is not None])


def _anything(settings: Settings) -> bool:
    """Whether there is something to browse, be it what cannot be read: the app says so."""
    try:
        return committed_count(settings.cache, settings.experiment) > 0
    except (KthinkError, OSError):
        return True


def _streamlit(settings: Settings) -> list[str]:
    host = settings.app_host
    shown = "localhost" if host in ("0.0.0.0", "::") else host  # else Streamlit asks the internet for its own address
    address = ["--server.address", host, "--server.port", str(settings.app_port), "--browser.serverAddress", shown]
    base = ["--server.baseUrlPath", settings.base_path] if settings.base_path else []
    return [sys.executable, "-m", "streamlit", "run", str(APP), *address, *base]


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C comes to this process, which ends the others in order."""
    return subprocess.Popen(
        command,
        env=environment,
        cwd=APP.parent,  # where Streamlit finds its configuration
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


def _die_with_parent() -> None:
    """Linux ends a child whose parent is gone, killed for instance (`man 2 prctl`, PR_SET_PDEATHSIG)."""
    _LIBC.prctl(1, signal.SIGTERM)


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    end = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            _say(f"process {process.pid} did not end in {PATIENCE:.0f} s: it is killed")
            process.kill()
            process.wait()


def _say(text: str) -> None:
    tqdm.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} kthink: {text}", file=sys.stderr)


class _Bar:
    """How far the worker is with the experiment, read from the store; nothing where it is complete."""

    def __init__(self, cache: Path, name: str) -> None:
        self._cache, self._name = cache, name
        self._bar: tqdm | None = None
        self._complete = False

    def draw(self) -> None:
        """Reads the store until all is there. What cannot be read the worker mends, or says why not."""
        try:
            stored = None if self._complete else read_experiment(self._cache, self._name)
            done = committed_count(self._cache, self._name) if stored else 0
        except (KthinkError, OSError):
            return
        if stored is None:
            return
        if self._bar is None and done < stored.inferences:
            self._bar = tqdm(total=stored.inferences, unit="inference", file=sys.stderr, dynamic_ncols=True)
        if self._bar is not None and done > self._bar.n:
            self._bar.update(done - self._bar.n)
        if done >= stored.inferences:
            self._complete = True
            self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

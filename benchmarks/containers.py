"""Images built by buildah, and run as an engine would with `--read-only --tmpfs /tmp --cap-drop ALL`: by bubblewrap,
with the image's own user, environment, entry point and health check. Root and Linux only; the network is the machine's.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil

PATIENCE = 300.0
"""Seconds after which a start or an end counts as failed."""


class Image(NamedTuple):
    """A built image, its files at hand."""

    root: Path
    """Where they are mounted."""
    config: Mapping[str, Any]
    """Env, Entrypoint, Cmd, User, WorkingDir, Healthcheck."""
    base_bytes: int
    """Of the image that it was made from."""

    @property
    def bytes(self) -> int:
        return size(self.root)

    @property
    def owner(self) -> int:
        """The user that it runs as."""
        line = next(line for line in (self.root / "etc/passwd").read_text().splitlines() if line.startswith("kthink:"))
        return int(line.split(":")[2])


def size(root: Path) -> int:
    """Bytes of all files below it, each once, but for what a package manager keeps of what it could install."""
    seen = {}
    for folder, folders, names in os.walk(root):
        if folder == str(root / "var"):
            folders[:] = [name for name in folders if name != "cache"]
        if folder == str(root / "var/lib"):
            folders[:] = [name for name in folders if name != "apt"]
        for name in names:
            found = Path(folder, name).lstat()
            seen[found.st_dev, found.st_ino] = found.st_size
    return sum(seen.values())


def build(context: Path, target: str, options: Sequence[str], log: Path) -> float:
    """Builds a target as `localhost/kthink-TARGET`; returns the seconds that took. Raises CalledProcessError."""
    wanted = ["--target", target] if target else []
    name = f"localhost/kthink-{target or 'both'}"
    command = ["buildah", "bud", "--format", "docker", "--layers", *wanted, *options, "-t", name, str(context)]
    began = time.perf_counter()
    with log.open("w") as out:
        subprocess.run(command, check=True, stdout=out, stderr=subprocess.STDOUT)
    return time.perf_counter() - began


@contextmanager
def mounted(target: str, base: str = "python:3.11-slim") -> Iterator[Image]:
    """A built target."""
    with _root(f"localhost/kthink-{target or 'both'}") as (root, config), _root(base) as (below, _):
        yield Image(root, config, size(below))


@contextmanager
def _root(name: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    container = _output("buildah", "from", "--pull-never", name)
    try:
        config = json.loads(_output("buildah", "inspect", container))["Docker"]["config"]
        yield Path(_output("buildah", "mount", container)), config
    finally:
        _output("buildah", "rm", container)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Container:
    """One that runs. `volumes`: what is mounted, by the path within."""

    def __init__(
        self, image: Image, volumes: Mapping[str, Path], log: IO[bytes], command: Sequence[str] = (), **given: str
    ) -> None:
        self._image, self._volumes, self._given = image, volumes, given
        self.began = time.perf_counter()
        begun = [*(image.config["Entrypoint"] or ()), *(command or image.config["Cmd"])]
        self._process = psutil.Popen(self._sandbox(begun, "--as-pid-1"), stdout=log, stderr=log)

    def _sandbox(self, command: Sequence[str], *options: str) -> list[str]:
        owner, config = str(self._image.owner), self._image.config
        environment = dict(entry.split("=", 1) for entry in config["Env"]) | self._given
        return [
            "bwrap", "--ro-bind", str(self._image.root), "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp",
            *(part for inside, outside in self._volumes.items() for part in ("--bind", str(outside), inside)),
            "--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf", "--chmod", "1777", "/tmp",
            "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", *options,
            "--chdir", config["WorkingDir"], "--clearenv",
            *(part for name, value in environment.items() for part in ("--setenv", name, value)),
            "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP",
            "setpriv", "--reuid", owner, "--regid", owner, "--clear-groups", "--bounding-set", "-all",
            "--no-new-privs", *command,
        ]  # fmt: skip

    @property
    def first(self) -> psutil.Process:
        """Its first process."""
        return self._process.children()[0]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """One more command beside it, over the same volumes."""
        return subprocess.run(self._sandbox(command), capture_output=True, text=True, timeout=PATIENCE)

    def seconds_to_healthy(self) -> float:
        """By the image's own check, from the start. Raises RuntimeError where that does not come."""
        check = self._image.config["Healthcheck"]["Test"]
        assert check[0] == "CMD"
        while time.perf_counter() - self.began < PATIENCE and self._process.poll() is None:
            done = self.run(*check[1:])
            if done.returncode == 0:
                return time.perf_counter() - self.began
            time.sleep(0.2)
        raise RuntimeError("it did not become healthy")

    def stop(self) -> tuple[float, int]:
        """SIGTERM to its first process; returns the seconds until it ended, and its status."""
        began = time.perf_counter()
        self.first.terminate()
        status = self._process.wait(PATIENCE)
        return time.perf_counter() - began, status

    def kill(self) -> None:
        """Whatever is left of it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE)

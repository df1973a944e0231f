"""The names that the app answers under, and the pages whose websockets it takes, served by itself and with `up`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from benchmarks.served import ROOT, STREAMLIT, UP, free_port, served
from kthink_core.cli import main
from kthink_core.errors import BadValue
from kthink_core.settings import Settings, from_environment
from tests.app_samples import sample_experiment, write_experiment

GIVEN = "kthink.lab.example"


BY_ITSELF = (
    "-c",
    "import os, sys; del os.environ['STREAMLIT_SERVER_ADDRESS']; os.execv(sys.executable, sys.argv[1:])",
    sys.executable,
    *STREAMLIT,
)
"""Without an address to listen on."""


@pytest.fixture(scope="module", params=[BY_ITSELF, UP], ids=["streamlit run", "up"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    cache = tmp_path_factory.mktemp("cache")
    write_experiment(cache, sample_experiment("demo", 2))
    given = {"KTHINK_APP_NAMES": f"{GIVEN}, other.example"}
    given |= {"KTHINK_WORKER_HOST": "0.0.0.0"}  # without a token: the worker ends, and the app goes on
    with served(cache, request.param, **given) as address:
        yield int(address.rsplit(":", 1)[1])


def status(port: int, host: str, path: str) -> int:
    return httpx.get(f"http://127.0.0.1:{port}{path}", headers={"host": host}, trust_env=False, timeout=300).status_code


def upgrades(port: int, host: str, origin: str | None) -> bool:
    """Whether a page of an origin gets a websocket."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        try:
            with connect(f"ws://{host}/_stcore/stream", sock=connection, origin=origin, open_timeout=300):  # pyright: ignore[reportArgumentType]
                return True
        except InvalidStatus as refused:
            assert refused.response.status_code == 403
            return False


FOREIGN = ("evil.example", "localhost.evil.example", f"x{GIVEN}", f"{GIVEN}@evil.example", "127.0.0.1.evil.example")
KNOWN = ("localhost", "localhost:9000", "LOCALHOST", GIVEN, f"{GIVEN}:8443", "other.example.")
DIGITS = ("127.0.0.1:8501", "127.0.0.2", "[::1]:8501", "192.168.1.7:80")


@pytest.mark.parametrize("path", ["/", "/inference?inference=1", "/_stcore/health", "/_stcore/host-config", "/media/x"])
@pytest.mark.parametrize("host", FOREIGN)
def test_other_names_get_nothing(port: int, host: str, path: str) -> None:
    assert status(port, host, path) == 400


def test_what_to_do_is_said(port: int) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}/", headers={"host": "gpu.example"}, trust_env=False)
    assert "KTHINK_APP_NAMES" in answer.text and answer.text.count("\n") == 1


@pytest.mark.parametrize("host", [*KNOWN, *DIGITS])
def test_known_names_get_the_page(port: int, host: str) -> None:
    assert status(port, host, "/") == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:9000", "http://localhost:9000"),  # a port that a container or a tunnel publishes
        ("127.0.0.1:8501", "http://127.0.0.1:8501"),
        ("192.168.1.7:8501", "http://192.168.1.7:8501"),
        (GIVEN, f"https://{GIVEN}"),
        (GIVEN, f"https://{GIVEN}:8443"),  # nginx's $host has no port
        ("127.0.0.1:8501", f"https://{GIVEN}"),  # a proxy that names the app by its address
        ("localhost:8501", None),  # no browser
    ],
)
def test_websockets_of_the_apps_own_pages_are_taken(port: int, host: str, origin: str | None) -> None:
    assert upgrades(port, host, origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example", "http://evil.example"),
        ("evil.example", None),
        ("localhost:8501", "http://evil.example"),
        ("localhost:8501", "http://localhost:3000"),
        ("127.0.0.1:8501", "http://127.0.0.1:3000"),
        ("127.0.0.1:8501", "http://localhost:8501"),
        ("192.168.1.7:8501", "http://192.168.1.8:8501"),
        (GIVEN, f"https://evil-{GIVEN}"),
        (GIVEN, "https://"),
        (GIVEN, "https://[half"),
        ("localhost:8501", "null"),
        ("localhost:8501", ""),
    ],
)
def test_websockets_of_other_pages_are_not(port: int, host: str, origin: str | None) -> None:
    assert not upgrades(port, host, origin)


@pytest.mark.parametrize("names", ["https://a.example", "a.example:8501", "a b", "*", "a..b", "ä.example"])
def test_a_name_is_a_name(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTHINK_APP_NAMES", names)
    with pytest.raises(BadValue, match="KTHINK_APP_NAMES"):
        from_environment(Settings)


def test_a_wrong_name_ends_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    wrong = {"KTHINK_APP_NAMES": "https://a.example", "STREAMLIT_SERVER_PORT": str(free_port())}
    ended = subprocess.run(
        [sys.executable, *STREAMLIT], cwd=ROOT, env=os.environ | wrong, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode != 0 and ended.stderr.count("\n") == 1 and "KTHINK_APP_NAMES" in ended.stderr
    monkeypatch.setenv("KTHINK_APP_NAMES", wrong["KTHINK_APP_NAMES"])
    assert main(["up", "--cache", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "KTHINK_APP_NAMES" in said


def test_by_itself_it_listens_on_this_machine_only(port: int) -> None:
    listening = {found.laddr for found in psutil.net_connections("tcp") if found.status == psutil.CONN_LISTEN}
    assert [ip for ip, at in listening if at == port] == ["127.0.0.1"]

"""Bounds on connections: clients that send half a request, or come in crowds, at a server of a few lines and at both of
ours."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from websockets.sync.client import connect

from benchmarks.served import UP, free_port, served
from kthink_core.access.connections import Limits, bound
from kthink_core.access.once_a_minute import OnceAMinute
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from tests.test_serve import answers, wait_until

HEAD, BODY = 0.5, 1.0
LARGE = 20_000_000
"""Bytes that are more than a connection holds."""
PATIENCE = 60.0


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, then streams for longer than a request may take to come; echoes websockets."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/large":
        await send({"type": "http.response.body", "body": bytes(LARGE)})
        return
    if scope["path"] == "/endless":
        for _ in range(500):
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
    for more in (True, True, False):
        await send({"type": "http.response.body", "body": b"part ", "more_body": more})
        if scope["path"] == "/slow":
            await asyncio.sleep(BODY)


class Server(uvicorn.Server):
    """Bounds its connections as ours do."""

    limits = Limits(head=HEAD, body=BODY, connections=8)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        bound(asyncio.get_running_loop(), self.limits)
        await super().startup(sockets)


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(uvicorn.Config(answering, log_level="error", lifespan="off", timeout_keep_alive=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def told(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    parts = []
    with connection:
        while True:
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: ",
    ],
    ids=["nothing", "headers", "body", "second request"],
)
def test_half_a_request_has_its_time_however_slowly_more_of_it_comes(port: int, half: bytes) -> None:
    connection, ended = connected(port), threading.Event()
    connection.sendall(half)

    def trickle() -> None:
        while half and not ended.wait(HEAD / 8):
            try:
                connection.sendall(b"x")
            except OSError:
                return

    sender = threading.Thread(target=trickle)
    sender.start()
    answer = told(connection)
    ended.set()
    sender.join(PATIENCE)
    assert b"408 Request Timeout" in answer or not answer


def test_who_does_not_read_the_end_of_an_answer_does_not_stay(port: int) -> None:
    """All of it is written, and most of it waits for its reader, when the connection is idle and ends."""
    with connected(port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        own = connection.getsockname()

        def held() -> bool:
            """Whether the server has its end of it."""
            found = psutil.Process().net_connections("tcp")
            return any(other.raddr and tuple(other.raddr) == own for other in found)

        wait_until(held)
        wait_until(lambda: not held())


def test_who_reads_the_end_of_an_answer_slowly_gets_all_of_it(port: int) -> None:
    with connected(port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        came, began, pause = 0, time.monotonic(), threading.Event()
        while part := connection.recv(500_000):
            came += len(part)
            if time.monotonic() - began < 4 * BODY:
                pause.wait(0.02)
        assert came > LARGE


def test_those_who_read_nothing_of_an_answer_make_room_for_others(port: int) -> None:
    with ExitStack() as crowd:
        for _ in range(8):
            connection = crowd.enter_context(connected(port))
            connection.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: not answers(f"http://127.0.0.1:{port}/"))
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/"))


def test_answers_and_websockets_take_as_long_as_they_take(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.post("/slow", content=b"{}").text == "part part part "
        with connect(f"ws://127.0.0.1:{port}/", ping_interval=None) as websocket:
            assert client.post("/slow").text == "part part part "
            websocket.send("still here")
            assert websocket.recv(PATIENCE) == "still here"


def test_a_connection_too_many_is_told_so_and_room_is_made(port: int) -> None:
    with ExitStack() as open_ones:
        for _ in range(8):
            open_ones.enter_context(connect(f"ws://127.0.0.1:{port}/", ping_interval=None))
        assert b"503 Service Unavailable" in told(connected(port))
    wait_until(lambda: answers(f"http://127.0.0.1:{port}/"))


def test_a_line_is_told_once_a_minute() -> None:
    now = [0.0]
    quiet = OnceAMinute(lambda: now[0])

    def tells(template: str, argument: str) -> bool:
        record = logging.LogRecord("kthink", logging.ERROR, "", 0, template, (argument,), None)
        return bool(quiet.filter(record))

    assert tells("no files: %s", "a") and not tells("no files: %s", "b") and tells("no memory: %s", "c")
    now[0] = 61
    assert tells("no files: %s", "d")


FILES = 256
WITH_FEW_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (%d, %d))
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), 2)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def test_a_crowd_with_half_requests_ends_and_fills_no_log(tiny_plan: Plan, tmp_path: Path) -> None:
    """More of them than either process may have files."""
    precompute(tiny_plan, tmp_path, 8, Silent())  # else the worker would make it meanwhile
    log, port = tmp_path / "log", free_port()
    command = ("-c", WITH_FEW_FILES % (FILES, FILES), str(log), *UP, "--experiment", "tiny")
    with served(tmp_path, command, KTHINK_WORKER_PORT=str(port)) as app, ExitStack() as crowd:
        worker = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(worker + "/health"))
        before = log.stat().st_size
        for address in (app, worker):
            for _ in range(FILES + 50):
                connection = crowd.enter_context(socket.socket())
                connection.setblocking(False)
                connection.connect_ex(("127.0.0.1", int(address.rsplit(":", 1)[1])))
                with suppress(OSError):  # of those that still wait to be taken
                    connection.send(b"POST / HTTP/1.1\r\nHost: loc")
        wait_until(lambda: answers(app + "/_stcore/health") and answers(worker + "/health"))
        assert log.stat().st_size - before < 10_000

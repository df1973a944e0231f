"""Sessions of the app in this process: Streamlit's own runtime, and clients that stand where browsers would.

What a click costs the server is timed as the server does it: the request to rerun reaches the session, which starts a
thread for the script; the script runs; its messages are serialised, the last of which says that it has finished. Left
out are the network and what the browser then does. Streamlit's test runner would add some 75 ms a run: it searches all
installed packages for components before each one, and reads the messages back into a tree after it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime import Runtime, RuntimeConfig
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.session_manager import SessionClient

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120.0
"""Seconds after which a run counts as failed."""

Answer = TypeVar("Answer")


class Session(SessionClient):
    """One visitor of the app. Made by `sessions`; for one thread at a time."""

    def __init__(self, runtime: Runtime, loop: asyncio.AbstractEventLoop) -> None:
        self._runtime, self._loop = runtime, loop
        self._finished = threading.Event()
        self._ended = 0.0
        self._failures: list[str] = []
        self._id = _on(loop, lambda: runtime.connect_session(self, {}))

    def open(self, page: str, parameters: Mapping[str, str]) -> float:
        """Goes to a view of a page, and returns the seconds from the request to the last message of its script.

        Raises RuntimeError where the script fails or does not end.
        """
        asked = BackMsg(rerun_script=ClientState(query_string=urlencode(parameters), page_name=page))
        self._finished.clear()
        self._failures.clear()
        began = time.perf_counter()
        _on(self._loop, lambda: self._runtime.handle_backmsg(self._id, asked))
        if not self._finished.wait(PATIENCE) or self._failures:
            raise RuntimeError(f"page {page} failed at {dict(parameters)}: {self._failures or 'it does not end'}")
        return self._ended - began

    def write_forward_msg(self, msg: ForwardMsg) -> None:
        """What the runtime sends to the browser."""
        msg.SerializeToString()
        kind = msg.WhichOneof("type")
        if kind == "delta" and msg.delta.new_element.WhichOneof("type") == "exception":
            self._failures.append(msg.delta.new_element.exception.message)
        elif kind == "script_finished" and msg.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            self._ended = time.perf_counter()
            self._finished.set()


@contextmanager
def sessions() -> Iterator[Callable[[], Session]]:
    """A function that begins a session. The app takes its settings from the environment."""
    config.set_option("server.fileWatcherType", "none")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="runtime")
    thread.start()
    files = MemoryMediaFileStorage("/media"), MemoryUploadedFileManager("/upload")
    runtime = Runtime(RuntimeConfig(str(ROOT / "app.py"), *files))
    asyncio.run_coroutine_threadsafe(runtime.start(), loop).result(PATIENCE)
    try:
        yield lambda: Session(runtime, loop)
    finally:
        runtime.stop()
        asyncio.run_coroutine_threadsafe(_ended(runtime), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _ended(runtime: Runtime) -> None:
    await runtime.stopped


def _on(loop: asyncio.AbstractEventLoop, call: Callable[[], Answer]) -> Answer:
    """Calls on the thread of the runtime."""

    async def called() -> Answer:
        return call()

    return asyncio.run_coroutine_threadsafe(called(), loop).result(PATIENCE)

"""A visit of the app as its own page makes it, without a browser: every byte that comes is at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import ClientConnection, connect

PATIENCE = 300.0
"""Seconds that a run may take: a busy machine is no failure."""


class Visit:
    """One open tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.messages: list[ForwardMsg] = []
        """Those of the last run."""

    def send(self, asked: BackMsg) -> None:
        """Anything that a browser might."""
        self._connection.send(asked.SerializeToString())

    def next_of(self, kind: str) -> ForwardMsg:
        """The next message of a kind."""
        while True:
            data = self._connection.recv(PATIENCE)
            assert isinstance(data, bytes)
            message = ForwardMsg.FromString(data)
            if message.WhichOneof("type") == kind:
                return message

    def run(self, page: str = "", query: str = "", widgets: Mapping[str, WidgetState] | None = None) -> bytes:
        """All that comes of one run of a page, as it came. Raises ConnectionClosed."""
        asked = BackMsg()
        asked.rerun_script.query_string = query
        asked.rerun_script.page_name = page
        asked.rerun_script.widget_states.widgets.extend((widgets or {}).values())
        self.send(asked)
        self.messages, came = [], b""
        while True:
            data = self._connection.recv(PATIENCE)
            assert isinstance(data, bytes)
            came += data
            message = ForwardMsg.FromString(data)
            self.messages.append(message)
            ended = message.WhichOneof("type") == "script_finished"
            if ended and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                return came


@contextmanager
def visiting(address: str, cookie: str = "", **headers: str) -> Iterator[Visit]:
    """Raises InvalidStatus where the server lets nobody in like this."""
    place = urlsplit(address)
    sent = headers | ({"cookie": cookie} if cookie else {})
    with connect(
        f"ws://{place.netloc}{place.path}/_stcore/stream",
        origin=f"http://{place.netloc}",  # pyright: ignore[reportArgumentType]
        additional_headers=sent,
        open_timeout=PATIENCE,
        max_size=None,
        subprotocols=["streamlit"],  # pyright: ignore[reportArgumentType]
    ) as connection:
        yield Visit(connection)

"""What a browser may send by its websocket: of what Streamlit's server takes, some is for whoever runs the app."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from streamlit.proto.BackMsg_pb2 import BackMsg

EVERYBODY = frozenset({"rerun_script", "stop_script", "load_git_info", "app_heartbeat", "file_urls_request"})
"""Kinds of messages that concern the sender's own visit. Others empty the cache of all, or change how it is run."""
OPERATIONS = frozenset({"deferred_file", "dataframe_chunk"})
"""What may be asked for beside: a file that a button is for, more rows of a table. Others write files on the server."""


def is_for_owners(data: bytes) -> bool:
    """Whether only an owner may send this. What is no message at all Streamlit itself refuses."""
    try:
        message = BackMsg.FromString(data)
    except DecodeError:
        return False
    kind = message.WhichOneof("type")
    if kind == "backend_operation_request":
        return message.backend_operation_request.WhichOneof("payload") not in OPERATIONS
    return kind is not None and kind not in EVERYBODY

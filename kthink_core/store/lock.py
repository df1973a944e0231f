"""One writer an experiment: a lock of the operating system, and a file that names its owner."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field

from kthink_core.documents import read_document
from kthink_core.errors import BadFile, ExperimentBusy
from kthink_core.store.files import Layout, remove, write_atomically


class _Owner(BaseModel):
    pid: int
    host: str = Field(max_length=300)
    since: str = Field(max_length=100)


@contextmanager
def writer_lock(layout: Layout, kind: str = "experiment") -> Iterator[None]:
    """Holds the writer's lock of an experiment, or what else is written in a folder by itself, whose folder exists.

    A dead owner's lock is free: the kernel drops it with the process. Raises ExperimentBusy naming the owner.
    """
    lock = FileLock(layout.lock, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ExperimentBusy(layout.name, _owner(layout), kind) from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        owner = _Owner(pid=os.getpid(), host=socket.gethostname(), since=since)
        write_atomically(layout.owner, owner.model_dump_json().encode())
        yield
    finally:
        remove(layout.owner)
        lock.release()


def _owner(layout: Layout) -> str:
    """`process 12 on host since …`; the file may be not written yet, or a remnant of an older owner."""
    try:
        owner = read_document(layout.owner, _Owner)
    except (OSError, BadFile):
        return "another process"
    return f"process {owner.pid} on {owner.host} since {owner.since}"

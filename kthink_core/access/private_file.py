"""Files that only their owner reads, made once or replaced as a whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from filelock import FileLock


def write_private(path: Path, text: str) -> None:
    """What stood there stays until the new text is on the disk. Raises OSError."""
    beside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as made:
            made.write(text)
            made.flush()
            os.fsync(made.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def make_private(path: Path, text: str) -> None:
    """Write a file that is not there yet; of several who do so at once, one. Raises OSError."""
    with FileLock(path.with_name(f"{path.name}.lock"), timeout=20):
        if not path.exists():
            write_private(path, text)

"""Python processes that begin their work in the same moment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_together(source: str, arguments: Iterable[Sequence[str]]) -> None:
    """Runs the source once for each of the arguments. It prints `ready`, waits for a line, and then works; all end
    well."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", source, *own],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for own in arguments
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        _, complaints = writer.communicate(timeout=300)
        assert writer.returncode == 0, complaints

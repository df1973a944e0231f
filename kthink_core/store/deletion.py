"""Kept inferences that somebody deleted: a mark beside the journal says so before anything is removed, and for good.

What has the mark is in no journal, whatever file is left of it, and its number is not given again. A writer that finds
marks builds anew what databases have of them, then removes the files: killed at any moment, the next one goes on.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field

from kthink_core.documents import read_document
from kthink_core.errors import BadFile
from kthink_core.store.files import DAMAGED, Layout, remove, sync_folder, write_atomically
from kthink_core.store.kept_memory import forget_memory
from kthink_core.store.studies import forget_studies

_NAME = re.compile(r"(\d{6,9})\.deleted", re.ASCII)
_LEFT = re.compile(rf"(\d{{6,9}})\.parquet(?:{re.escape(DAMAGED)}.*)?", re.ASCII)


class Deletion(BaseModel):
    """When, and by whom."""

    deleted: str = Field(max_length=100)
    by: str = Field(default="", max_length=300)


class Deletions:
    """Those of one experiment, as its writer keeps them: the lock must be held."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.inferences = set(deleted_inferences(layout))

    def add(self, inference: int, by: str) -> None:
        """From now on it is deleted, whatever happens. Raises DiskFull."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_atomically(_mark(self._layout, inference), Deletion(deleted=now, by=by).model_dump_json().encode())
        self.inferences.add(inference)

    def left(self) -> dict[int, list[Path]]:
        """What the journal still has of them, by inference: until that is removed, no end was made of it."""
        found: dict[int, list[Path]] = {}
        for path in sorted(self._layout.journal.iterdir()) if self.inferences else ():
            if (named := _LEFT.fullmatch(path.name)) and int(named[1]) in self.inferences:
                found.setdefault(int(named[1]), []).append(path)
        return found

    def clear(self) -> None:
        """Removes what is left of them, once no database has them. Raises OSError."""
        for inference, paths in self.left().items():
            forget_studies(self._layout, inference)
            forget_memory(self._layout, inference)
            remove(self._layout.fidelity_of(inference))
            for path in reversed(paths):
                remove(path)
            sync_folder(self._layout.journal)


def deleted_inferences(layout: Layout) -> list[int]:
    """By number, ascending."""
    if not layout.journal.is_dir():
        return []
    return sorted(int(named[1]) for path in layout.journal.iterdir() if (named := _NAME.fullmatch(path.name)))


def find_deletion(layout: Layout, inference: int) -> Deletion | None:
    """When a kept inference was deleted, and by whom; None where it was not, or nobody knows."""
    try:
        return read_document(_mark(layout, inference), Deletion)
    except (BadFile, OSError, ValueError):
        return None


def _mark(layout: Layout, inference: int) -> Path:
    return layout.journal / f"{inference:06d}.deleted"

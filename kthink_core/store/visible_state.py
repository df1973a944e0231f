"""What tells whether anything that a query reads of an experiment has changed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import get_args

from kthink_core.store.files import Layout
from kthink_core.store.injections import FOLDER
from kthink_core.store.manifest import manifest_version
from kthink_core.store.studies import Kind, studies_state


def visible_state(cache: Path, name: str) -> str:
    """A short text that differs whenever the databases of an experiment, or the results stored beside them, do: cheap
    to poll. One that does not exist has one, too."""
    layout = Layout(cache / name)
    studies = [studies_state(layout, kind) for kind in get_args(Kind)]
    content = [manifest_version(layout), *studies, *_changed(layout.folder / FOLDER)]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def _changed(folder: Path) -> list[tuple[str, int]]:
    """When each folder in it changed last: documents are replaced, never written into."""
    try:
        return sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    except OSError:
        return []

"""The key that invitations and cookies are signed with: a file that nobody else on the machine reads."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from kthink_core.access.private_file import make_private
from kthink_core.errors import BadValue

FOLDER = ".access"
"""Beside the experiments of a cache: key, invitations, audit log. No experiment has such a name."""
_LEAST = 32
"""Characters."""


def access_folder(cache: Path) -> Path:
    """Where a cache keeps what belongs to access; made where it is missing, open to its owner only. Raises OSError."""
    folder = cache / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def secret_key(cache: Path, file: Path | None) -> str:
    """What the `file` holds; without one, the cache's own key, made at the first use.

    Raises BadValue for a key that is too short, or that everybody may write; OSError.
    """
    path = file or access_folder(cache) / "key"
    if file is None:
        make_private(path, secrets.token_urlsafe(48) + "\n")
    with path.open(encoding="utf-8") as opened:
        # Who mounts secrets into a container makes them readable there: that alone is no mistake.
        if os.fstat(opened.fileno()).st_mode & 0o002:
            raise BadValue(f"the key in {path} may be written by everybody: chmod 600 {path}")
        key = opened.read(10_000).strip()
    if len(key) < _LEAST:
        raise BadValue(f"the key in {path} has {len(key)} characters: take at least {_LEAST}, a long random text")
    return key

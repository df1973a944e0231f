"""Where weights come from: a folder on this machine, a snapshot of the hub, or the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kthink_core.errors import MissingFiles


class Source(NamedTuple):
    """Files at hand, and what identifies them."""

    folder: Path
    revision: str
    """The hub's commit, or `sha256:…` over the files of a folder."""


def locate(given: str, bundled: Path, revision: str | None, patterns: Sequence[str]) -> Source:
    """The folder with the files of `given` that match `patterns`, downloaded from the hub if need be.

    given: `demo` (the folder `bundled`), a folder, or a hub id. Raises MissingFiles.
    """
    folder = bundled if given == "demo" else Path(given).expanduser()
    if folder.is_dir():
        return Source(folder, _fingerprint(folder, patterns))
    return _snapshot(given, revision, patterns)


def _snapshot(repo: str, revision: str | None, patterns: Sequence[str]) -> Source:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=list(patterns)))
    except HFValidationError as error:
        raise MissingFiles(f"'{repo}' is neither a folder here nor a hub id (owner/name)") from error
    except (OSError, ValueError) as error:  # no network, no such repository or revision, offline mode
        reason = str(error).strip().partition("\n")[0]
        raise MissingFiles(
            f"'{repo}' is neither a folder here nor to be had from the hub ({reason}); connect, or copy it from a "
            f"machine with `hf download {repo} --local-dir FOLDER` and name the folder"
        ) from error
    return Source(folder, folder.name)


def _fingerprint(folder: Path, patterns: Sequence[str]) -> str:
    """SHA-256 over name and content of the files that would be read, in order of name."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:16]}"

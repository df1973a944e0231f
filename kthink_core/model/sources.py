"""Where weights come from: a folder on this machine, a snapshot of the hub, or the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kthink_core.errors import MissingFiles


class Source(NamedTuple):
    """Files at hand, and what identifies them."""

    folder: Path
    revision: str
    """The hub's commit, or `sha256:…` over the files of a folder."""
    digests: dict[str, bytes]
    """SHA-256 of each file of a folder by name, ascending; empty for the hub."""

    def part(self, subfolder: str) -> str:
        """What identifies the files of one subfolder, whichever others are used with it."""
        own = {name: digest for name, digest in self.digests.items() if Path(name).is_relative_to(subfolder)}
        return _fingerprint(own) if self.digests else self.revision


def locate(given: str, bundled: Path, revision: str | None, patterns: Sequence[str]) -> Source:
    """The folder with the files of `given` that match `patterns`, downloaded from the hub if need be.

    given: `demo` (the folder `bundled`), a folder, or a hub id. Raises MissingFiles.
    """
    folder = bundled if given == "demo" else Path(given).expanduser()
    if folder.is_dir():
        digests = _digests(folder, patterns)
        return Source(folder, _fingerprint(digests), digests)
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
    return Source(folder, folder.name, {})


def _digests(folder: Path, patterns: Sequence[str]) -> dict[str, bytes]:
    """SHA-256 of the files that would be read, in order of path."""
    digests = {}
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}):
        with path.open("rb") as content:
            digests[str(path.relative_to(folder))] = hashlib.file_digest(content, "sha256").digest()
    return digests


def _fingerprint(digests: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents."""
    whole = hashlib.sha256(b"".join(name.encode() + digest for name, digest in digests.items()))
    return f"sha256:{whole.hexdigest()[:16]}"

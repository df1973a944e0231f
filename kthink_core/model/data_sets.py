"""Data sets of the hub, and of its library's cache, where a source may be a file, an experiment or one of these."""

from __future__ import annotations

from typing import Any

from kthink_core.config import OF_EXPERIMENT
from kthink_core.errors import MissingFiles, in_words


def data_set(source: str, split: str, option: str) -> Any:
    """A split of `owner/name`, or of `owner/name:config`: rows that lie on disk and are read as they are asked for.

    option: what named the source, for messages. Raises MissingFiles.
    """
    name, _, part = source.partition(":")
    from datasets import load_dataset

    try:
        return load_dataset(name, part or None, split=split)
    except (OSError, RuntimeError, ValueError) as error:  # what `datasets` raises, by version and cache state
        reason = in_words(error)[:300]
        raise MissingFiles(
            f"{option} {source}: it is no file here, and as a data set it cannot be had ({reason}); name "
            f"`{OF_EXPERIMENT}E`, a JSONL file, or a data set of the hub, with --split where it has no such"
        ) from error

"""The token that app and worker share, where a file holds it: the worker makes what is missing."""

from __future__ import annotations

import secrets

from kthink_core.access.private_file import make_private
from kthink_core.settings import WorkerSettings, from_environment


def with_token(settings: WorkerSettings) -> WorkerSettings:
    """The settings with what the file holds, made at the first use, unless they have a token or no file is named.

    Raises BadValue for a token that is none, OSError.
    """
    if settings.token is not None or settings.token_file is None:
        return settings
    settings.token_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    make_private(settings.token_file, secrets.token_urlsafe(32) + "\n")
    made = from_environment(WorkerSettings, token_file=settings.token_file)
    return settings.model_copy(update={"token": made.token})

"""The latents of a text by a running worker, where that one makes the same as an experiment holds."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from pydantic import ValidationError

from kthink_core.config import Experiment
from kthink_core.errors import BadValue, UnknownName, WorkerRefused
from kthink_core.identity import maker
from kthink_core.live.api import EncodeRequest, Failed, Tokens
from kthink_core.live.client import WorkerClient
from kthink_core.live.live_trace import LiveTrace


class AnotherModel(BadValue):
    """A worker that would make other latents than the experiment's."""

    def __init__(self, address: str, experiment: str) -> None:
        super().__init__(
            f"the worker at {address} is starting, or has another model, SAE or site than experiment '{experiment}'"
        )


def hookpoints_of(experiment: Experiment, asked: Sequence[str]) -> tuple[str, ...]:
    """Those asked for, each once; all of the experiment where none is. Raises UnknownName."""
    found = tuple(dict.fromkeys(asked or experiment.saes))
    for hookpoint in found:
        if hookpoint not in experiment.saes:
            raise UnknownName("hookpoint", hookpoint, experiment.saes)
    return found


def encode_by_worker(
    client: WorkerClient, experiment: Experiment, text: str, hookpoints: tuple[str, ...], *, special: bool
) -> LiveTrace:
    """`hookpoints`: the experiment's. `special`: names of special tokens in the text are these tokens. Raises
    BadValue, AnotherModel, WorkerMissing, WorkerRefused, WorkerLost, NotAllowed."""
    try:
        asked = EncodeRequest(text=text, hookpoints=hookpoints, special=special)
    except ValidationError as error:
        raise BadValue(f"the text: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    health = client.health()
    if any(health.maker(hookpoint) != maker(experiment, hookpoint) for hookpoint in hookpoints):
        raise AnotherModel(client.address, experiment.name)
    trace = LiveTrace()
    for event in client.encode(asked):
        if isinstance(event, Tokens):
            trace.add(event)
        if isinstance(event, Failed):
            raise WorkerRefused(event.message, None)
    return trace


def latents_table(trace: LiveTrace, hookpoints: Sequence[str]) -> pd.DataFrame:
    """hookpoint, position, token_id, text, feature, activation: in the order of the hookpoints, then by position, by
    activation, largest first, and by feature."""
    tokens = trace.tokens()[["position", "token_id", "text"]]
    parts = []
    for place, hookpoint in enumerate(hookpoints):
        latents = trace.latents(hookpoint).assign(place=place, hookpoint=hookpoint)
        parts.append(latents.merge(tokens, on="position"))
    found = pd.concat(parts).sort_values(
        ["place", "position", "activation", "feature"], ascending=[True, True, False, True], ignore_index=True
    )
    return found.filter(items=["hookpoint", "position", "token_id", "text", "feature", "activation"])

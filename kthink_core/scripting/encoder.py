"""Encodes texts with an experiment's model and SAEs: by a running worker, or in this process."""

from __future__ import annotations

from typing import Literal, get_args

import pandas as pd
from pydantic import ValidationError

from kthink_core.commands.loading import Loaded, load
from kthink_core.config import Device, Experiment
from kthink_core.errors import BadValue, PromptRefused, UnknownName, WorkerMissing, WorkerRefused
from kthink_core.identity import maker
from kthink_core.live.api import EncodeRequest, Failed, Tokens
from kthink_core.live.client import WorkerClient
from kthink_core.live.limits import refusal
from kthink_core.live.live_trace import LiveTrace
from kthink_core.prompts import spelled_ids
from kthink_core.settings import WorkerSettings, from_environment

Where = Literal["auto", "worker", "here"]


class Encoder:
    """Of one experiment. What it loads it keeps."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._loaded: dict[tuple[tuple[str, ...], Device], Loaded] = {}
        """The last that was loaded: of some hookpoints, for a device."""

    def encode(
        self, text: str, hookpoints: tuple[str, ...], where: Where, device: Device, *, special: bool
    ) -> pd.DataFrame:
        """As `OpenExperiment.encode` says."""
        asked = tuple(dict.fromkeys(hookpoints or self._experiment.saes))
        for hookpoint in asked:
            if hookpoint not in self._experiment.saes:
                raise UnknownName("hookpoint", hookpoint, self._experiment.saes)
        if where not in get_args(Where):
            raise UnknownName("place", where, get_args(Where))
        if not text:
            raise BadValue("there is no text to encode")
        if where != "here":
            trace = self._at_worker(text, asked, where, special=special)
            if trace is not None:
                return _table(trace, asked)
        return _table(self._here(text, asked, device, special=special), asked)

    def _at_worker(self, text: str, hookpoints: tuple[str, ...], where: Where, *, special: bool) -> LiveTrace | None:
        """None where there is no worker for it, and another place will do."""
        with WorkerClient(from_environment(WorkerSettings)) as client:
            try:
                health = client.health()
            except WorkerMissing:
                if where == "worker":
                    raise
                return None
            if any(health.maker(hookpoint) != maker(self._experiment, hookpoint) for hookpoint in hookpoints):
                if where == "worker":
                    raise BadValue(
                        f"the worker at {client.address} is starting, or has another model, SAE or site than "
                        f"experiment '{self._experiment.name}'; where='here' encodes in this process"
                    )
                return None
            trace = LiveTrace()
            for event in client.encode(_request(text, hookpoints, special=special)):
                if isinstance(event, Tokens):
                    trace.add(event)
                if isinstance(event, Failed):
                    raise WorkerRefused(event.message, None)
            return trace

    def _here(self, text: str, hookpoints: tuple[str, ...], device: Device, *, special: bool) -> LiveTrace:
        from kthink_core.worker.stream import encode_text

        key = hookpoints, device
        if key not in self._loaded:
            self._loaded = {}  # what was loaded before goes first
            self._loaded = {key: load(self._experiment, hookpoints, device)}
        lm, saes = self._loaded[key]
        tokenizer = lm.tokenizer
        ids = tokenizer.encode(text, add_special_tokens=False) if special else spelled_ids(tokenizer, text)
        told = refusal(len(ids), 0, prompt_tokens=lm.context, new_tokens=0, context=lm.context)
        if told is not None:
            raise PromptRefused(told)
        trace = LiveTrace()
        for part in encode_text(lm, saes, self._experiment.config.site, ids):
            if isinstance(part, Tokens):
                trace.add(part)
        return trace


def _request(text: str, hookpoints: tuple[str, ...], *, special: bool) -> EncodeRequest:
    try:
        return EncodeRequest(text=text, hookpoints=hookpoints, special=special)
    except ValidationError as error:
        raise BadValue(f"the text: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _table(trace: LiveTrace, hookpoints: tuple[str, ...]) -> pd.DataFrame:
    """hookpoint, position, token_id, text, feature, activation."""
    tokens = trace.tokens()[["position", "token_id", "text"]]
    parts = []
    for place, hookpoint in enumerate(hookpoints):
        latents = trace.latents(hookpoint).assign(place=place, hookpoint=hookpoint)
        parts.append(latents.merge(tokens, on="position"))
    found = pd.concat(parts).sort_values(
        ["place", "position", "activation", "feature"], ascending=[True, True, False, True], ignore_index=True
    )
    return found.filter(items=["hookpoint", "position", "token_id", "text", "feature", "activation"])

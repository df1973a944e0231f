"""Encodes texts with an experiment's model and SAEs: by a running worker, or in this process."""

from __future__ import annotations

from typing import Literal, get_args

import pandas as pd

from kthink_core.commands.loading import Loaded, load
from kthink_core.config import Device, Experiment
from kthink_core.errors import BadValue, PromptRefused, UnknownName, WorkerMissing
from kthink_core.live.api import Tokens
from kthink_core.live.client import WorkerClient
from kthink_core.live.encoding import AnotherModel, encode_by_worker, hookpoints_of, latents_table
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
        asked = hookpoints_of(self._experiment, hookpoints)
        if where not in get_args(Where):
            raise UnknownName("place", where, get_args(Where))
        if not text:
            raise BadValue("there is no text to encode")
        if where != "here":
            trace = self._at_worker(text, asked, where, special=special)
            if trace is not None:
                return latents_table(trace, asked)
        return latents_table(self._here(text, asked, device, special=special), asked)

    def _at_worker(self, text: str, hookpoints: tuple[str, ...], where: Where, *, special: bool) -> LiveTrace | None:
        """None where there is no worker for it, and another place will do."""
        with WorkerClient(from_environment(WorkerSettings)) as client:
            try:
                return encode_by_worker(client, self._experiment, text, hookpoints, special=special)
            except AnotherModel as error:
                if where == "worker":
                    raise BadValue(f"{error}; where='here' encodes in this process") from error
            except WorkerMissing:
                if where == "worker":
                    raise
            return None

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

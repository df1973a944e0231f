"""One live inference: the stages of the pipeline, one token at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from kthink_core.config import Site
from kthink_core.live.api import Latents, Tokens
from kthink_core.model.generate import steps
from kthink_core.model.hookpoints import Captured
from kthink_core.model.language_model import LanguageModel, token_text
from kthink_core.model.replay import replay
from kthink_core.model.sae import Sae, chunks
from kthink_core.model.sampling import Sampling
from kthink_core.prompts import THINK_CLOSE, Segment
from kthink_core.records import Generation, Prompt

TOGETHER = 0.02
"""Seconds between two events. Tokens that come faster are encoded and told together: an SAE's weights are read once for
all of them, and who listens takes a turn of the engine's Python for each event."""


class Live:
    """A generation under way. Iterate over it for its tokens; then `generation` and `captured` hold the whole."""

    def __init__(
        self, lm: LanguageModel, saes: Mapping[str, Sae], site: Site, prompt: Prompt, sampling: Sampling
    ) -> None:
        self._lm, self._saes, self._prompt = lm, saes, prompt
        self._steps = steps(lm, [prompt], sampling, list(saes), site)
        self._close = lm.tokenizer.encode(THINK_CLOSE, add_special_tokens=False)
        self._token_ids = list(prompt.token_ids)
        self._segments: list[Segment] = []
        self._segments.extend("prompt" for _ in prompt.token_ids)
        self._logprobs: list[float | None] = [None for _ in prompt.token_ids]
        self._vectors: dict[str, list[Tensor]] = {hookpoint: [] for hookpoint in saes}
        """By hookpoint, [positions, width] of each forward pass."""
        self._told = self._passes_told = 0
        self.generation: Generation | None = None
        """None until the end."""

    def __iter__(self) -> Iterator[Tokens | None]:
        """After each forward pass: the prompt, then the tokens that have passed since; None: they are told later."""
        given, due = len(self._token_ids), 0.0
        segment: Segment = "answer" if self._prompt.mode == "bypass" else "think"
        for step in self._steps:
            for hookpoint, captured in step.vectors.items():
                self._vectors[hookpoint].append(captured[0])
            self._token_ids += step.token_ids
            self._segments.extend(segment for _ in step.token_ids)
            self._logprobs += step.logprobs
            if (
                segment == "think"
                and self._token_ids[max(given, len(self._token_ids) - len(self._close)) :] == self._close
            ):
                segment = "answer"
            for reason in step.ended.values():
                self.generation = Generation(self._prompt, tuple(self._token_ids[given:]), reason)
            if step.ended or time.monotonic() >= due:
                yield self._tell()
                due = time.monotonic() + TOGETHER if step.token_ids else 0.0  # the first new token does not wait
            else:
                yield None

    @property
    def captured(self) -> Captured:
        """Of all positions so far."""
        logprobs = [torch.nan if logprob is None else logprob for logprob in self._logprobs]
        return Captured(
            {hookpoint: torch.cat(parts) for hookpoint, parts in self._vectors.items()}, torch.tensor(logprobs)
        )

    def _tell(self) -> Tokens:
        """What has not been told yet."""
        first = self._told
        ids = self._token_ids[first:]
        latents = {
            hookpoint: _latents(self._saes[hookpoint], torch.cat(parts[self._passes_told :]))
            for hookpoint, parts in self._vectors.items()
        }
        self._told, self._passes_told = len(self._token_ids), max(map(len, self._vectors.values()))
        return Tokens(
            first=first,
            token_ids=tuple(ids),
            texts=tuple(token_text(self._lm.tokenizer, token_id) for token_id in ids),
            segments=tuple(self._segments[first:]),
            logprobs=tuple(self._logprobs[first:]),
            latents=latents,
        )


def encode_text(lm: LanguageModel, saes: Mapping[str, Sae], site: Site, token_ids: Sequence[int]) -> Tokens:
    """The latents of tokens that are there already; they count as prompt."""
    captured = replay(lm, [token_ids], list(saes), site)[0]
    return Tokens(
        first=0,
        token_ids=tuple(token_ids),
        texts=tuple(token_text(lm.tokenizer, token_id) for token_id in token_ids),
        segments=("prompt",) * len(token_ids),
        logprobs=(None, *captured.logprobs[1:].tolist()),
        latents={hookpoint: _latents(saes[hookpoint], vectors) for hookpoint, vectors in captured.vectors.items()},
    )


@torch.inference_mode()
def _latents(sae: Sae, vectors: Tensor) -> Latents:
    """vectors: [positions, d_in]."""
    activations: list[list[float]] = []
    features: list[list[int]] = []
    for part in chunks(sae, vectors.to(sae.W_dec.dtype)):
        kept = sae.encode(part)
        activations += kept.activations.float().tolist()
        features += kept.indices.tolist()
    positive = [
        [pair for pair in zip(ids, values, strict=True) if pair[1] > 0]
        for ids, values in zip(features, activations, strict=True)
    ]
    return Latents(
        features=tuple(tuple(feature for feature, _ in pairs) for pairs in positive),
        activations=tuple(tuple(activation for _, activation in pairs) for pairs in positive),
    )

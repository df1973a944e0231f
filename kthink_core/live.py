"""One live inference: the stages of the pipeline, one token at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from sparsify import SparseCoder
from torch import Tensor

from kthink_core.config import Site
from kthink_core.generate import steps
from kthink_core.hookpoints import Captured
from kthink_core.jobs import Latents, Tokens
from kthink_core.model import LanguageModel, token_text
from kthink_core.prompts import THINK_CLOSE, Segment
from kthink_core.records import Generation, Prompt
from kthink_core.replay import replay
from kthink_core.sae import chunks
from kthink_core.sampling import Sampling


class Live:
    """A generation under way. Iterate over it for its tokens; then `generation` and `captured` hold the whole."""

    def __init__(
        self, lm: LanguageModel, saes: Mapping[str, SparseCoder], site: Site, prompt: Prompt, sampling: Sampling
    ) -> None:
        self._lm, self._saes, self._prompt = lm, saes, prompt
        self._steps = steps(lm, [prompt], sampling, list(saes), site)
        self._close = lm.tokenizer.encode(THINK_CLOSE, add_special_tokens=False)
        self._vectors: dict[str, list[Tensor]] = {hookpoint: [] for hookpoint in saes}
        self._token_ids: list[int] = []
        self._logprobs: list[float] = []
        self.generation: Generation | None = None
        """None until the end."""

    def __iter__(self) -> Iterator[Tokens]:
        """The prompt, then each token with the latents it has as it passes through the model."""
        segment: Segment = "answer" if self._prompt.mode == "bypass" else "think"
        for step in self._steps:
            vectors = {hookpoint: captured[0] for hookpoint, captured in step.vectors.items()}
            for hookpoint, captured in vectors.items():
                self._vectors[hookpoint].append(captured)
            if step.token_ids:
                yield self._tokens(step.token_ids, [segment], step.logprobs, vectors)
            else:
                given = self._prompt.token_ids
                labels: list[Segment] = ["prompt"] * len(given)
                yield self._tokens(given, labels, [None] * len(given), vectors)
            self._token_ids += step.token_ids
            self._logprobs += step.logprobs
            if segment == "think" and self._token_ids[-len(self._close) :] == self._close:
                segment = "answer"
            for reason in step.ended.values():
                self.generation = Generation(self._prompt, tuple(self._token_ids), reason)

    @property
    def captured(self) -> Captured:
        """Of all positions so far."""
        given = [torch.nan] * len(self._prompt.token_ids)
        vectors = {hookpoint: torch.cat(parts) for hookpoint, parts in self._vectors.items()}
        return Captured(vectors, torch.tensor([*given, *self._logprobs]))

    def _tokens(
        self,
        token_ids: Sequence[int],
        segments: Sequence[Segment],
        logprobs: Sequence[float | None],
        vectors: Mapping[str, Tensor],
    ) -> Tokens:
        first = len(self._prompt.token_ids) + len(self._token_ids) if segments[0] != "prompt" else 0
        return Tokens(
            first=first,
            token_ids=tuple(token_ids),
            texts=tuple(token_text(self._lm.tokenizer, token_id) for token_id in token_ids),
            segments=tuple(segments),
            logprobs=tuple(logprobs),
            latents={hookpoint: _latents(self._saes[hookpoint], captured) for hookpoint, captured in vectors.items()},
        )


def encode_text(lm: LanguageModel, saes: Mapping[str, SparseCoder], site: Site, token_ids: Sequence[int]) -> Tokens:
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
def _latents(sae: SparseCoder, vectors: Tensor) -> Latents:
    """vectors: [positions, d_in]."""
    activations: list[list[float]] = []
    features: list[list[int]] = []
    for part in chunks(sae, vectors.to(sae.dtype)):
        kept = sae.encode(part)
        activations += kept.top_acts.float().tolist()
        features += kept.top_indices.tolist()
    positive = [
        [pair for pair in zip(ids, values, strict=True) if pair[1] > 0]
        for ids, values in zip(features, activations, strict=True)
    ]
    return Latents(
        features=tuple(tuple(feature for feature, _ in pairs) for pairs in positive),
        activations=tuple(tuple(activation for _, activation in pairs) for pairs in positive),
    )

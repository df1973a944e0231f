"""One live inference: the stages of the pipeline, one token at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from kthink_core.config import Site
from kthink_core.live.api import Latents, Others, Tokens
from kthink_core.model.generate import Step, notes_of, steps
from kthink_core.model.language_model import LanguageModel, token_text
from kthink_core.model.likeliest import Likeliest, together
from kthink_core.model.receipts import receipts, tried
from kthink_core.model.replay import replay
from kthink_core.model.sae import LoadedSaes, encode
from kthink_core.model.sampling import Sampling
from kthink_core.model.steering import Notes, Steering
from kthink_core.precompute.assembly import assemble
from kthink_core.prompts import Segment, Segmenter, think_close
from kthink_core.records import Encoding, FinishReason, Generation, Inference, Prompt, Receipt, joined
from kthink_core.worker.branching import Begun
from kthink_core.worker.pasted import pasted_inference, pasted_segments

TOGETHER = 0.02
"""Seconds between two events. Tokens that come faster are encoded and told together: an SAE's weights are read once for
all of them, and who listens takes a turn of the engine's Python for each event."""


def generate_live(
    lm: LanguageModel,
    saes: LoadedSaes,
    site: Site,
    prompt: Prompt,
    sampling: Sampling,
    steering: Steering | None = None,
    begun: Begun | None = None,
) -> Iterator[Tokens | Inference | None]:
    """After each forward pass: the prompt, then the tokens that have passed since, the first new one at once; None:
    they are told later. Last of all the whole inference.

    `begun`: what is written goes on from there, and counts what the trace had written, too; `prompt` has it all, and
    `steering` acts on it, too.

    Each position is encoded once, when it is told. Its last bits may differ from those that the precompute gets, where
    other positions are encoded together with it.
    """
    growing, due = _Growing(lm, saes, prompt, site, steering, begun), 0.0
    earlier = begun.written if begun else 0
    for step in steps(lm, [prompt], sampling, list(saes.by_hookpoint), site, steering, earlier):
        growing.add(step)
        if step.ended or time.monotonic() >= due:
            yield growing.tell()
            due = time.monotonic() + TOGETHER if step.token_ids else 0.0
        else:
            yield None
        for reason in step.ended.values():
            yield growing.whole(reason)


def encode_text(
    lm: LanguageModel, saes: LoadedSaes, site: Site, token_ids: Sequence[int]
) -> Iterator[Tokens | Inference]:
    """The latents of tokens that are there already, then what would be stored of them, where that is a trace."""
    captured = replay(lm, [token_ids], list(saes.by_hookpoint), site, others=True)[0]
    texts = tuple(token_text(lm.tokenizer, token_id) for token_id in token_ids)
    segments = pasted_segments(texts)
    logprobs = (None, *captured.logprobs[1:].tolist())
    encodings = {
        hookpoint: encode(sae, captured.vectors[hookpoint], segments) for hookpoint, sae in saes.by_hookpoint.items()
    }
    latents = {hookpoint: _latents(encoding) for hookpoint, encoding in encodings.items()}
    yield Tokens(
        first=0,
        token_ids=tuple(token_ids),
        texts=texts,
        segments=segments,
        logprobs=logprobs,
        latents=latents,
        others=captured.likeliest and _others(lm, captured.likeliest),
    )
    if found := pasted_inference(lm, token_ids, segments, logprobs, encodings, captured.likeliest):
        yield found


class _Growing:
    """What has come of a generation so far."""

    def __init__(
        self,
        lm: LanguageModel,
        saes: LoadedSaes,
        prompt: Prompt,
        site: Site,
        steering: Steering | None,
        begun: Begun | None,
    ) -> None:
        self._lm, self._saes, self._prompt, self._steering = lm, saes, prompt, steering
        self._site: Site = site
        self._given = begun.given if begun else len(prompt.token_ids)
        """Tokens of the prompt."""
        self._notes: list[Notes] = []
        """Of each generated token."""
        self._segmenter = Segmenter(prompt.mode, think_close(lm.tokenizer))
        self._token_ids = list(prompt.token_ids)
        self._segments: list[Segment] = []
        self._segments.extend("prompt" for _ in prompt.token_ids)
        self._logprobs: list[float | None] = [None for _ in prompt.token_ids]
        self._others: list[Likeliest] = []
        """Of each generated token, [1, …]."""
        if begun and begun.written:
            self._take(begun)
        self._waiting: list[dict[str, Tensor]] = []
        """Of each forward pass that is not encoded yet: by hookpoint, [positions, width]."""
        self._encodings: dict[str, list[Encoding]] = {hookpoint: [] for hookpoint in saes.by_hookpoint}
        """Of what has been told, end to end."""
        self._told = 0

    def _take(self, begun: Begun) -> None:
        """What was written before: how likely the model itself finds it, in one pass."""
        self._segments, self._segmenter = begun.segments(self._lm)
        [found] = replay(
            self._lm, [begun.token_ids], (), self._site, self._steering, prompt_tokens=[begun.given], others=True
        )
        self._logprobs[begun.given :] = found.logprobs[begun.given :].tolist()
        assert found.likeliest is not None  # something follows the prompt
        self._others = [Likeliest(*one) for one in zip(*(values.split(1) for values in found.likeliest), strict=True)]

    def add(self, step: Step) -> None:
        """One more forward pass."""
        self._waiting.append({hookpoint: captured[0] for hookpoint, captured in step.vectors.items()})
        self._token_ids += step.token_ids
        self._segments.extend(self._segmenter.next(token_id) for token_id in step.token_ids)
        self._logprobs += step.logprobs
        self._others += [step.likeliest] if step.likeliest else []
        written = len(step.token_ids) or len(self._prompt.token_ids) - self._given  # the first step: before it began
        if self._steering and written:
            self._notes.append(
                {name: notes_of(step, name, self._steering, written)[0] for name in self._steering.hookpoints}
            )

    def tell(self) -> Tokens:
        """What has not been told yet, encoded."""
        first = self._told
        others = self._others[max(first - self._given, 0) :]
        ids, segments = self._token_ids[first:], self._segments[first:]
        for hookpoint, sae in self._saes.by_hookpoint.items():
            vectors = torch.cat([captured[hookpoint] for captured in self._waiting])
            self._encodings[hookpoint].append(encode(sae, vectors, segments))
        self._told = len(self._token_ids)
        self._waiting.clear()
        return Tokens(
            first=first,
            token_ids=tuple(ids),
            texts=tuple(token_text(self._lm.tokenizer, token_id) for token_id in ids),
            segments=tuple(segments),
            logprobs=tuple(self._logprobs[first:]),
            latents={hookpoint: _latents(parts[-1]) for hookpoint, parts in self._encodings.items()},
            others=_others(self._lm, together(others)) if others else None,
        )

    def whole(self, reason: FinishReason) -> Inference:
        """What would be stored. Everything has been told by then."""
        given, steering = self._given, self._steering
        prompt = self._prompt._replace(token_ids=self._prompt.token_ids[:given])
        generation = Generation(prompt, tuple(self._token_ids[given:]), reason)
        logprobs = np.array(self._logprobs, np.float32)  # None, in the prompt, becomes NaN
        encodings = {hookpoint: joined(parts) for hookpoint, parts in self._encodings.items()}
        others = together(self._others) if self._others else None
        told: tuple[Receipt, ...] = ()
        if steering:
            checks = tried(self._lm, generation, torch.from_numpy(logprobs), self._site, steering)
            notes = {name: torch.cat([noted[name] for noted in self._notes]) for name in steering.hookpoints}
            told = receipts(steering, notes, encodings, given, checks)
        interventions = steering.interventions if steering else ()
        labels = tuple(self._segments)
        return assemble(self._lm, generation, labels, logprobs, encodings, interventions, told, others=others)


def _others(lm: LanguageModel, found: Likeliest) -> Others:
    texts = {token_id: token_text(lm.tokenizer, token_id) for token_id in found.distinct()}
    token_ids, logprobs = (tuple(map(tuple, values.tolist())) for values in (found.token_ids, found.logprobs))
    return Others(
        token_ids=token_ids,
        texts=tuple(tuple(texts[token_id] for token_id in ids) for ids in token_ids),
        logprobs=logprobs,
        entropies=tuple(found.entropies.tolist()),
    )


def _latents(encoding: Encoding) -> Latents:
    """The positive activations of each position."""
    kept = encoding.activations > 0
    pairs = list(zip(encoding.features, encoding.activations, kept, strict=True))
    return Latents(
        features=tuple(tuple(features[positive].tolist()) for features, _, positive in pairs),
        activations=tuple(tuple(activations[positive].tolist()) for _, activations, positive in pairs),
    )

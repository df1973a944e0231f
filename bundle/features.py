"""What the demo's SAEs make of rollouts: how well they rebuild, which features answer to words of reasoning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from sparsify import SparseCoder
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bundle.phrases import REASONING_WORDS
from bundle.rollouts import Rollout, mlp_outputs

RELEVANT = 10  # features of an inference: those with the largest maximum activation
HIGHEST = 5  # tokens of a feature
NOT_TELLING = {"And", "Or", "Let", "After", "Hold"}  # sentence starters that say nothing about reasoning on their own


class Codes(NamedTuple):
    """One rollout at one hookpoint."""

    tokens: Tensor  # [positions], token ids
    vectors: Tensor  # [positions, width], the module's output
    activations: Tensor  # [positions, k]
    features: Tensor  # [positions, k]
    start: int  # the first generated position


class Quality(NamedTuple):
    """How well an SAE does over rollouts."""

    fvu: float  # fraction of variance unexplained, over all positions
    fvu_generated: float  # the same over generated positions
    l0: float  # mean number of positive activations at a position
    dead: float  # share of features that are never positive


@torch.no_grad()
def encode(sae: SparseCoder, model: PreTrainedModel, hookpoint: str, rollout: Rollout) -> Codes:
    """The latents of every position of a rollout, its prompt and its last token included."""
    ids = rollout.prompt + rollout.generated
    vectors = mlp_outputs(model, ids, [hookpoint])[hookpoint]
    latents = sae.encode(vectors)
    return Codes(torch.tensor(ids), vectors, latents.top_acts, latents.top_indices, len(rollout.prompt))


@torch.no_grad()
def quality(sae: SparseCoder, codes: Sequence[Codes]) -> Quality:
    """How an SAE does over rollouts."""
    fired = torch.zeros(sae.num_latents, dtype=torch.bool)
    for code in codes:
        fired[code.features[code.activations > 0]] = True
    positive = sum(int((code.activations > 0).sum()) for code in codes)
    positions = sum(len(code.tokens) for code in codes)
    return Quality(
        round(_fvu(sae, codes, generated=False), 4),
        round(_fvu(sae, codes, generated=True), 4),
        round(positive / positions, 3),
        round(1 - fired.float().mean().item(), 4),
    )


def _fvu(sae: SparseCoder, codes: Sequence[Codes], generated: bool) -> float:
    """Sum of squared errors over sum of squared distances from the mean."""
    starts = [code.start if generated else 0 for code in codes]
    vectors = torch.cat([code.vectors[start:] for code, start in zip(codes, starts, strict=True)])
    rebuilt = torch.cat(
        [sae.decode(code.activations[start:], code.features[start:]) for code, start in zip(codes, starts, strict=True)]
    )
    return ((vectors - rebuilt).square().sum() / (vectors - vectors.mean(0)).square().sum()).item()


@torch.no_grad()
def copies(sae: SparseCoder) -> float:
    """Share of features whose decoder direction has a cosine above 0.9 to another's."""
    assert sae.W_dec is not None
    directions = torch.nn.functional.normalize(sae.W_dec, dim=1)  # [latents, width]
    cosines = directions @ directions.T - 2 * torch.eye(len(directions))  # [latents, latents]
    return round((cosines.max(1).values > 0.9).float().mean().item(), 4)


def reasoning_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of the reasoning words as sentence starters, and of lower-case spellings where these too only reason."""
    words = set(REASONING_WORDS) - NOT_TELLING
    lower = {"hmm", "maybe", "perhaps", "wait", "so", "therefore", "alright", "okay"}
    return {tokenizer.encode(space + word)[0] for word in words | lower for space in ("", " ")}


def reasoning_features(
    tokenizer: PreTrainedTokenizerBase, codes: Mapping[str, Sequence[Codes]], latents: int
) -> list[dict[str, Any]]:
    """The features whose five highest tokens are all reasoning words, and in how many rollouts each is relevant."""
    words = reasoning_ids(tokenizer)
    found = []
    for hookpoint, rollouts in codes.items():
        table = _token_maxima(rollouts, len(tokenizer), latents)  # [vocabulary, latents]
        relevant = _relevant_counts(rollouts, latents)
        values, ids = table.topk(HIGHEST, dim=0)  # [five, latents]
        for feature in relevant.nonzero()[:, 0].tolist():
            if values[-1, feature] > 0 and words.issuperset(ids[:, feature].tolist()):
                found.append(
                    {
                        "hookpoint": hookpoint,
                        "feature": feature,
                        "tokens": [tokenizer.decode([token]) for token in ids[:, feature].tolist()],
                        "inferences": int(relevant[feature]),
                    }
                )
    return sorted(found, key=lambda feature: -feature["inferences"])


def _token_maxima(rollouts: Sequence[Codes], vocabulary: int, latents: int) -> Tensor:
    """Largest activation by token id and feature over the generated positions, [vocabulary, latents]."""
    table = torch.zeros(vocabulary * latents)
    for code in rollouts:
        index = code.tokens[code.start :, None] * latents + code.features[code.start :]  # [generated, k]
        table.scatter_reduce_(0, index.flatten(), code.activations[code.start :].flatten(), "amax")
    return table.view(vocabulary, latents)


def _relevant_counts(rollouts: Sequence[Codes], latents: int) -> Tensor:
    """In how many rollouts a feature is among the ten with the largest maximum over generated positions, [latents]."""
    counts = torch.zeros(latents, dtype=torch.long)
    for code in rollouts:
        maxima = torch.zeros(latents)
        maxima.scatter_reduce_(
            0, code.features[code.start :].flatten(), code.activations[code.start :].flatten(), "amax"
        )
        counts[maxima.topk(RELEVANT).indices] += 1
    return counts

r"""ReasonScore: features that are active around words of reasoning (Galichin et al. 2025, arXiv 2503.18878).

The formula is that of the paper and of its authors' public code. A position of the scope is positive for word g if it
lies within a match of g that was widened by the window, positive if it is so for any word, else negative; beginnings
and ends of sequences are neither. Zeros count in each mean. For feature i, with μ⁺ and μ⁻ its mean activations over
positive and negative positions, and m_g over those positive for g:

    p_g = m_g / Σ m_g,   H = −Σ p_g ln p_g / ln |G|,   score_i = μ⁺_i / Σ_j μ⁺_j · H_i^α − μ⁻_i / Σ_j μ⁻_j

|G| counts every word of the vocabulary, as in the authors' code, those that occur nowhere included: their m_g is 0, and
no H reaches 1 then. With one word alone H is 1. A score picks features by words: it does not tell a feature of
reasoning from one that detects a word.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kthink_core.errors import BadValue
from kthink_core.evidence import vocabulary as words
from kthink_core.evidence.bootstrap import problems_of
from kthink_core.evidence.matches import (
    WINDOW,
    Traces,
    Window,
    find,
    missing_words,
    positive,
    read_traces,
    word_matches,
)
from kthink_core.queries.checks import check_hookpoint, check_top, in_scope
from kthink_core.queries.fragments import AMONG_FEATURES
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

ALPHA = 0.7
LARGEST_ALPHA = 10.0
INTERVALS = 100
"""So many of the first features have an interval."""
RESAMPLES, _AT_ONCE, LEVEL = 1000, 100, 0.95
FEWEST = 5
"""Inferences with a positive position below which there is no interval."""

COLUMNS = (
    "feature", "mean_positive", "mean_negative", "entropy", "score", "low", "high", "active_positive",
    "positive_positions", "active_negative", "negative_positions", "inferences", "of",
)  # fmt: skip

_Floats = NDArray[np.float64]
_Sides = NDArray[np.bool_]
"""[groups + 2, places] which count for each word; for any word: the positive ones; for none: the negative ones."""


def reason_score(
    reader: Reader,
    hookpoint: str,
    scope: Scope = "generated",
    vocabulary: tuple[str, ...] = words.DEFAULT,
    window: Window = WINDOW,
    alpha: float = ALPHA,
    top: int = 100,
) -> pd.DataFrame:
    """The features active in the scope, the first `top` by score: feature, mean_positive, mean_negative, entropy,
    score, low, high, active_positive, positive_positions, active_negative, negative_positions, inferences, of.

    mean_positive, mean_negative, entropy: μ⁺, μ⁻, H of the module's formula, in float64. positive_positions and
    negative_positions: how many there are; of: in how many inferences one is positive. Null beyond the first
    `INTERVALS` rows: active_positive and active_negative, at how many of these positions the feature is active;
    inferences: in how many it is at a positive one; low, high: the percentile interval of 95 % of the score over 1,000
    resamples of problems, each with all its inferences, null, too, where `of` is less than `FEWEST`. It does not make
    up for a feature's having been picked as one of the largest. By score, then by the smaller feature.

    vocabulary: lines, see `vocabulary.groups`. Matches are sought in whole traces, prompts included; their widened
    positions are then limited to the scope. Raises UnknownName; BadValue for a vocabulary, window or alpha that makes
    no sense, and where no position of the scope is positive, or none negative.
    """
    check_hookpoint(reader, hookpoint)
    check_top(top)
    check_alpha(alpha)
    asked = words.groups(vocabulary)
    traces = read_traces(reader, scope)
    sides = _sides(traces, positive(traces, find(traces, asked), window), scope)
    features, inferences = _sums(reader, hookpoint, scope, traces, sides)
    sizes = sides.sum(axis=1)
    means, totals = features / np.maximum(sizes, 1)[:, None], features.sum(axis=1)
    entropy, score = _score(features.T, totals[-2:], means[:-2].T, alpha)
    active = np.flatnonzero(features[-2] + features[-1])
    first = active[np.lexsort((active, -score[active]))][:top]
    table = pd.DataFrame({"feature": first, "mean_positive": means[-2, first], "mean_negative": means[-1, first]})
    table = table.assign(entropy=entropy[first], score=score[first])
    counts = np.add.reduceat(sides, traces.starts[:-1], axis=1, dtype=np.int64).T
    listed = _listed(reader, hookpoint, scope, traces, sides, first[:INTERVALS])
    within = int((counts[:, -2] > 0).sum())
    low, high = math.nan, math.nan
    if within >= FEWEST:
        problems = problems_of(reader, traces.inferences.tolist())
        low, high = _interval(listed.sums, inferences, counts, problems, alpha)
    columns = ("active_positive", "active_negative", "inferences")
    table = table.join(pd.DataFrame(dict(zip(columns, listed.active, strict=True)), dtype="Int64"))
    table = table.join(pd.DataFrame({"low": low, "high": high}, index=table.index[:INTERVALS], dtype=np.float64))
    table = table.assign(positive_positions=sizes[-2], negative_positions=sizes[-1], of=within)
    return table.loc[:, list(COLUMNS)]


def remarks(
    reader: Reader,
    hookpoint: str,
    scope: Scope = "generated",
    vocabulary: tuple[str, ...] = words.DEFAULT,
    window: Window = WINDOW,
    **_: object,
) -> list[str]:
    """What to know of the answer to the same question: words that it says nothing of."""
    check_hookpoint(reader, hookpoint)
    return missing_words(word_matches(reader, scope, vocabulary, window), scope)


def check_alpha(alpha: float) -> None:
    """Raises BadValue."""
    if not 0 <= alpha <= LARGEST_ALPHA:
        raise BadValue(f"alpha is {alpha}; it must be a number from 0 to {LARGEST_ALPHA:g}")


def _sides(traces: Traces, within: _Sides, scope: Scope) -> _Sides:
    """Which places count for each word, for any and for none. Raises BadValue where there are none to compare."""
    anywhere = within.any(axis=0)
    sides = np.vstack([within, anywhere, traces.counted & ~anywhere])
    if not anywhere.any():
        raise BadValue(f"no word of the vocabulary occurs in scope {scope}, in no spelling; choose others")
    if not sides[-1].any():
        raise BadValue(f"every position in scope {scope} is near a word; choose fewer words, or a less wide window")
    return sides


def _sums(reader: Reader, hookpoint: str, scope: Scope, traces: Traces, sides: _Sides) -> tuple[_Floats, _Floats]:
    """Sums of the activations: [groups + 2, features] on each side; [inferences, 2] over all features, where any word
    and where none is."""
    from scipy.sparse import csr_array  # takes its time, which no other query need wait for

    latents = reader.experiment.saes[hookpoint].num_latents
    features = np.zeros((len(sides), latents))
    inferences = np.zeros((2, len(traces.inferences)))
    sql = f"""
        SELECT inference, position, features, activations FROM token_latents
        WHERE hookpoint = $hookpoint AND {in_scope(scope)}
    """
    with reader.stream(sql, {"hookpoint": hookpoint}) as batches:
        for batch in batches:
            lists = batch["features"]
            ends = np.append(0, np.cumsum(lists.value_lengths().to_numpy()))
            values = batch["activations"].flatten().to_numpy().astype(np.float64)
            activations = csr_array((values, lists.flatten().to_numpy(), ends), shape=(len(ends) - 1, latents))
            places = traces.places(*(batch[name].to_numpy() for name in ("inference", "position")))
            # A product of sparse matrices: grouping tens of millions of rows in SQL takes several times as long.
            features += csr_array(csr_array(sides[:, places], dtype=np.float64) @ activations).toarray()
            weights = sides[-2:, places] * activations.sum(axis=1)
            at = traces.inference_at(places)
            inferences += [np.bincount(at, row, len(traces.inferences)) for row in weights]
    return features, inferences.T


class _Listed(NamedTuple):
    """Of some features."""

    sums: _Floats
    """[inferences, features, groups + 2] of the activations."""
    active: NDArray[np.int64]
    """[3, features] at how many positive, at how many negative positions; in how many inferences at a positive one."""


def _listed(
    reader: Reader, hookpoint: str, scope: Scope, traces: Traces, sides: _Sides, features: NDArray[np.int64]
) -> _Listed:
    shape = (len(traces.inferences), len(features))
    sums, active = np.zeros((len(sides), *shape)), np.zeros((2, *shape), np.int64)
    order = np.argsort(features)
    sql = f"""
        SELECT feature, inference, position, activation FROM latents
        WHERE hookpoint = $hookpoint AND {AMONG_FEATURES} AND {in_scope(scope)}
    """
    with reader.stream(sql, {"hookpoint": hookpoint, "features": features.tolist()}) as batches:
        for batch in batches:
            feature, inference, position, activation = (column.to_numpy() for column in batch.columns)
            places = traces.places(inference, position)
            column = order[np.searchsorted(features, feature, sorter=order)]
            cell = traces.inference_at(places) * len(features) + column
            for side, total in zip(sides, sums, strict=True):
                kept = side[places]
                total += np.bincount(cell[kept], activation[kept], total.size).reshape(shape)
            for side, total in zip(sides[-2:], active, strict=True):
                total += np.bincount(cell[side[places]], minlength=total.size).reshape(shape)
    numbers = [*active.sum(axis=1), (active[0] > 0).sum(axis=0)]
    return _Listed(np.moveaxis(sums, 0, 2), np.array(numbers))


def _score(sums: _Floats, totals: _Floats, means: _Floats, alpha: float) -> tuple[_Floats, _Floats]:
    """[…, features] entropy and score. sums: [..., features, at least 2] the last two those of positive and negative
    positions; totals: [..., 2] of all features; means: [..., features, groups]."""
    whole = means.sum(axis=-1, keepdims=True)
    parts = np.divide(means, whole, out=np.zeros_like(means), where=whole > 0)
    terms = parts * np.log(parts, out=np.zeros_like(parts), where=parts > 0)
    groups = means.shape[-1]
    spread = np.abs(terms.sum(axis=-1))
    entropy = np.minimum(spread / math.log(groups), 1) if groups > 1 else np.ones_like(spread)
    shares = sums[..., -2:] / np.where(totals > 0, totals, 1)[..., None, :]
    return entropy, shares[..., 0] * entropy**alpha - shares[..., 1]


def _interval(
    sums: _Floats, totals: _Floats, counts: NDArray[np.int64], problems: NDArray[np.int64], alpha: float
) -> tuple[_Floats, _Floats]:
    """The percentiles of each feature's score when problems are drawn with replacement, each with all its inferences.

    sums: [inferences, features, groups + 2]; totals: [inferences, 2]; counts: [inferences, groups + 2] positions;
    problems: [inferences].
    """
    names, of = np.unique(problems, return_inverse=True)
    random, number = np.random.default_rng(0), len(names)
    scores = []
    for _ in range(RESAMPLES // _AT_ONCE):
        drawn = random.multinomial(number, np.full(number, 1 / number), _AT_ONCE).astype(np.float64)
        drawn = drawn[:, of]
        found = np.tensordot(drawn, sums, 1)
        means = found[..., :-2] / np.maximum(drawn @ counts, 1)[:, None, :-2]
        scores.append(_score(found, drawn @ totals, means, alpha)[1])
    low, high = np.quantile(np.concatenate(scores), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high

"""What the pages ask of the store, by name: what each question needs, what it takes, and the columns of its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from kthink_core import queries
from kthink_core.errors import BadValue
from kthink_core.outline import COLUMNS as STEPS
from kthink_core.queries import Scope
from kthink_core.queries.branches import COLUMNS as BRANCHES
from kthink_core.queries.contexts import CONTEXTS, POSITIONS
from kthink_core.store.reader import Reader


class Query(NamedTuple):
    """A question by name."""

    ask: Callable[..., pd.DataFrame]
    needs: tuple[str, ...]
    """Options that must be given."""
    takes: tuple[str, ...]
    """Options that may be given; `scope` has a default and may be given to every query."""
    columns: tuple[str, ...]
    """The contract: exactly these are printed, in this order."""
    remarks: Callable[[Reader, pd.DataFrame, dict[str, Any]], Sequence[str]] | None = None
    """What to know before believing an answer, a line each: of it and the options given."""


Ask = Callable[..., pd.DataFrame]


def _told_as(question: Ask) -> Callable[[Ask], Ask]:
    """Asks another question in its words, and has its documentation."""

    def told(asking: Ask) -> Ask:
        asking.__doc__ = question.__doc__
        return asking

    return told


@_told_as(queries.context_tokens)
def _context(reader: Reader, hookpoint: str, feature: int, inference: int, position: int) -> pd.DataFrame:
    return queries.context_tokens(reader, hookpoint, feature, ((inference, position),))


@_told_as(queries.feature_pair)
def _pair(reader: Reader, hookpoint: str, features: Sequence[int], scope: Scope) -> pd.DataFrame:
    if len(features) != 2:
        raise BadValue(f"{len(features)} features: a pair has two, such as 767,42")
    return queries.feature_pair(reader, hookpoint, features[0], features[1], scope)


@_told_as(queries.feature_frequencies)
def frequencies(
    reader: Reader, hookpoint: str, inference: int | None = None, scope: Scope = "generated", top: int = 70
) -> pd.DataFrame:
    return queries.feature_frequencies(reader, inference, hookpoint, scope, top)


@_told_as(queries.activation_histogram)
def _histogram(
    reader: Reader, hookpoint: str, inference: int | None = None, scope: Scope = "generated"
) -> pd.DataFrame:
    return queries.activation_histogram(reader, inference, hookpoint, scope)


@_told_as(queries.span_features)
def _span(reader: Reader, inference: int, hookpoint: str, span: tuple[int, int], top: int = 50) -> pd.DataFrame:
    return queries.span_features(reader, inference, hookpoint, *span, top)


PLAIN_QUERIES: dict[str, Query] = {
    "questions": Query(queries.questions, (), ("top",), ("problem", "question", "reference")),
    "feature-table": Query(
        queries.feature_table, ("hookpoint",), ("scope", "sort", "features", "top"),
        ("feature", "inferences", "of", "active_inferences", "positions", "max_activation", "think_minus_answer",
         "right_minus_wrong"),
    ),
    "feature-search": Query(queries.feature_search, ("hookpoint", "text"), ("scope", "top"), ("feature",)),
    "feature-matrix": Query(
        queries.feature_matrix, ("hookpoint", "features"), ("scope",),
        ("feature", "inference", "positions", "max_activation", "peak_position"),
    ),
    "feature-maxima": Query(
        queries.feature_maxima, ("hookpoint", "features"), ("scope",), ("feature", "max_activation")
    ),
    "feature-shares": Query(queries.feature_shares, ("hookpoint", "features"), ("scope",), ("feature", "share")),
    "feature-percentiles": Query(
        queries.feature_percentiles, ("hookpoint", "features", "maxima"), ("scope",),
        ("feature", "max_activation", "stored_maximum", "active_inferences", "percentile", "excess"),
    ),
    "top-tokens-of": Query(
        queries.top_tokens_of, ("hookpoint", "features"), ("scope", "top"),
        ("feature", "rank", "token_id", "text", "max_activation"),
    ),
    "feature-summary": Query(
        queries.feature_summary, ("hookpoint", "feature"), ("scope",),
        ("hookpoint", "feature", "scope", "positions", "inferences", "relevant_inferences", "of", "max_activation",
         "mean_activation"),
    ),
    "feature-inferences": Query(
        queries.feature_inferences, ("hookpoint", "feature"), ("scope",),
        ("inference", "positions", "max_activation", "rank", "peak_position"),
    ),
    "feature-contrast": Query(
        queries.feature_contrast, ("hookpoint", "feature"), (),
        ("side", "inferences", "positions", "active", "share", "mean_activation", "max_activation"),
    ),
    "feature-histogram": Query(
        queries.feature_histogram, ("hookpoint", "feature"), ("scope",), ("low", "high", "count")
    ),
    "contexts": Query(
        queries.contexts, ("hookpoint", "feature"), ("scope", "top", "pages"), CONTEXTS,
    ),
    "context-positions": Query(
        queries.context_positions, ("hookpoint", "feature"), ("scope", "top", "pages"), POSITIONS
    ),
    "context-tokens": Query(
        _context, ("hookpoint", "feature", "inference", "position"), (),
        ("place", "inference", "position", "token_id", "text", "segment", "activation"),
    ),
    "fires-with": Query(
        queries.fires_with, ("hookpoint", "feature"), ("scope", "top"), ("feature", "positions", "share", "lift")
    ),
    "feature-pair": Query(
        _pair, ("hookpoint", "features"), ("scope",), ("both", "only_first", "only_second", "neither")
    ),
    "neighbours": Query(
        queries.neighbours, ("hookpoint", "feature"), ("top",), ("rank", "feature", "cosine")
    ),
    "promoted-tokens": Query(
        queries.promoted_tokens, ("hookpoint", "feature"), ("top",), ("sign", "rank", "token_id", "text", "logit")
    ),
    "alternatives": Query(
        queries.alternatives, ("inference",), ("position",),
        ("position", "rank", "token_id", "text", "logprob", "written", "entropy"),
    ),
    "branches": Query(queries.branches, (), ("inference", "top"), BRANCHES),
    "token-features": Query(
        queries.token_features, ("inference", "hookpoint"), ("top",), ("position", "feature", "activation")
    ),
    "feature-tracks": Query(
        queries.feature_tracks, ("inference", "hookpoint", "features"), (), ("feature", "position", "activation")
    ),
    "ranked-features": Query(
        queries.ranked_features, ("inference", "hookpoint"), ("scope", "ranking", "top"),
        ("rank", "feature", "positions", "share", "max_activation", "mean_activation", "lift", "peak_position"),
    ),
    "span-features": Query(
        _span, ("inference", "hookpoint", "span"), ("top",),
        ("feature", "positions", "span_size", "share", "mean_activation", "max_activation", "rest_share", "lift",
         "lift_low", "lift_high"),
    ),
    "steps": Query(queries.steps, ("inference", "hookpoint"), ("grain", "top"), STEPS),
    "activation-histogram": Query(
        _histogram, ("hookpoint",), ("inference", "scope"), ("low", "high", "count")
    ),
    "quality-by-inference": Query(
        queries.quality_by_inference, ("hookpoint",), ("scope",), ("inference", "positions", "fvu")
    ),
    "norms": Query(
        queries.norms, (), ("scope", "inference"), ("hookpoint", "mean_norm", "median_norm", "max_norm", "sinks")
    ),
    "first-norms": Query(
        queries.first_norms, ("hookpoint",), (), ("position", "median_norm", "max_norm", "times")
    ),
    "norm-histogram": Query(
        queries.norm_histogram, ("hookpoint",), ("scope",), ("low", "high", "count", "typical")
    ),
    "sinks": Query(
        queries.sinks, ("hookpoint",), ("top",),
        ("inference", "position", "token_id", "text", "segment", "norm", "times", "of"),
    ),
    "steering-checks": Query(queries.steering_checks, ("inference",), (), ("name", "value", "most", "holds")),
}  # fmt: skip
"""`scope` counts positions; an answer's columns are explained where its question is asked, in `queries`."""

"""Every question asked of the store: `(reader, typed arguments) → table`.

The SQL is in sight, values are bound as parameters, orders are total (ties by the smaller id), rows are limited.
Arguments that name nothing raise UnknownName, OutOfRange or BadValue. Positions count from 0 at the first prompt token.
"""

from kthink_core.queries.alternatives import alternatives
from kthink_core.queries.branches import branches
from kthink_core.queries.contexts import (
    context_positions,
    context_tokens,
    contexts,
    feature_histogram,
)
from kthink_core.queries.contrast import feature_contrast, feature_pair, fires_with
from kthink_core.queries.decoder import neighbours, promoted_tokens
from kthink_core.queries.feature import feature_inferences, feature_summary, top_tokens, top_tokens_of
from kthink_core.queries.inference import (
    activation_histogram,
    feature_activations,
    feature_frequencies,
    inferences,
    relevant_features,
    transcript,
)
from kthink_core.queries.norms import first_norms, norm_histogram, norms, sinks
from kthink_core.queries.overview import (
    SORTS,
    Sort,
    feature_counts,
    feature_matrix,
    feature_maxima,
    feature_percentiles,
    feature_search,
    feature_shares,
    feature_table,
)
from kthink_core.queries.positions import (
    RANKINGS,
    Ranking,
    feature_tracks,
    ranked_features,
    span_features,
    token_features,
)
from kthink_core.queries.questions import questions
from kthink_core.queries.reconstruction import quality, quality_by_inference
from kthink_core.queries.steered import interventions, steering_checks
from kthink_core.queries.steps import steps
from kthink_core.store.scopes import SCOPES, Scope

__all__ = [
    "RANKINGS",
    "SCOPES",
    "SORTS",
    "Ranking",
    "Scope",
    "Sort",
    "activation_histogram",
    "alternatives",
    "branches",
    "context_positions",
    "context_tokens",
    "contexts",
    "feature_activations",
    "feature_contrast",
    "feature_counts",
    "feature_frequencies",
    "feature_histogram",
    "feature_inferences",
    "feature_matrix",
    "feature_maxima",
    "feature_pair",
    "feature_percentiles",
    "feature_search",
    "feature_shares",
    "feature_summary",
    "feature_table",
    "feature_tracks",
    "fires_with",
    "first_norms",
    "inferences",
    "interventions",
    "neighbours",
    "norm_histogram",
    "norms",
    "promoted_tokens",
    "quality",
    "quality_by_inference",
    "questions",
    "ranked_features",
    "relevant_features",
    "sinks",
    "span_features",
    "steering_checks",
    "steps",
    "token_features",
    "top_tokens",
    "top_tokens_of",
    "transcript",
]

"""Every question asked of the store: `(reader, typed arguments) → table`.

The SQL is in sight, values are bound as parameters, orders are total (ties by the smaller id), rows are limited.
Arguments that name nothing raise UnknownName, OutOfRange or BadValue. Positions count from 0 at the first prompt token.
"""

from kthink_core.queries.feature import feature_counts, feature_inferences, feature_summary, top_tokens
from kthink_core.queries.inference import (
    activation_histogram,
    feature_activations,
    feature_frequencies,
    inferences,
    relevant_features,
    transcript,
)
from kthink_core.queries.reconstruction import quality
from kthink_core.store.scopes import SCOPES, Scope

__all__ = [
    "SCOPES",
    "Scope",
    "activation_histogram",
    "feature_activations",
    "feature_counts",
    "feature_frequencies",
    "feature_inferences",
    "feature_summary",
    "inferences",
    "quality",
    "relevant_features",
    "top_tokens",
    "transcript",
]

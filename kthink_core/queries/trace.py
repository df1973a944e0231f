"""One inference as whoever draws it asks of it, whether it is stored or still being written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol

import pandas as pd

from kthink_core.outline import Grain
from kthink_core.queries.alternatives import alternatives
from kthink_core.queries.inference import activation_histogram, feature_activations, feature_frequencies, transcript
from kthink_core.queries.positions import Ranking, feature_tracks, ranked_features, span_features, token_features
from kthink_core.queries.steps import steps
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import SEGMENTS_OF, Scope

Arguments = ParamSpec("Arguments")


class Trace(Protocol):
    """Positions count from 0 at the first prompt token, orders are total, and what is nowhere is an empty table."""

    def tokens(self) -> pd.DataFrame:
        """position, token_id, text, segment, logprob (null in the prompt)."""
        ...

    def alternatives(self) -> pd.DataFrame:
        """What else might have been written, as `queries.alternatives` tells it; empty where it is not known."""
        ...

    def tracks(self, hookpoint: str, features: tuple[int, ...]) -> pd.DataFrame:
        """Where some features are active: feature (in the order asked), position, activation."""
        ...

    def strongest(self, hookpoint: str) -> pd.DataFrame:
        """The eight largest activations of every position: position, feature, activation."""
        ...

    def ranked(self, hookpoint: str, scope: Scope, top: int) -> pd.DataFrame:
        """The first features in scope: rank, feature, positions, share, max_activation, mean_activation, peak_position;
        of a stored inference also lift."""
        ...

    def activations(self, hookpoint: str, scope: Scope) -> pd.DataFrame:
        """The 400 largest activations: feature, position, token_id, text, activation."""
        ...

    def frequencies(self, hookpoint: str, scope: Scope) -> pd.DataFrame:
        """The 70 features that are active most often: feature, positions."""
        ...

    def histogram(self, hookpoint: str, scope: Scope) -> pd.DataFrame:
        """All activations in 50 bins: low, high, count."""
        ...

    def span(self, hookpoint: str, first: int, last: int) -> pd.DataFrame:
        """What sets the positions from `first` to `last` apart from the rest, as `queries.span_features` tells it."""
        ...

    def steps(self, hookpoint: str, grain: Grain) -> pd.DataFrame:
        """The outline, as `queries.steps` tells it, with three features a step."""
        ...


class Ask(Protocol):
    """Whoever answers a function of `queries` about one experiment."""

    def __call__(
        self,
        query: Callable[Concatenate[Reader, Arguments], pd.DataFrame],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> pd.DataFrame: ...


@dataclass(frozen=True)
class StoredTrace:
    """A `Trace` of a stored inference."""

    ask: Ask
    inference: int
    ranking: Ranking = "maximum"
    """What `ranked` ranks by."""

    def tokens(self) -> pd.DataFrame:
        return self.ask(transcript, self.inference).drop(columns="activation")

    def alternatives(self) -> pd.DataFrame:
        return self.ask(alternatives, self.inference)

    def tracks(self, hookpoint: str, features: tuple[int, ...]) -> pd.DataFrame:
        return self.ask(feature_tracks, self.inference, hookpoint, features)

    def strongest(self, hookpoint: str) -> pd.DataFrame:
        return self.ask(token_features, self.inference, hookpoint)

    def ranked(self, hookpoint: str, scope: Scope, top: int) -> pd.DataFrame:
        return self.ask(ranked_features, self.inference, hookpoint, scope, self.ranking, top)

    def activations(self, hookpoint: str, scope: Scope) -> pd.DataFrame:
        return self.ask(feature_activations, self.inference, hookpoint, scope)

    def frequencies(self, hookpoint: str, scope: Scope) -> pd.DataFrame:
        return self.ask(feature_frequencies, self.inference, hookpoint, scope)

    def histogram(self, hookpoint: str, scope: Scope) -> pd.DataFrame:
        return self.ask(activation_histogram, self.inference, hookpoint, scope)

    def span(self, hookpoint: str, first: int, last: int) -> pd.DataFrame:
        return self.ask(span_features, self.inference, hookpoint, first, last)

    def steps(self, hookpoint: str, grain: Grain) -> pd.DataFrame:
        return self.ask(steps, self.inference, hookpoint, grain)


def token_activations(trace: Trace, hookpoint: str, scope: Scope, features: tuple[int, ...]) -> pd.DataFrame:
    """Where some features are active in scope, and at which tokens: feature (in the order asked), position, token_id,
    text, activation."""
    tokens = trace.tokens()
    counted = tokens.loc[tokens["segment"].isin(SEGMENTS_OF[scope]), ["position", "token_id", "text"]]
    tracks = trace.tracks(hookpoint, features)
    return tracks.merge(counted, on="position").filter(items=["feature", "position", "token_id", "text", "activation"])


def peaks(trace: Trace, hookpoint: str, scope: Scope, features: tuple[int, ...]) -> dict[int, float]:
    """The largest activation in scope of each of some features that fires there."""
    fired = token_activations(trace, hookpoint, scope, features)
    fired = fired.sort_values("activation")  # the last of a feature stays
    return dict(zip(fired["feature"].tolist(), fired["activation"].tolist(), strict=True))


def larger(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    """The larger of two measures of each feature that either has."""
    return {feature: max(one.get(feature, 0), other.get(feature, 0)) for feature in one.keys() | other.keys()}

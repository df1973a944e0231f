"""What has come of a live inference so far, as the tables that `queries` would answer of a stored one."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pandas as pd

from kthink_core.lift import standing_out
from kthink_core.live.api import Latents, Tokens
from kthink_core.store.scopes import SEGMENTS_OF, Scope

HOVER = 8
"""Features of a token that `strongest` tells."""


class Watch(NamedTuple):
    """A feature that somebody wants to hear of."""

    hookpoint: str
    feature: int
    threshold: float
    """Activations above it are reported."""


class Firing(NamedTuple):
    """One report."""

    watch: Watch
    position: int
    text: str
    activation: float


class _Rows:
    """Latents end to end; numbers are packed, since a table is made of them many times a second."""

    def __init__(self) -> None:
        self.position, self.feature, self.activation = array("q"), array("q"), array("d")

    def append(self, position: int, features: Collection[int], activations: Collection[float]) -> None:
        self.position.extend([position] * len(features))
        self.feature.extend(features)
        self.activation.extend(activations)

    def table(self) -> pd.DataFrame:
        """position, feature, activation, in the order in which they came."""
        columns = {"position": self.position, "feature": self.feature, "activation": self.activation}
        return pd.DataFrame({name: np.array(values) for name, values in columns.items()})


class LiveTrace:
    """Grows with the events of one job. For one thread at a time."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.texts: list[str] = []
        self.segments: list[str] = []
        self.logprobs: list[float | None] = []
        self._latents: dict[str, _Rows] = {}
        self._strongest: dict[str, _Rows] = {}

    def __len__(self) -> int:
        return len(self.token_ids)

    def add(self, tokens: Tokens, watched: tuple[Watch, ...] = ()) -> list[Firing]:
        """Append positions; returns which watched features fire at them, prompt left out."""
        self.token_ids += tokens.token_ids
        self.texts += tokens.texts
        self.segments += tokens.segments
        self.logprobs += tokens.logprobs
        firings: list[Firing] = []
        for hookpoint, latents in tokens.latents.items():
            self._append(hookpoint, tokens.first, latents)
            watches = [watch for watch in watched if watch.hookpoint == hookpoint]
            firings += _firings(tokens, latents, watches)
        return firings

    def _append(self, hookpoint: str, first: int, latents: Latents) -> None:
        rows = self._latents.setdefault(hookpoint, _Rows())
        strongest = self._strongest.setdefault(hookpoint, _Rows())
        for position, (features, activations) in enumerate(
            zip(latents.features, latents.activations, strict=True), start=first
        ):
            rows.append(position, features, activations)
            top = sorted(zip(features, activations, strict=True), key=lambda pair: (-pair[1], pair[0]))[:HOVER]
            strongest.append(position, [feature for feature, _ in top], [activation for _, activation in top])

    def tokens(self) -> pd.DataFrame:
        """position, token_id, text, segment, logprob: as `queries.transcript`."""
        columns = {"token_id": self.token_ids, "text": self.texts, "segment": self.segments}
        table = pd.DataFrame({"position": range(len(self)), **columns})
        return table.assign(logprob=pd.array(self.logprobs, "Float64"))

    def latents(self, hookpoint: str, scope: Scope = "all", features: Collection[int] | None = None) -> pd.DataFrame:
        """position, feature, activation, by feature, then position: as `queries.feature_tracks`; of every feature where
        none are given."""
        table = self._latents.get(hookpoint, _Rows()).table()
        keep = self._counted(scope)[table["position"]]
        if features is not None:
            keep &= np.isin(table["feature"], list(features))
        return table.loc[keep].sort_values(["feature", "position"], ignore_index=True)

    def strongest(self, hookpoint: str) -> pd.DataFrame:
        """position, feature, activation of the `HOVER` strongest of each token: as `queries.token_features`."""
        return self._strongest.get(hookpoint, _Rows()).table()

    def ranked(self, hookpoint: str, scope: Scope = "generated", top: int = 50) -> pd.DataFrame:
        """rank, feature, positions, share, max_activation, mean_activation, peak_position, by maximum."""
        table = self.latents(hookpoint, scope)
        groups = table.groupby("feature")["activation"]
        columns = {"positions": groups.size(), "max_activation": groups.max(), "mean_activation": groups.mean()}
        found = pd.DataFrame(columns).assign(
            peak_position=table["position"].to_numpy()[groups.idxmax()],
            share=lambda found: found["positions"] / max(int(self._counted(scope).sum()), 1),
        )
        found = found.reset_index().sort_values(["max_activation", "feature"], ascending=[False, True]).head(top)
        return found.assign(rank=range(1, len(found) + 1)).reset_index(drop=True)

    def activations(self, hookpoint: str, scope: Scope = "generated", top: int = 400) -> pd.DataFrame:
        """feature, position, token_id, text, activation, the largest first: as `queries.feature_activations`."""
        table = self.latents(hookpoint, scope)
        table = table.sort_values(["activation", "feature", "position"], ascending=[False, True, True]).head(top)
        return self._with_tokens(table)

    def frequencies(self, hookpoint: str, scope: Scope = "generated", top: int = 70) -> pd.DataFrame:
        """feature, positions, the most frequent first: as `queries.feature_frequencies`."""
        counts = self.latents(hookpoint, scope)["feature"].value_counts()
        table = pd.DataFrame({"feature": counts.index, "positions": counts.to_numpy()})
        return table.sort_values(["positions", "feature"], ascending=[False, True], ignore_index=True).head(top)

    def token_activations(self, hookpoint: str, scope: Scope, features: Collection[int]) -> pd.DataFrame:
        """feature, position, token_id, text, activation of some features, by feature, then position."""
        return self._with_tokens(self.latents(hookpoint, scope, features))

    def span(self, hookpoint: str, first: int, last: int, top: int = 50) -> pd.DataFrame:
        """What sets the positions from `first` to `last` apart from the rest: as `queries.span_features`."""
        table = self.latents(hookpoint)
        inside = table["position"].between(first, last)
        size = min(last, len(self) - 1) - first + 1
        groups = table.loc[inside].groupby("feature")["activation"]
        columns = {"positions": groups.size(), "mean_activation": groups.mean(), "max_activation": groups.max()}
        counts = pd.DataFrame(columns)
        rest = table.loc[~inside, "feature"].value_counts().reindex(counts.index, fill_value=0)
        counts = counts.assign(rest=rest, span_size=size, rest_size=len(self) - size)
        return standing_out(counts.reset_index(), top)

    def _with_tokens(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows of positions, in their order, with token_id and text."""
        return table.merge(self.tokens()[["position", "token_id", "text"]], on="position", how="left")

    def _counted(self, scope: Scope) -> np.ndarray:
        """Whether the scope counts a position. [positions]"""
        return np.isin(self.segments, SEGMENTS_OF[scope])


def _firings(tokens: Tokens, latents: Latents, watches: list[Watch]) -> list[Firing]:
    """Reports of the watched features of one hookpoint."""
    thresholds = {watch.feature: watch for watch in watches}
    return [
        Firing(thresholds[feature], tokens.first + index, tokens.texts[index], activation)
        for index, (features, activations) in enumerate(zip(latents.features, latents.activations, strict=True))
        if tokens.segments[index] != "prompt"
        for feature, activation in zip(features, activations, strict=True)
        if feature in thresholds and activation > thresholds[feature].threshold
    ]

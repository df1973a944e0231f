"""What has come of a live inference so far, as the tables that `queries` would answer of a stored one."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from kthink_core.jobs import Tokens
from kthink_core.store.scopes import SEGMENTS_OF, Scope


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


class LiveTrace:
    """Grows with the events of one job. For one thread at a time."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.texts: list[str] = []
        self.segments: list[str] = []
        self.logprobs: list[float | None] = []
        self._latents: dict[str, list[tuple[int, int, float]]] = {}  # (position, feature, activation) by hookpoint

    def __len__(self) -> int:
        return len(self.token_ids)

    def add(self, tokens: Tokens, watched: tuple[Watch, ...] = ()) -> list[Firing]:
        """Append positions; returns which watched features fire at them."""
        self.token_ids += tokens.token_ids
        self.texts += tokens.texts
        self.segments += tokens.segments
        self.logprobs += tokens.logprobs
        firings: list[Firing] = []
        for hookpoint, latents in tokens.latents.items():
            rows = self._latents.setdefault(hookpoint, [])
            wanted = {watch.feature: watch for watch in watched if watch.hookpoint == hookpoint}
            pairs = enumerate(zip(latents.features, latents.activations, strict=True))
            for index, (features, activations) in pairs:
                for feature, activation in zip(features, activations, strict=True):
                    rows.append((tokens.first + index, feature, activation))
                    watch = wanted.get(feature)
                    if watch is not None and activation > watch.threshold and tokens.segments[index] != "prompt":
                        firings.append(Firing(watch, tokens.first + index, tokens.texts[index], activation))
        return firings

    def tokens(self) -> pd.DataFrame:
        """position, token_id, text, segment, logprob: as `queries.transcript`."""
        columns = {"token_id": self.token_ids, "text": self.texts, "segment": self.segments}
        table = pd.DataFrame({"position": range(len(self)), **columns})
        return table.assign(logprob=pd.array(self.logprobs, "Float64"))

    def latents(self, hookpoint: str, scope: Scope = "all") -> pd.DataFrame:
        """position, feature, activation, by feature, then position: as `queries.feature_tracks` of every feature."""
        rows = [row for row in self._latents.get(hookpoint, []) if self.segments[row[0]] in SEGMENTS_OF[scope]]
        table = pd.DataFrame(rows, columns=pd.Index(["position", "feature", "activation"]))
        table = table.astype({"position": "int64", "feature": "int64", "activation": "float64"})
        return table.sort_values(["feature", "position"], ignore_index=True)

    def strongest(self, hookpoint: str, top: int = 8) -> pd.DataFrame:
        """position, feature, activation: as `queries.token_features`."""
        table = self.latents(hookpoint)
        table = table.sort_values(["position", "activation", "feature"], ascending=[True, False, True])
        return table.groupby("position").head(top).reset_index(drop=True)

    def ranked(self, hookpoint: str, scope: Scope = "generated", top: int = 50) -> pd.DataFrame:
        """rank, feature, positions, share, max_activation, mean_activation, peak_position, by maximum."""
        table = self.latents(hookpoint, scope)
        counted = sum(segment in SEGMENTS_OF[scope] for segment in self.segments)
        peaks = table.sort_values(["activation", "position"], ascending=[False, True]).drop_duplicates("feature")
        peaks = peaks.set_index("feature")["position"]
        groups = table.groupby("feature")["activation"]
        columns = {"positions": groups.size(), "max_activation": groups.max(), "mean_activation": groups.mean()}
        found = pd.DataFrame(columns | {"peak_position": peaks}).reset_index(names="feature")
        found = found.assign(share=found["positions"] / max(counted, 1))
        found = found.sort_values(["max_activation", "feature"], ascending=[False, True]).head(top)
        return found.assign(rank=range(1, len(found) + 1)).reset_index(drop=True)

    def activations(self, hookpoint: str, scope: Scope = "generated", top: int = 400) -> pd.DataFrame:
        """feature, position, token_id, text, activation, the largest first: as `queries.feature_activations`."""
        table = self.latents(hookpoint, scope).merge(self.tokens()[["position", "token_id", "text"]], on="position")
        table = table.sort_values(["activation", "feature", "position"], ascending=[False, True, True]).head(top)
        return table.reset_index(drop=True)

    def frequencies(self, hookpoint: str, scope: Scope = "generated", top: int = 70) -> pd.DataFrame:
        """feature, positions, the most frequent first: as `queries.feature_frequencies`."""
        counts = self.latents(hookpoint, scope)["feature"].value_counts()
        table = pd.DataFrame({"feature": counts.index, "positions": counts.to_numpy()})
        return table.sort_values(["positions", "feature"], ascending=[False, True], ignore_index=True).head(top)

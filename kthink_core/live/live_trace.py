"""What has come of a live inference so far: a `Trace`, as a stored inference is."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from itertools import pairwise

import numpy as np
import pandas as pd

from kthink_core import outline
from kthink_core.lift import standing_out
from kthink_core.live.api import Latents, Others, Tokens
from kthink_core.outline import Grain
from kthink_core.prompts import Segment
from kthink_core.queries.histogram import histogram
from kthink_core.store.scopes import SEGMENTS_OF, Scope

HOVER = 8
"""Features of a token that `strongest` tells."""


class _Rows:
    """Latents end to end; numbers are packed, since a table is made of them many times a second."""

    def __init__(self) -> None:
        self.position, self.feature, self.activation = array("i"), array("i"), array("f")

    def append(self, position: int, features: Collection[int], activations: Collection[float]) -> None:
        self.position.extend([position] * len(features))
        self.feature.extend(features)
        self.activation.extend(activations)

    def table(self) -> pd.DataFrame:
        """position, feature, activation, in the order in which they came."""
        columns = {"position": self.position, "feature": self.feature, "activation": self.activation}
        return pd.DataFrame({name: np.array(values) for name, values in columns.items()})

    def by_position(self, length: int) -> Latents:
        """As they came, of the positions before `length`."""
        counts = np.bincount(np.array(self.position, np.int64), minlength=length)
        ends = np.cumsum(counts).tolist()
        pairs = [(end - count, end) for end, count in zip(ends, counts.tolist(), strict=True)]
        features, activations = self.feature.tolist(), self.activation.tolist()
        return Latents(
            features=tuple(tuple(features[start:end]) for start, end in pairs),
            activations=tuple(tuple(activations[start:end]) for start, end in pairs),
        )


class _Others:
    """Alternatives end to end."""

    def __init__(self) -> None:
        self.position, self.rank, self.token_id = array("i"), array("i"), array("i")
        self.logprob, self.entropy = array("f"), array("f")
        self.text: list[str] = []

    def append(self, end: int, others: Others) -> None:
        """Of the positions before `end`."""
        rows = zip(others.token_ids, others.texts, others.logprobs, others.entropies, strict=True)
        for position, (ids, texts, logprobs, entropy) in enumerate(rows, start=end - len(others.entropies)):
            self.position.extend([position] * len(ids))
            self.rank.extend(range(1, len(ids) + 1))
            self.token_id.extend(ids)
            self.logprob.extend(logprobs)
            self.entropy.extend([entropy] * len(ids))
            self.text += texts

    def told(self, length: int) -> Others | None:
        """As they came, of the last of `length` positions; None where there are none, or some in between lack them."""
        starts = [at for at, rank in enumerate(self.rank) if rank == 1]
        places = [self.position[start] for start in starts]
        if not starts or places != list(range(length - len(starts), length)):
            return None
        pairs = list(pairwise([*starts, len(self.rank)]))
        return Others(
            token_ids=tuple(tuple(self.token_id[start:end]) for start, end in pairs),
            texts=tuple(tuple(self.text[start:end]) for start, end in pairs),
            logprobs=tuple(tuple(self.logprob[start:end]) for start, end in pairs),
            entropies=tuple(self.entropy[start] for start in starts),
        )


class LiveTrace:
    """Grows with the events of one job; answers as `queries` does of a stored inference, types included. For one thread
    at a time."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.texts: list[str] = []
        self.segments: list[Segment] = []
        self.logprobs: list[float | None] = []
        self._latents: dict[str, _Rows] = {}
        self._strongest: dict[str, _Rows] = {}
        self._others = _Others()

    def __len__(self) -> int:
        return len(self.token_ids)

    def add(self, tokens: Tokens) -> None:
        """Append positions."""
        self.token_ids += tokens.token_ids
        self.texts += tokens.texts
        self.segments += tokens.segments
        self.logprobs += tokens.logprobs
        for hookpoint, latents in tokens.latents.items():
            self._append(hookpoint, tokens.first, latents)
        if tokens.others:
            self._others.append(tokens.first + len(tokens.token_ids), tokens.others)

    def whole(self) -> Tokens:
        """All that has come, as if it had come at once: `add` makes the same trace of it."""
        latents = {hookpoint: rows.by_position(len(self)) for hookpoint, rows in self._latents.items()}
        return Tokens(
            first=0,
            token_ids=tuple(self.token_ids),
            texts=tuple(self.texts),
            segments=tuple(self.segments),
            logprobs=tuple(self.logprobs),
            latents=latents,
            others=self._others.told(len(self)),
        )

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
        return pd.DataFrame(
            {
                "position": np.arange(len(self), dtype=np.int32),
                "token_id": np.array(self.token_ids, np.int32),
                "text": pd.Series(self.texts, dtype="str"),
                "segment": pd.Series(self.segments, dtype="str"),
                "logprob": np.array(self.logprobs, np.float32),  # None becomes NaN
            }
        )

    def alternatives(self) -> pd.DataFrame:
        """position, rank, token_id, text, logprob, written, entropy: as `queries.alternatives`."""
        others = self._others
        position, token_id = np.array(others.position), np.array(others.token_id)
        return pd.DataFrame(
            {
                "position": position,
                "rank": np.array(others.rank),
                "token_id": token_id,
                "text": pd.Series(others.text, dtype="str"),
                "logprob": np.array(others.logprob),
                "written": np.array(self.token_ids, np.int32)[position] == token_id,
                "entropy": np.array(others.entropy),
            }
        )

    def latents(self, hookpoint: str, scope: Scope = "all") -> pd.DataFrame:
        """position, feature, activation of all features in scope, by feature, then position."""
        table = self._latents.get(hookpoint, _Rows()).table()
        return table.loc[self._counted(scope)[table["position"]]].sort_values(
            ["feature", "position"], ignore_index=True
        )

    def tracks(self, hookpoint: str, features: tuple[int, ...]) -> pd.DataFrame:
        """feature (in the order asked), position, activation: as `queries.feature_tracks`."""
        place = {feature: at for at, feature in enumerate(dict.fromkeys(features))}
        table = self._latents.get(hookpoint, _Rows()).table()
        table = table.loc[np.isin(table["feature"], list(place))]
        table = table.assign(place=table["feature"].map(place)).sort_values(["place", "position"], ignore_index=True)
        return table[["feature", "position", "activation"]]

    def strongest(self, hookpoint: str) -> pd.DataFrame:
        """position, feature, activation of the `HOVER` strongest of each token: as `queries.token_features`."""
        return self._strongest.get(hookpoint, _Rows()).table()

    def ranked(self, hookpoint: str, scope: Scope = "generated", top: int = 100) -> pd.DataFrame:
        """rank, feature, positions, share, max_activation, mean_activation, peak_position, by maximum: as
        `queries.ranked_features`, but for the lift, which needs an experiment."""
        table = self.latents(hookpoint, scope)
        groups = table.groupby("feature")["activation"]
        measures = {"positions": groups.size(), "max_activation": groups.max(), "mean_activation": _means(table)}
        found = pd.DataFrame(measures).assign(
            peak_position=table["position"].to_numpy()[groups.idxmax()],
            share=lambda found: found["positions"] / max(int(self._counted(scope).sum()), 1),
        )
        found = found.reset_index().sort_values(["max_activation", "feature"], ascending=[False, True]).head(top)
        found = found.assign(rank=np.arange(1, len(found) + 1)).reset_index(drop=True)
        columns = ["rank", "feature", "positions", "share", "max_activation", "mean_activation", "peak_position"]
        return found.filter(items=columns)

    def activations(self, hookpoint: str, scope: Scope = "generated", top: int = 400) -> pd.DataFrame:
        """feature, position, token_id, text, activation, the largest first: as `queries.feature_activations`."""
        table = self.latents(hookpoint, scope)
        table = table.sort_values(["activation", "feature", "position"], ascending=[False, True, True]).head(top)
        table = table.merge(self.tokens()[["position", "token_id", "text"]], on="position", how="left")
        return table.filter(items=["feature", "position", "token_id", "text", "activation"])

    def frequencies(self, hookpoint: str, scope: Scope = "generated", top: int = 70) -> pd.DataFrame:
        """feature, positions, the most frequent first: as `queries.feature_frequencies`."""
        counts = self.latents(hookpoint, scope)["feature"].value_counts()
        table = pd.DataFrame({"feature": counts.index, "positions": counts.to_numpy()})
        return table.sort_values(["positions", "feature"], ascending=[False, True], ignore_index=True).head(top)

    def histogram(self, hookpoint: str, scope: Scope = "generated") -> pd.DataFrame:
        """low, high, count: as `queries.activation_histogram`."""
        return histogram(self.latents(hookpoint, scope), 50)

    def span(self, hookpoint: str, first: int, last: int, top: int = 50) -> pd.DataFrame:
        """What sets the positions from `first` to `last` apart from the rest: as `queries.span_features`."""
        table = self.latents(hookpoint)
        inside = table["position"].between(first, last)
        size = min(last, len(self) - 1) - first + 1
        groups = table.loc[inside].groupby("feature")["activation"]
        columns = {
            "positions": groups.size(),
            "mean_activation": _means(table.loc[inside]),
            "max_activation": groups.max(),
        }
        counts = pd.DataFrame(columns)
        rest = table.loc[~inside, "feature"].value_counts().reindex(counts.index, fill_value=0)
        counts = counts.assign(rest=rest, span_size=size, rest_size=len(self) - size)
        return standing_out(counts.reset_index(), top)

    def full(self, hookpoint: str, most: int) -> int:
        """Positions at which as many features fire as that, or more."""
        rows = self._latents.get(hookpoint, _Rows())
        return int((np.bincount(np.array(rows.position, np.int64)) >= most).sum())

    def steps(self, hookpoint: str, grain: Grain, top: int = 3) -> pd.DataFrame:
        """The outline of what has come: as `queries.steps`."""
        return outline.steps(self.tokens(), self.latents(hookpoint), grain, top)

    def _counted(self, scope: Scope) -> np.ndarray:
        """Whether the scope counts a position. [positions]"""
        return np.isin(self.segments, SEGMENTS_OF[scope])


def _means(table: pd.DataFrame) -> pd.Series:
    """The mean activation of each feature, by feature, in float64."""
    return pd.Series(table.astype({"activation": np.float64}).groupby("feature")["activation"].mean())

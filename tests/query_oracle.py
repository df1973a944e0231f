"""What queries should answer, worked out in pandas from the raw records, with nothing of the store in between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from statistics import NormalDist

import numpy as np
import pandas as pd

from kthink_core.queries import Ranking, Scope, Sort
from kthink_core.records import Inference
from kthink_core.sentence_splitting import sentences


def risk_ratio(p: int, n: int, r: int, m: int) -> tuple[float, float, float]:
    """p of n against r of m with half a case in each cell of the two by two table, and its interval of 95 %."""
    cells = [p + 0.5, n - p + 0.5, r + 0.5, m - r + 0.5]
    ratio = Fraction(2 * p + 1, 2 * (n + 1)) / Fraction(2 * r + 1, 2 * (m + 1))
    deviation = math.sqrt(1 / cells[0] - 1 / (cells[0] + cells[1]) + 1 / cells[2] - 1 / (cells[2] + cells[3]))
    ends = [math.exp(math.log(ratio) + sign * NormalDist().inv_cdf(0.975) * deviation) for sign in (-1, 1)]
    return float(ratio), ends[0], ends[1]


class Oracle:
    """Tables of all positions, and of all positive activations, of some inferences. Each answer is worked out once."""

    def __init__(self, inferences: Sequence[Inference]) -> None:
        self.inferences = len(inferences)
        self.positions = pd.concat([_positions(inference) for inference in inferences], ignore_index=True)
        self.active = pd.concat([_active(inference) for inference in inferences], ignore_index=True)
        self._whole_table, self._first_tokens = cache(self._find_whole_table), cache(self._find_first_tokens)
        self._relevant, self._difference = cache(self._find_relevant), cache(self._find_difference)
        for name in vars(Oracle):
            if not name.startswith("_"):
                setattr(self, name, cache(getattr(self, name)))

    def size(self, scope: Scope, inference: int | None = None) -> int:
        found = _scoped(self.positions, scope)
        return len(found) if inference is None else int((found["inference"] == inference).sum())

    def at(self, hookpoint: str, scope: Scope = "all", **where: int) -> pd.DataFrame:
        """The activations in a scope with the given feature, inference, …"""
        found = _scoped(self.active[self.active["hookpoint"] == hookpoint], scope)
        for name, value in where.items():
            found = found[found[name] == value]
        return found

    def token_features(self, inference: int, hookpoint: str, top: int) -> pd.DataFrame:
        found = self.at(hookpoint, inference=inference)
        found = found.sort_values(["position", "activation", "feature"], ascending=[True, False, True])
        return found.groupby("position").head(top)[["position", "feature", "activation"]]

    def feature_tracks(self, inference: int, hookpoint: str, features: Sequence[int]) -> pd.DataFrame:
        found = [self.at(hookpoint, inference=inference, feature=feature) for feature in dict.fromkeys(features)]
        return pd.concat(found)[["feature", "position", "activation"]]

    def feature_maxima(self, hookpoint: str, features: Sequence[int], scope: Scope) -> pd.DataFrame:
        largest = self.at(hookpoint, scope).groupby("feature")["activation"].max()
        asked = list(dict.fromkeys(features))
        return pd.DataFrame({"feature": asked, "max_activation": [largest.get(feature, 0) for feature in asked]})

    def ranked_features(self, inference: int, hookpoint: str, scope: Scope, ranking: Ranking, top: int) -> pd.DataFrame:
        everywhere = self.at(hookpoint, scope)["feature"].value_counts()
        here, whole, rows = self.size(scope, inference), self.size(scope), []
        for feature, own in self.at(hookpoint, scope, inference=inference).groupby("feature"):
            lift = Fraction(len(own) * whole, here * int(everywhere[feature]))
            peak = own.sort_values(["activation", "position"], ascending=[False, True])["position"].iloc[0]
            values = own["activation"].astype(float)
            rows.append((feature, len(own), len(own) / here, values.max(), values.mean(), float(lift), peak))
        names = ["feature", "positions", "share", "max_activation", "mean_activation", "lift", "peak_position"]
        key = {"maximum": names[3], "mean": names[4], "frequency": names[1], "lift": names[5]}[ranking]
        found = pd.DataFrame(rows, columns=names)
        found = found.sort_values([key, "max_activation", "feature"], ascending=[False, False, True])
        found.insert(0, "rank", range(1, len(found) + 1))
        return found.head(top)

    def span_features(self, inference: int, hookpoint: str, first: int, last: int, top: int) -> pd.DataFrame:
        trace, rows = range(self.size("all", inference)), []
        n = sum(first <= position <= last for position in trace)
        m = len(trace) - n
        for feature, own in self.at(hookpoint, inference=inference).groupby("feature"):
            inside = own["activation"][(own["position"] >= first) & (own["position"] <= last)].astype(float)
            p, r = len(inside), len(own) - len(inside)
            if p > 1 or (p == 1 and n < 4):
                rows.append(
                    (feature, p, n, p / n, inside.mean(), inside.max(), r / m if m else np.nan, *risk_ratio(p, n, r, m))
                )
        names = ["feature", "positions", "span_size", "share", "mean_activation", "max_activation", "rest_share"]
        found = pd.DataFrame(rows, columns=[*names, "lift", "lift_low", "lift_high"])
        order = found.assign(lift_low=found["lift_low"].round(9))
        order = order.sort_values(["lift_low", "max_activation", "feature"], ascending=[False, False, True])
        return found.loc[order.index].head(top)

    def contexts(
        self, hookpoint: str, feature: int, scope: Scope, top: int, sampled: int, reach: int, pages: int = 1
    ) -> pd.DataFrame:
        own = self.at(hookpoint, scope, feature=feature)
        rows = list(own[["inference", "position", "activation"]].itertuples(index=False, name=None))
        columns = self.positions.set_index(["inference", "position"])[["token_id", "text"]]
        tokens = dict(zip(columns.index, columns.itertuples(index=False, name=None), strict=True))
        largest = max((float(value) for *_, value in rows), default=0)
        peaks, facts = [], {}
        for inference, position, value in sorted(rows, key=lambda row: (-row[2], row[0], row[1])):
            near = [(-v, p) for i, p, v in rows if i == inference and abs(p - position) <= 2 * reach]
            if min(near) == (-value, position):
                peaks.append((inference, position))
                times = sum(i == inference and abs(p - position) <= reach for i, p, _ in rows)
                around = [at for at in range(position - reach, position + reach + 1) if (inference, at) in tokens]
                ids, texts = zip(*(tokens[inference, at] for at in around), strict=True)
                (own_one,) = [each for each in sentences(texts, around[0]) if each.first <= position <= each.last]
                said = "".join(texts[own_one.first - around[0] : own_one.last + 1 - around[0]])
                facts[inference, position] = (value, times, list(ids), said.split())
        weight = dict.fromkeys(peaks, 0)
        for inference, position, _ in rows:
            near = [at for other, at in peaks if other == inference]
            weight[inference, min(near, key=lambda at: (abs(at - position), at))] += 1

        def same(one: tuple[int, int], other: tuple[int, int]) -> bool:
            (*_, ids, said), (*_, others, their) = facts[one], facts[other]
            shared = sum(min(ids.count(token), others.count(token)) for token in set(ids))
            return shared >= 0.8 * max(len(ids), len(others)) or (said == their and bool(said))

        queues = {"highest": (peaks, 10 * top, top)}
        for band in (4, 3, 2, 1):
            low, high = (band - 1) / 4 * largest, band / 4 * largest
            inside = [place for place in peaks if low < float(facts[place][0]) <= high]
            order = sorted(inside, key=lambda place: (_mixed(*place), place))
            queues[str(band)] = order, 10 * sampled + top, sampled
        taken: dict[tuple[int, int], tuple[int, str]] = {}
        seen: set[tuple[int, int]] = set()
        for page in range(1, pages + 1):
            for band, (offered, size, most) in queues.items():
                for place in offered[: size * page]:
                    if list(taken.values()).count((page, band)) == most:
                        break
                    if place not in seen and not any(same(place, other) for other in taken):
                        taken[place] = page, band
                    seen.add(place)
        groups: dict[tuple[int, int], list[tuple[int, int]]] = {place: [place] for place in taken}
        for place in {place for offered, size, _ in queues.values() for place in offered[: size * pages]} - set(taken):
            like = [other for other in taken if same(place, other)]
            if like:
                groups[like[0]].append(place)
        found = [
            (band, *place, *facts[place][:2], len(groups[place]) - 1, sum(map(weight.get, groups[place])) - 1, page)
            for place, (page, band) in taken.items()
        ]
        found.sort(key=lambda row: (row[-1], list(queues).index(row[0]), -row[3], row[1], row[2]))
        names = ["band", "inference", "position", "activation", "times", "alike", "more_positions", "page"]
        return pd.DataFrame(found, columns=names)

    def context_tokens(
        self, hookpoint: str, feature: int, places: Sequence[tuple[int, int]], before: int, after: int
    ) -> pd.DataFrame:
        own = self.at(hookpoint, feature=feature)[["inference", "position", "activation"]]
        columns = ["place", "inference", "position", "token_id", "text", "segment", "activation"]
        parts = [self.positions.head(0).assign(place=[], activation=[])]
        for place, (inference, middle) in enumerate(places):
            around = self.positions[
                (self.positions["inference"] == inference)
                & self.positions["position"].between(middle - before, middle + after)
            ]
            parts.append(around.merge(own, how="left", on=["inference", "position"]).assign(place=place))
        return pd.concat([part for part in parts if len(part)] or parts)[columns]

    def feature_histogram(self, hookpoint: str, feature: int, scope: Scope, bins: int) -> pd.DataFrame:
        values = self.at(hookpoint, scope, feature=feature)["activation"].to_numpy(float)
        counts, edges = np.histogram(values, bins) if len(values) else (np.empty(0, int), np.empty(1))
        return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})

    def feature_contrast(self, hookpoint: str, feature: int) -> pd.DataFrame:
        own, rows = self.at(hookpoint, feature=feature), []
        for side in ("think", "answer", "right", "wrong"):
            positions, active = (_side(table, side) for table in (self.positions, own))
            values = active["activation"].astype(float)
            share = len(active) / len(positions) if len(positions) else np.nan
            mean, largest = (values.mean(), values.max()) if len(values) else (0, 0)
            rows.append((side, positions["inference"].nunique(), len(positions), len(active), share, mean, largest))
        names = ["side", "inferences", "positions", "active", "share", "mean_activation", "max_activation"]
        return pd.DataFrame(rows, columns=names)

    def fires_with(self, hookpoint: str, feature: int, scope: Scope, top: int) -> pd.DataFrame:
        found, place = self.at(hookpoint, scope), ["inference", "position"]
        own = found[found["feature"] == feature]
        together = found.merge(own[place], on=place)
        everywhere, rows = found["feature"].value_counts(), []
        for other, both in together["feature"].value_counts().items():
            if other != feature:
                lift = Fraction(int(both) * self.size(scope), len(own) * int(everywhere[other]))
                rows.append((other, both, both / len(own), float(lift)))
        table = pd.DataFrame(rows, columns=["feature", "positions", "share", "lift"])
        return table.sort_values(["positions", "lift", "feature"], ascending=[False, False, True]).head(top)

    def feature_pair(self, hookpoint: str, feature: int, other: int, scope: Scope) -> pd.DataFrame:
        one, two = (
            {*self.at(hookpoint, scope, feature=each)[["inference", "position"]].itertuples(index=False, name=None)}
            for each in (feature, other)
        )
        neither = self.size(scope) - len(one | two)
        names = ["both", "only_first", "only_second", "neither"]
        return pd.DataFrame([(len(one & two), len(one - two), len(two - one), neither)], columns=names)

    def feature_table(
        self, hookpoint: str, scope: Scope, sort: Sort, relevant: int, top: int, features: Sequence[int] | None
    ) -> pd.DataFrame:
        table = self._whole_table(hookpoint, scope, relevant)
        if features is not None:
            table = table[table["feature"].isin(features)]
        column, ascending = {
            "inferences": ("inferences", False),
            "maximum": ("max_activation", False),
            "think": ("think_minus_answer", False),
            "answer": ("think_minus_answer", True),
            "right": ("right_minus_wrong", False),
            "wrong": ("right_minus_wrong", True),
        }[sort]
        table = table.sort_values(["max_activation", "feature"], ascending=[False, True])
        return table.sort_values(column, ascending=ascending, na_position="last", kind="stable").head(top)

    def _find_whole_table(self, hookpoint: str, scope: Scope, relevant: int) -> pd.DataFrame:
        number = self._relevant(hookpoint, scope, relevant)
        rows = [
            (
                feature, number.get(feature, 0), self.inferences, own["inference"].nunique(), len(own),
                own["activation"].max(), self._difference(hookpoint, feature, "think", "answer"),
                self._difference(hookpoint, feature, "right", "wrong"),
            )
            for feature, own in self.at(hookpoint, scope).groupby("feature")
        ]  # fmt: skip
        names = ["feature", "inferences", "of", "active_inferences", "positions", "max_activation"]
        return pd.DataFrame(rows, columns=[*names, "think_minus_answer", "right_minus_wrong"])

    def feature_matrix(self, hookpoint: str, scope: Scope, features: Sequence[int]) -> pd.DataFrame:
        rows = [
            (feature, inference, len(own), own["activation"].max(), own["position"][own["activation"].idxmax()])
            for feature in dict.fromkeys(features)
            for inference, own in self.at(hookpoint, scope, feature=feature).groupby("inference")
        ]
        names = ["feature", "inference", "positions", "max_activation", "peak_position"]
        return pd.DataFrame(rows, columns=names)

    def top_tokens_of(self, hookpoint: str, features: Sequence[int], scope: Scope, top: int) -> pd.DataFrame:
        found, parts = self._first_tokens(hookpoint, scope), []
        for feature in dict.fromkeys(features):
            own = found[found["feature"] == feature].head(top)
            parts.append(own.assign(rank=range(1, len(own) + 1)))
        names = {"activation": "max_activation"}
        return pd.concat(parts).rename(columns=names)[["feature", "rank", "token_id", "text", "max_activation"]]

    def feature_search(self, hookpoint: str, scope: Scope, text: str, top: int) -> pd.DataFrame:
        found = self._first_tokens(hookpoint, scope)
        found = found[np.array([text.lower() in token.lower() for token in found["text"]], bool)]
        largest = found.groupby("feature")["activation"].max().reset_index()
        return largest.sort_values(["activation", "feature"], ascending=[False, True])[["feature"]].head(top)

    def _find_first_tokens(self, hookpoint: str, scope: Scope) -> pd.DataFrame:
        """The first five tokens of each feature, the strongest first."""
        found = self.at(hookpoint, scope).groupby(["feature", "token_id", "text"])["activation"].max().reset_index()
        return found.sort_values(["activation", "token_id"], ascending=[False, True]).groupby("feature").head(5)

    def _find_relevant(self, hookpoint: str, scope: Scope, relevant: int) -> pd.Series:
        """In how many inferences each feature is among the first."""
        maxima = self.at(hookpoint, scope).groupby(["inference", "feature"])["activation"].max().reset_index()
        maxima = maxima.sort_values(["activation", "feature"], ascending=[False, True])
        return maxima.groupby("inference").head(relevant)["feature"].value_counts()

    def _find_difference(self, hookpoint: str, feature: int, one: str, other: str) -> float:
        own = self.at(hookpoint, feature=feature)
        sizes = [len(_side(self.positions, side)) for side in (one, other)]
        if not all(sizes):
            return np.nan
        first, second = (Fraction(len(_side(own, side)), size) for side, size in zip((one, other), sizes, strict=True))
        return float(first - second)


def verdict(inference: Inference) -> str:
    """How an inference came out: graded only if it ended by itself."""
    if inference.finish_reason != "stop":
        return "cut off"
    return {True: "right", False: "wrong", None: "ungraded"}[inference.correct]


def _positions(inference: Inference) -> pd.DataFrame:
    names = {"token_id": inference.token_ids, "text": inference.texts, "segment": inference.segments}
    table = pd.DataFrame({"inference": inference.inference, "position": range(len(inference.texts))} | names)
    return table.assign(verdict=verdict(inference))


def _active(inference: Inference) -> pd.DataFrame:
    parts = []
    for hookpoint, encoding in inference.encodings.items():
        at, kept = np.nonzero(encoding.activations > 0)
        columns = {"feature": encoding.features[at, kept], "activation": encoding.activations[at, kept]}
        parts.append(_positions(inference).iloc[at].assign(hookpoint=hookpoint, **columns))
    return pd.concat(parts)


def _scoped(table: pd.DataFrame, scope: Scope) -> pd.DataFrame:
    if scope == "all":
        return table
    return table[table["segment"] != "prompt"] if scope == "generated" else table[table["segment"] == scope]


def _side(table: pd.DataFrame, side: str) -> pd.DataFrame:
    if side in ("think", "answer"):
        return table[table["segment"] == side]
    return table[(table["segment"] != "prompt") & (table["verdict"] == side)]


def _mixed(inference: int, position: int) -> int:
    """The order in which places are sampled."""
    mixed = (inference * 1000003 + position) % 2**32 * 2654435761 % 2**32
    return (mixed ^ mixed >> 16) * 2246822519 % 2**32

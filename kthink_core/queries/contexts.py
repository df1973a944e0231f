"""Where a feature is active: its strongest places, a fair sample of the others, and the tokens around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from kthink_core.errors import BadValue
from kthink_core.queries.checks import check_feature, check_inference, check_top
from kthink_core.queries.fragments import activations_of_feature
from kthink_core.queries.histogram import histogram
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

HIGHEST = "highest"
SAME = 0.8
"""Contexts of which this share of tokens is the same are shown once."""
SPARE = 10
"""So many times as many are looked at as are shown, since some are nearly the same."""

# A fixed order that has nothing to do with the text: two rounds of multiply and fold over 32 bits (the constants are
# those of Knuth's multiplicative hashing and of xxHash). DuckDB's own hash may change with its version.
_MODULUS = "4294967296::UBIGINT"
_KEY = f"(inference::UBIGINT * 1000003::UBIGINT + position::UBIGINT) % {_MODULUS} * 2654435761::UBIGINT % {_MODULUS}"
_HASH = f"xor(mixed, mixed >> 16::UBIGINT) * 2246822519::UBIGINT % {_MODULUS}"


def contexts(
    reader: Reader,
    hookpoint: str,
    feature: int,
    scope: Scope = "generated",
    top: int = 10,
    sampled: int = 4,
    reach: int = 12,
) -> pd.DataFrame:
    """Contexts in which a feature is active, each by its strongest place: band, inference, position, activation, times,
    alike.

    A context is a place with `reach` tokens on either side. Of those of one inference that overlap, only the strongest
    counts (the earlier one where they are equal): no place within 2 · reach positions is stronger. times: at how many
    positions of the context the feature is active.

    Band "highest": the `top` strongest contexts. Bands "4", "3", "2", "1": up to `sampled` others of each quarter of
    (0, maximum], "4" the highest: band b holds activations in ((b − 1)/4 · maximum, b/4 · maximum]. Which ones is
    settled by a fixed hash of inference and position, so that a sample is fair and always the same. A context that is
    nearly one that was taken before it (`SAME` of the tokens are the same, in whatever order) is left out; alike: how
    many were left out for this one, of the `SPARE` times as many that are looked at as are shown. Within a band by
    activation, largest first, then inference and position.
    """
    check_feature(reader, hookpoint, feature)
    check_top(top)
    check_top(sampled, "sampled")
    check_top(reach, "reach")
    sql = f"""
        WITH own AS ({activations_of_feature(scope)}), around AS (
            SELECT inference, position, activation,
                max(activation) OVER (around RANGE BETWEEN 2 * $reach PRECEDING AND 1 PRECEDING) AS before,
                max(activation) OVER (around RANGE BETWEEN 1 FOLLOWING AND 2 * $reach FOLLOWING) AS after,
                count(*) OVER (around RANGE BETWEEN $reach PRECEDING AND $reach FOLLOWING) AS times,
                max(activation) OVER ()::DOUBLE AS largest
            FROM own WINDOW around AS (PARTITION BY inference ORDER BY position)
        ), hashed AS (
            SELECT inference, position, activation, times, {_HASH} AS hash,
                1 + (4 * activation::DOUBLE > largest)::INTEGER + (4 * activation::DOUBLE > 2 * largest)::INTEGER
                    + (4 * activation::DOUBLE > 3 * largest)::INTEGER AS quarter
            FROM (SELECT *, {_KEY} AS mixed FROM around)
            WHERE activation > coalesce(before, 0) AND activation >= coalesce(after, 0)
        ), numbered AS (
            SELECT *, row_number() OVER (ORDER BY activation DESC, inference, position) AS strongest,
                row_number() OVER (PARTITION BY quarter ORDER BY hash, inference, position) AS drawn
            FROM hashed
        )
        SELECT quarter, strongest, drawn, inference, position, activation, times FROM numbered
        WHERE strongest <= $highest OR drawn <= $others ORDER BY strongest
    """
    looked_at = {"highest": SPARE * top, "others": SPARE * sampled + top}
    found = reader.query(sql, {"hookpoint": hookpoint, "feature": feature, "reach": reach} | looked_at)
    places = list(zip(found["inference"].tolist(), found["position"].tolist(), strict=True))
    words = _words(context_tokens(reader, hookpoint, feature, tuple(places), reach, reach), len(places))
    taken = _Taken(words)
    taken.take(HIGHEST, found.head(looked_at["highest"]).index, top)
    by_hash = found.loc[found["drawn"] <= looked_at["others"], :].sort_values("drawn")
    for quarter in (4, 3, 2, 1):
        taken.take(str(quarter), by_hash.index[by_hash["quarter"] == quarter], sampled)
    taken.count(found.index)
    shown = found.loc[list(taken.bands), ["inference", "position", "activation", "times"]]
    shown.insert(0, "band", list(taken.bands.values()))
    shown.insert(5, "alike", list(taken.alike.values()))
    bands = [HIGHEST, "4", "3", "2", "1"]
    order = sorted(shown.index, key=lambda context: (bands.index(taken.bands[context]), context))  # the strongest first
    return shown.loc[order, :].reset_index(drop=True)


class _Taken:
    """The contexts that are shown, by their number among those that are looked at."""

    def __init__(self, words: Sequence[Counter[int]]) -> None:
        """`words`: how often each token is in each context."""
        self.words = words
        self.bands: dict[int, str] = {}
        self.alike: dict[int, int] = {}
        self._seen: set[int] = set()

    def take(self, band: str, offered: Iterable[int], most: int) -> None:
        """Take up to so many of them, in order, none nearly as one before it."""
        count = 0
        for context in offered:
            if count == most:
                return
            if context in self._seen:
                continue
            self._seen.add(context)
            same = self._same(context)
            if same is None:
                self.bands[context], self.alike[context] = band, 0
                count += 1
            else:
                self.alike[same] += 1

    def count(self, offered: Iterable[int]) -> None:
        """Count those of the rest that are nearly as one that was taken."""
        for context in offered:
            if context not in self._seen and (same := self._same(context)) is not None:
                self.alike[same] += 1

    def _same(self, context: int) -> int | None:
        """The first of those taken that it is nearly as."""
        return next((other for other in self.bands if _nearly(self.words[context], self.words[other])), None)


def _words(tokens: pd.DataFrame, places: int) -> list[Counter[int]]:
    """How often each token is around each place."""
    words: list[Counter[int]] = [Counter() for _ in range(places)]
    for place, token in zip(tokens["place"].tolist(), tokens["token_id"].tolist(), strict=True):
        words[place][token] += 1
    return words


def _nearly(one: Counter[int], other: Counter[int]) -> bool:
    return (one & other).total() >= SAME * max(one.total(), other.total())


def context_tokens(
    reader: Reader,
    hookpoint: str,
    feature: int,
    places: tuple[tuple[int, int], ...],
    before: int = 12,
    after: int = 12,
) -> pd.DataFrame:
    """The tokens around some places, each an (inference, position): place (its index in `places`), inference, position,
    token_id, text, segment, activation of the feature (null where it is not active).

    By place, then position: from `before` positions before the place to `after` after it, as far as the trace goes.
    """
    check_feature(reader, hookpoint, feature)
    for inference in {inference for inference, _ in places}:
        check_inference(reader, inference)
    for name, reach in {"before": before, "after": after}.items():
        if reach < 0:
            raise BadValue(f"{name} is {reach}; it must be 0 or more")
    sql = """
        WITH asked AS (
            SELECT unnest($inferences::INTEGER[]) AS inference, unnest($positions::INTEGER[]) AS middle,
                unnest(range(len($positions::INTEGER[]))) AS place
        ), around AS (
            SELECT place, inference, position, token_id, text, segment FROM tokens JOIN asked USING (inference)
            WHERE position BETWEEN middle - $before AND middle + $after
        ), own AS (
            SELECT inference, position, activation FROM latents
            WHERE hookpoint = $hookpoint AND feature = $feature AND list_contains($inferences::INTEGER[], inference)
        )
        SELECT place, inference, position, token_id, text, segment::VARCHAR AS segment, activation
        FROM around LEFT JOIN own USING (inference, position)
        ORDER BY place, position
    """
    parameters = {
        "hookpoint": hookpoint,
        "feature": feature,
        "inferences": [int(inference) for inference, _ in places],
        "positions": [int(position) for _, position in places],
        "before": before,
        "after": after,
    }
    return reader.query(sql, parameters)


def feature_histogram(
    reader: Reader, hookpoint: str, feature: int, scope: Scope = "generated", bins: int = 50
) -> pd.DataFrame:
    """All activations of a feature in `bins` bins of equal width, as `numpy.histogram` makes them of float64:
    low, high (in the last bin only it belongs to it), count. Empty where it never is active."""
    check_feature(reader, hookpoint, feature)
    check_top(bins, "bins")
    own = f"SELECT activation FROM ({activations_of_feature(scope)})"
    return histogram(reader.query(own, {"hookpoint": hookpoint, "feature": feature}), bins)

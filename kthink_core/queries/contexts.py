"""Where a feature is active: its strongest places, a fair sample of the others, and the tokens around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kthink_core.errors import BadValue
from kthink_core.queries.checks import check_feature, check_inference, check_top
from kthink_core.queries.context_groups import Band, Likeness, Shown, shown_once
from kthink_core.queries.fragments import activations_of_feature
from kthink_core.queries.histogram import histogram
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

HIGHEST = "highest"
_BANDS = (HIGHEST, "4", "3", "2", "1")
MOST_PAGES = 10
SPARE = 10
"""So many times as many are looked at as are shown, since some are nearly the same."""
CONTEXTS = ("band", "inference", "position", "activation", "times", "alike", "more_positions", "page")
POSITIONS = ("page", "band", "shown_inference", "shown_position", "inference", "position", "activation")

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
    pages: int = 1,
) -> pd.DataFrame:
    """Contexts in which a feature is active, each by its strongest place: band, inference, position, activation, times,
    alike, more_positions, page.

    A context is a place with `reach` tokens on either side. Of those of one inference that overlap, only the strongest
    counts (the earlier one where they are equal): no place within 2 · reach positions is stronger. times: at how many
    positions of the context the feature is active.

    Band "highest": the `top` strongest contexts. Bands "4", "3", "2", "1": up to `sampled` others of each quarter of
    (0, maximum], "4" the highest: band b holds activations in ((b − 1)/4 · maximum, b/4 · maximum]. Which ones is
    settled by a fixed hash of inference and position, so that a sample is fair and always the same. A context that is
    nearly one that was taken before it is left out: the sentence with the place is the same, but for white space (as
    far as it lies in the context), or `SAME` of the tokens are, in whatever order. alike: how many were left out for
    this one; more_positions: at how many positions more it is active in all of them, this one included, where a
    position belongs to the context whose place is nearest. Both are of the `SPARE` times as many that are looked at as
    are shown.

    page: from 1. Each of the `pages` goes on in every band where the one before it ended, and has as many: none has
    what another has, none leaves anything out, and a page is the same however many follow. By page, then band, then
    activation, largest first, then inference and position.

    Raises UnknownName, OutOfRange; BadValue for more than `MOST_PAGES` pages.
    """
    return shown_contexts(context_positions(reader, hookpoint, feature, scope, top, sampled, reach, pages))


def shown_contexts(positions: pd.DataFrame) -> pd.DataFrame:
    """What `contexts` answers, of the answer of `context_positions`."""
    is_shown = (positions["inference"] == positions["shown_inference"]) & (
        positions["position"] == positions["shown_position"]
    )
    return positions.loc[is_shown, list(CONTEXTS)].reset_index(drop=True)


def context_positions(
    reader: Reader,
    hookpoint: str,
    feature: int,
    scope: Scope = "generated",
    top: int = 10,
    sampled: int = 4,
    reach: int = 12,
    pages: int = 1,
) -> pd.DataFrame:
    """The positions that the contexts of a feature stand for: page, band, shown_inference, shown_position (the context
    that `contexts` shows), inference, position, activation; times, alike, more_positions of that context.

    One row a position, that of the context first, then by activation, largest first, then inference and position;
    contexts in their order. No position occurs twice. Those are missing that are in no context that was looked at, or
    in one that is like none and comes on a later page. Raises as `contexts`.
    """
    check_feature(reader, hookpoint, feature)
    for name, value in (("top", top), ("sampled", sampled), ("reach", reach), ("pages", pages)):
        check_top(value, name)
    if pages > MOST_PAGES:
        raise BadValue(f"pages is {pages}; it must be {MOST_PAGES} at most")
    looked_at = {"highest": SPARE * top, "others": SPARE * sampled + top}
    found = _offered(reader, hookpoint, feature, scope, reach, {name: of * pages for name, of in looked_at.items()})
    peaks = found.loc[found["position"] == found["middle"], :].reset_index(drop=True)
    places = tuple(zip(peaks["inference"].tolist(), peaks["position"].tolist(), strict=True))
    tokens = context_tokens(reader, hookpoint, feature, places, reach, reach)
    by_hash = peaks.sort_values(["drawn", "strongest"])
    quarters = (by_hash.index[by_hash["quarter"] == quarter].tolist() for quarter in (4, 3, 2, 1))
    bands = [Band(HIGHEST, peaks.index.tolist(), looked_at["highest"], top)]
    bands += [Band(name, offered, looked_at["others"], sampled) for name, offered in zip("4321", quarters, strict=True)]
    taken, counted = shown_once(bands, Likeness(tokens, peaks["position"].tolist()), pages)
    return _told(found, peaks, taken, counted)


def _offered(
    reader: Reader, hookpoint: str, feature: int, scope: Scope, reach: int, looked_at: dict[str, int]
) -> pd.DataFrame:
    """The contexts that are looked at, the strongest first, each with its positions: quarter, strongest, drawn,
    inference, middle (of the context), times, position, activation."""
    sql = f"""
        WITH own AS ({activations_of_feature(scope)}), around AS (
            SELECT inference, position, activation,
                max(activation) OVER (around RANGE BETWEEN 2 * $reach PRECEDING AND 1 PRECEDING) AS before,
                max(activation) OVER (around RANGE BETWEEN 1 FOLLOWING AND 2 * $reach FOLLOWING) AS after,
                count(*) OVER (around RANGE BETWEEN $reach PRECEDING AND $reach FOLLOWING) AS times,
                max(activation) OVER ()::DOUBLE AS largest
            FROM own WINDOW around AS (PARTITION BY inference ORDER BY position)
        ), placed AS (
            SELECT *, last_value(middle IGNORE NULLS) OVER (PARTITION BY inference ORDER BY position) AS one,
                first_value(middle IGNORE NULLS) OVER (
                    PARTITION BY inference ORDER BY position ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
                ) AS next
            FROM (
                SELECT *, CASE WHEN activation > coalesce(before, 0) AND activation >= coalesce(after, 0)
                    THEN position END AS middle
                FROM around
            )
        ), hashed AS (
            SELECT inference, middle, activation, times, {_HASH} AS hash,
                1 + (4 * activation::DOUBLE > largest)::INTEGER + (4 * activation::DOUBLE > 2 * largest)::INTEGER
                    + (4 * activation::DOUBLE > 3 * largest)::INTEGER AS quarter
            FROM (SELECT *, {_KEY} AS mixed FROM placed WHERE middle IS NOT NULL)
        ), numbered AS (
            SELECT *, row_number() OVER (ORDER BY activation DESC, inference, middle) AS strongest,
                row_number() OVER (PARTITION BY quarter ORDER BY hash, inference, middle) AS drawn
            FROM hashed
        )
        SELECT quarter, strongest, drawn, inference, numbered.middle, numbered.times, position, placed.activation
        FROM numbered JOIN placed USING (inference)
        WHERE (strongest <= $highest OR drawn <= $others) AND numbered.middle = CASE
            WHEN one IS NULL OR next - position < position - one THEN next ELSE one END
        ORDER BY strongest, position
    """
    return reader.query(sql, {"hookpoint": hookpoint, "feature": feature, "reach": reach} | looked_at)


def _told(found: pd.DataFrame, peaks: pd.DataFrame, taken: Sequence[Shown], counted: Mapping[int, int]) -> pd.DataFrame:
    """`peaks`: the rows of `found` that are contexts, by which `taken` and `counted` number them."""
    order = sorted(taken, key=lambda shown: (shown.page, _BANDS.index(shown.band), shown.context))
    ranks = {shown.context: rank for rank, shown in enumerate(order)}
    # [peaks] which of those that are shown each is counted with, -1: with none.
    of_peak = np.array([ranks[counted[peak]] if peak in counted else -1 for peak in peaks.index.tolist()], int)
    rank = of_peak[np.searchsorted(peaks["strongest"], found["strongest"])]
    table = found.assign(rank=rank).loc[rank >= 0, :]
    shown = peaks.loc[[each.context for each in order], :].reset_index(drop=True)
    at = table["rank"].to_numpy(int)
    positions = table.groupby("rank").size().reindex(range(len(order)), fill_value=0).to_numpy()
    contexts = table.groupby("rank")["strongest"].nunique().reindex(range(len(order)), fill_value=0).to_numpy()
    table = table.assign(
        page=np.array([each.page for each in order], int)[at],
        band=np.array([each.band for each in order], object)[at],
        shown_inference=shown["inference"].to_numpy()[at],
        shown_position=shown["position"].to_numpy()[at],
        times=shown["times"].to_numpy()[at],
        alike=contexts[at] - 1,
        more_positions=positions[at] - 1,
    )
    own = (table["inference"] == table["shown_inference"]) & (table["position"] == table["shown_position"])
    table = table.assign(other=~own).sort_values(
        ["rank", "other", "activation", "inference", "position"], ascending=[True, True, False, True, True]
    )
    return table.loc[:, [*POSITIONS, "times", "alike", "more_positions"]].reset_index(drop=True)


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

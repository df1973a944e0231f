"""The same traces at two capture sites: what is asked of either, and what is compared of both answers.

The vectors of two sites have different lengths and directions: FVU is a figure of each site, and activations are
compared by their sizes, never one by one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kthink_core.evidence.bootstrap import RESAMPLES, draws_of, ends, problems_of
from kthink_core.queries.checks import check_choice, check_hookpoint, check_inference, in_scope
from kthink_core.queries.overview import check_relevant
from kthink_core.store.feature_stats import RELEVANT
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import SCOPES, Scope

BINS = 10
"""Of a histogram, a factor of ten."""
FEWEST = 5
"""Inferences below which there is no interval: resampling so few says little."""
_AMONG = "inference IN (SELECT unnest($inferences::INTEGER[]))"


def trace_digests(reader: Reader) -> pd.DataFrame:
    """Which tokens each inference has: inference, digest. Equal digests: the same trace, prompt included."""
    return reader.query("""
        SELECT inference, md5(string_agg(token_id::VARCHAR, ' ' ORDER BY position)) AS digest
        FROM tokens GROUP BY inference ORDER BY inference
    """)


def site_fvu(
    reader: Reader, hookpoint: str, scope: Scope = "generated", inferences: tuple[int, ...] = ()
) -> pd.DataFrame:
    """The FVU over some inferences together, one row: hookpoint, inferences, positions, fvu, low, high, norm.

    fvu: Σ ‖x − x̂‖² / (Σ ‖x‖² − ‖Σ x‖² / n) over the positions of the scope, null where the vectors do not vary; low,
    high: 95 % bootstrap percentile interval (Efron and Tibshirani 1993) over problems, never over positions, null for
    fewer than FEWEST; norm: the median ‖x‖.
    """
    _check(reader, hookpoint, inferences)
    condition = f"hookpoint = $hookpoint AND {in_scope(scope)} AND {_AMONG}"
    asked = {"hookpoint": hookpoint, "inferences": list(inferences)}
    sums = reader.query(
        f"""
        SELECT inference, count(*) AS positions, sum(squared_error::DOUBLE) AS squared_error,
            sum(squared_norm::DOUBLE) AS squared_norm
        FROM quality WHERE {condition} GROUP BY inference ORDER BY inference
        """,
        asked,
    )
    median = reader.query(f"SELECT median(sqrt(squared_norm)) AS norm FROM quality WHERE {condition}", asked)
    vectors = _vector_sums(reader, condition, asked, sums["inference"].tolist())
    figures = sums[["squared_error", "squared_norm", "positions"]].to_numpy(np.float64)
    all_once = np.ones((1, len(sums)))
    row: dict[str, object] = {"hookpoint": hookpoint, "inferences": len(sums), "positions": int(figures[:, 2].sum())}
    row |= {"fvu": float(_fvu(all_once, figures, vectors)[0]), "low": np.nan, "high": np.nan}
    problems = problems_of(reader, sums["inference"].tolist())
    if len(np.unique(problems)) >= FEWEST:
        row |= _interval(_fvu(draws_of(problems).astype(np.float64), figures, vectors))
    return pd.DataFrame([row | {"norm": median["norm"].iloc[0]}])


def activation_sizes(
    reader: Reader, hookpoint: str, scope: Scope = "generated", inferences: tuple[int, ...] = ()
) -> pd.DataFrame:
    """All activations of some inferences by size, in bins of a tenth of a factor of ten: low, high (excluded), count,
    share (of all of them). Ascending; a bin without any is absent."""
    _check(reader, hookpoint, inferences)
    table = reader.query(
        f"""
        WITH own AS (
            SELECT unnest(activations)::DOUBLE AS activation FROM token_latents
            WHERE hookpoint = $hookpoint AND {in_scope(scope)} AND {_AMONG}
        )
        SELECT floor({BINS} * log10(activation))::INTEGER AS bin, count(*) AS count
        FROM own WHERE activation > 0 GROUP BY bin ORDER BY bin
        """,
        {"hookpoint": hookpoint, "inferences": list(inferences)},
    )
    low = 10.0 ** (table["bin"] / BINS)
    high = 10.0 ** ((table["bin"] + 1) / BINS)
    counts = table["count"]
    return pd.DataFrame({"low": low, "high": high, "count": counts, "share": counts / max(1, counts.sum())})


def relevant_sets(
    reader: Reader,
    hookpoint: str,
    scope: Scope = "generated",
    inferences: tuple[int, ...] = (),
    relevant: int = RELEVANT,
) -> pd.DataFrame:
    """The relevant features of some inferences: inference, rank (from 1), feature. By inference and rank."""
    _check(reader, hookpoint, inferences)
    check_relevant(relevant)
    check_choice("scope", scope, SCOPES)
    sql = f"""
        SELECT inference, rank, feature FROM relevant_features
        WHERE hookpoint = $hookpoint AND scope = $scope AND rank <= $relevant AND {_AMONG}
        ORDER BY inference, rank
    """
    asked = {"hookpoint": hookpoint, "scope": scope, "relevant": relevant, "inferences": list(inferences)}
    return reader.query(sql, asked)


def first_tokens(reader: Reader, hookpoint: str, inferences: tuple[int, ...] = (), first: int = 2) -> pd.DataFrame:
    """The first tokens of some inferences beside all others: position (null: all further ones), text, inferences,
    positions, largest, feature, norm.

    largest: the largest activation there, and the feature that has it; of the further positions the median of the
    largest ones, without a feature. norm: the median ‖x‖. text: the smallest of the texts there.
    """
    _check(reader, hookpoint, inferences)
    sql = f"""
        WITH own AS (
            SELECT inference, position, list_max(activations) AS largest,
                features[list_position(activations, list_max(activations))] AS feature
            FROM token_latents WHERE hookpoint = $hookpoint AND {_AMONG}
        ), norms AS (
            SELECT inference, position, sqrt(squared_norm) AS norm FROM quality
            WHERE hookpoint = $hookpoint AND {_AMONG}
        ), every AS (
            SELECT CASE WHEN position < $first THEN position END AS place, inference, text, norm,
                coalesce(largest, 0) AS largest, feature
            FROM (SELECT inference, position, text FROM tokens WHERE {_AMONG}) JOIN norms USING (inference, position)
                LEFT JOIN own USING (inference, position)
        )
        SELECT place AS position, CASE WHEN place IS NOT NULL THEN min(text) END AS text,
            count(DISTINCT inference) AS inferences, count(*) AS positions,
            CASE WHEN place IS NULL THEN median(largest) ELSE max(largest) END AS largest,
            CASE WHEN place IS NOT NULL THEN arg_max(feature, largest) END AS feature, median(norm) AS norm
        FROM every GROUP BY place ORDER BY place NULLS LAST
    """
    return reader.query(sql, {"hookpoint": hookpoint, "inferences": list(inferences), "first": first})


def same_traces(here: pd.DataFrame, there: pd.DataFrame) -> tuple[int, ...]:
    """The inferences that are the same trace in both, ascending: of two answers of `trace_digests`."""
    return tuple(int(inference) for inference in here.merge(there, on=["inference", "digest"])["inference"])


def overlaps(here: pd.DataFrame, there: pd.DataFrame, inferences: tuple[int, ...]) -> pd.DataFrame:
    """How alike the relevant features of each inference are at two sites: inference, here, there, both, jaccard (both
    / either; null where neither has any). Of two answers of `relevant_sets`."""
    sides = [
        {inference: set(rows["feature"]) for inference, rows in table.groupby("inference")} for table in (here, there)
    ]
    rows = []
    for inference in inferences:
        one, other = (side.get(inference, set()) for side in sides)
        either = len(one | other)
        rows.append((inference, len(one), len(other), len(one & other), len(one & other) / either if either else None))
    table = pd.DataFrame(rows, columns=["inference", "here", "there", "both", "jaccard"])
    return table.astype({"jaccard": float})


def mean_overlap(table: pd.DataFrame) -> pd.DataFrame:
    """The mean of the answer of `overlaps`, one row: inferences, jaccard, low, high (95 % bootstrap percentile interval
    over inferences, null for fewer than FEWEST)."""
    values = table["jaccard"].dropna().to_numpy()
    row: dict[str, object] = {"inferences": len(values), "jaccard": float(values.mean()) if len(values) else np.nan}
    row |= {"low": np.nan, "high": np.nan}
    if len(values) >= FEWEST:
        drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
        row |= _interval(values[drawn].mean(1))
    return pd.DataFrame([row])


def _vector_sums(
    reader: Reader, condition: str, asked: dict[str, object], inferences: list[int]
) -> NDArray[np.float64]:
    """[inferences, d_in] Σ x of each inference."""
    table = reader.query(f"SELECT inference, sum FROM vector_sums WHERE {condition} ORDER BY inference, segment", asked)
    place = {inference: row for row, inference in enumerate(inferences)}
    width = len(table["sum"].iloc[0]) if len(table) else 1
    sums = np.zeros((len(inferences), width))
    for inference, vector in zip(table["inference"], table["sum"], strict=True):
        if inference in place:  # a segment without positions is of none
            sums[place[inference]] += vector
    return sums


def _fvu(weights: NDArray[np.float64], figures: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray:
    """[draws] weights: [draws, inferences], how often each counts; figures: [inferences, (Σ error, Σ norm, n)]."""
    error, norm, positions = (weights @ figures).T
    variation = norm - np.square(weights @ vectors).sum(1) / np.maximum(positions, 1)
    return np.divide(error, variation, out=np.full(len(weights), np.nan), where=(positions > 1) & (variation > 0))


def _interval(drawn: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(("low", "high"), ends(drawn), strict=True))


def _check(reader: Reader, hookpoint: str, inferences: tuple[int, ...]) -> None:
    """Raises UnknownName, OutOfRange, BadValue."""
    check_hookpoint(reader, hookpoint)
    for inference in inferences:
        check_inference(reader, inference)

"""Where a feature is active: its strongest places, a fair sample of the others, and the tokens around them."""

from __future__ import annotations

import pandas as pd

from kthink_core.errors import BadValue
from kthink_core.queries.checks import check_feature, check_inference, check_top
from kthink_core.queries.fragments import activations_of_feature
from kthink_core.queries.histogram import histogram
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

HIGHEST = "highest"

# A fixed order that has nothing to do with the text: two rounds of multiply and fold over 32 bits (the constants are
# those of Knuth's multiplicative hashing and of xxHash). DuckDB's own hash may change with its version.
_MODULUS = "4294967296::UBIGINT"
_KEY = f"(inference::UBIGINT * 1000003::UBIGINT + position::UBIGINT) % {_MODULUS} * 2654435761::UBIGINT % {_MODULUS}"
_HASH = f"xor(mixed, mixed >> 16::UBIGINT) * 2246822519::UBIGINT % {_MODULUS}"


def contexts(
    reader: Reader, hookpoint: str, feature: int, scope: Scope = "generated", top: int = 10, sampled: int = 4
) -> pd.DataFrame:
    """Places at which a feature is active: band, inference, position, activation.

    Band "highest": the `top` largest activations. Bands "4", "3", "2", "1": up to `sampled` places of each quarter of
    (0, maximum], "4" the highest: band b holds activations in ((b − 1)/4 · maximum, b/4 · maximum]. Which places is
    settled by a fixed hash of inference and position, so that a sample is fair and always the same; a place may be
    both among the highest and in the sample. Within a band by activation, largest first, then inference and position.
    """
    check_feature(reader, hookpoint, feature)
    check_top(top)
    check_top(sampled, "sampled")
    sql = f"""
        WITH own AS MATERIALIZED ({activations_of_feature(scope)}), largest AS (
            SELECT max(activation)::DOUBLE AS largest FROM own
        ), hashed AS (
            SELECT *, {_HASH} AS hash,
                1 + (4 * activation::DOUBLE > largest)::INTEGER + (4 * activation::DOUBLE > 2 * largest)::INTEGER
                    + (4 * activation::DOUBLE > 3 * largest)::INTEGER AS quarter
            FROM (SELECT *, {_KEY} AS mixed FROM own), largest
        ), drawn AS (
            SELECT quarter, unnest(min({{
                'hash': hash, 'inference': inference, 'position': position, 'activation': activation
            }}, $sampled)) AS place
            FROM hashed GROUP BY quarter
        ), highest AS (
            FROM own ORDER BY activation DESC, inference, position LIMIT $top
        ), places AS (
            SELECT 5 AS quarter, inference, position, activation FROM highest
            UNION ALL
            SELECT quarter, place.inference, place.position, place.activation FROM drawn
        )
        SELECT if(quarter = 5, '{HIGHEST}', quarter::VARCHAR) AS band, inference, position, activation
        FROM places ORDER BY quarter DESC, activation DESC, inference, position
    """
    return reader.query(sql, {"hookpoint": hookpoint, "feature": feature, "top": top, "sampled": sampled})


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

"""What must not be in a received database of the store: queries, each with what its rows are called.

They see to it that arrays put together from the rows have the lengths, and the numbers the ranges, that the rest of the
code takes for granted; nothing larger than the bounds here is ever held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from kthink_core.config import MOST_INFERENCES, Experiment
from kthink_core.store.database import quoted

MOST_POSITIONS = 2**20
"""Of one inference."""
MOST_KEPT = 2**27
"""Cells of one inference's latents at a hookpoint: positions times the most features that one of them has."""
MOST_TEXT = 2_000
"""Characters of one token."""
MOST_DONE = 1_000
"""Interventions of one inference."""
MOST_RANKS = 100
"""Of a feature's directions."""


def rules(at: str, experiment: Experiment, tables: Sequence[str]) -> list[tuple[str, str]]:
    """Of the tables that there are in `at`, a catalog's schema."""
    found = [
        *_of_inferences(at),
        *_per_position(at, "token_latents", experiment),
        *_per_position(at, "quality", experiment),
        *_of_latents(at, experiment),
        *_of_sums(at, experiment),
        *_of_directions(at, experiment),
    ]
    if "interventions" in tables:
        found.append(
            (
                f"SELECT inference, count(*) FROM {at}.interventions GROUP BY ALL HAVING count(*) > {MOST_DONE} "
                "OR coalesce(max(length(hookpoint)), 0) > 200 OR coalesce(max(length(action)), 0) > 20",
                f"more than {MOST_DONE:,} interventions in an inference, or strange ones",
            )
        )
    if "alternatives" in tables:
        found += _of_alternatives(at)
    if "fidelity" in tables:
        found.append(
            (
                f"SELECT inference, hookpoint::VARCHAR, position FROM {at}.fidelity GROUP BY ALL HAVING count(*) > 1 "
                f"OR NOT coalesce(any_value(position) BETWEEN 0 AND {MOST_POSITIONS}, false)",
                "fidelity twice at one position, or at none",
            )
        )
    return found


def _of_inferences(at: str) -> list[tuple[str, str]]:
    there = f"SELECT inference FROM {at}.inferences"
    return [
        (
            f"{there} WHERE NOT coalesce(inference BETWEEN 0 AND {MOST_INFERENCES - 1}, false)",
            f"an inference that has no number from 0 to {MOST_INFERENCES - 1:,}",
        ),
        (f"{there} GROUP BY inference HAVING count(*) > 1", "an inference twice"),
        (f"SELECT count(*) AS n FROM {at}.inferences HAVING n = 0", "no inference in it"),
        (
            f"SELECT inference FROM {at}.tokens WHERE position IS NULL OR token_id IS NULL OR token_id < 0 "
            f"OR segment IS NULL OR NOT coalesce(length(text) <= {MOST_TEXT}, false)",
            f"a token without number, segment or text, or of more than {MOST_TEXT:,} characters",
        ),
        (
            f"SELECT inference, position FROM {at}.tokens GROUP BY ALL HAVING count(*) > 1",
            "two tokens at one position",
        ),
        (
            f"""
            SELECT coalesce(inference, places.inference), n, low, high FROM (
                SELECT inference, count(*) AS n, min(position) AS low, max(position) AS high
                FROM {at}.tokens GROUP BY inference
            ) AS places FULL JOIN ({there}) AS known USING (inference)
            WHERE n IS NULL OR known.inference IS NULL OR low <> 0 OR high <> n - 1 OR n > {MOST_POSITIONS}
            """,
            f"an inference whose tokens are not at the positions 0, 1, …, {MOST_POSITIONS:,} at most",
        ),
    ]


def _of_alternatives(at: str) -> list[tuple[str, str]]:
    """Of an inference none, or one row a generated token."""
    return [
        (
            f"""
            SELECT inference, position FROM {at}.alternatives
            WHERE inference IS NULL OR position IS NULL OR token_ids IS NULL OR texts IS NULL OR logprobs IS NULL
                OR len(token_ids) NOT BETWEEN 1 AND {MOST_RANKS} OR len(texts) <> len(token_ids)
                OR len(logprobs) <> len(token_ids) OR len(list_distinct(token_ids)) <> len(token_ids)
                OR NOT coalesce(list_min(token_ids) >= 0, false)
                OR len(list_filter(texts, lambda text: coalesce(length(text), {MOST_TEXT + 1}) > {MOST_TEXT})) > 0
                OR len(list_filter(logprobs, lambda value: value IS NULL OR NOT isfinite(value) OR value > 0.001)) > 0
                OR NOT coalesce(isfinite(entropy) AND entropy > -0.001, false)
            """,
            "alternatives that no position has",
        ),
        (
            f"""
            SELECT inference, count(*) FROM (
                SELECT inference, position, count(*) AS n, len(any_value(token_ids)) AS each
                FROM {at}.alternatives GROUP BY inference, position
            ) AS found FULL JOIN (
                SELECT inference, position, true AS written FROM {at}.tokens
                WHERE segment::VARCHAR <> 'prompt' AND inference IN (SELECT inference FROM {at}.alternatives)
            ) AS places USING (inference, position)
            GROUP BY inference
            HAVING bool_or(written IS NULL OR n IS DISTINCT FROM 1) OR min(each) <> max(each)
            """,
            "alternatives that are not one row for each generated token",
        ),
    ]


def _per_position(at: str, table: str, experiment: Experiment) -> list[tuple[str, str]]:
    """One row for each token and hookpoint, and none besides."""
    hookpoints = ", ".join(f"({quoted(hookpoint)})" for hookpoint in experiment.saes)
    return [
        (
            f"""
            SELECT inference, position FROM (
                SELECT hookpoint::VARCHAR AS hookpoint, inference, position, count(*) AS n,
                    any_value(segment) AS segment
                FROM {at}.{table} GROUP BY ALL
            ) AS rows FULL JOIN (
                SELECT name AS hookpoint, inference, position, segment
                FROM {at}.tokens CROSS JOIN (VALUES {hookpoints}) AS hookpoints(name)
            ) AS places USING (hookpoint, inference, position)
            WHERE n IS DISTINCT FROM 1 OR rows.segment IS DISTINCT FROM places.segment
            """,
            f"{table} has not one row for each token and hookpoint",
        )
    ]


def _of_latents(at: str, experiment: Experiment) -> list[tuple[str, str]]:
    largest = " ".join(f"WHEN {quoted(name)} THEN {sae.num_latents}" for name, sae in experiment.saes.items())
    size = f"CASE hookpoint::VARCHAR {largest} END"
    return [
        (
            f"""
            SELECT inference, position FROM {at}.token_latents
            WHERE features IS NULL OR activations IS NULL OR len(features) <> len(activations)
                OR len(features) > {size} OR len(list_distinct(features)) <> len(features)
                OR NOT coalesce(list_min(features) >= 0 AND list_max(features) < {size}, len(features) = 0)
                OR NOT coalesce(list_min(activations) > 0 AND list_max(activations) <= 3.4028235e38::FLOAT,
                    len(activations) = 0)
                OR len(list_filter(activations, lambda value: value IS NULL OR NOT isfinite(value))) > 0
            """,
            "latents that no position has",
        ),
        (
            f"SELECT inference, hookpoint::VARCHAR FROM {at}.token_latents GROUP BY ALL "
            f"HAVING count(*) * max(len(features)) > {MOST_KEPT}",
            "more latents in an inference than are held",
        ),
    ]


def _of_sums(at: str, experiment: Experiment) -> list[tuple[str, str]]:
    widths = " ".join(f"WHEN {quoted(name)} THEN {sae.d_in}" for name, sae in experiment.saes.items())
    return [
        (
            f"""
            SELECT inference, hookpoint::VARCHAR FROM {at}.vector_sums
            WHERE segment IS NULL OR len(sum) IS DISTINCT FROM CASE hookpoint::VARCHAR {widths} END
                OR len(list_filter(sum, lambda value: value IS NULL)) > 0
            """,
            "sums of another width than the SAE",
        ),
        (
            f"SELECT inference, hookpoint::VARCHAR, segment::VARCHAR FROM {at}.vector_sums GROUP BY ALL "
            "HAVING count(*) > 1",
            "two sums of one segment",
        ),
    ]


def _of_directions(at: str, experiment: Experiment) -> list[tuple[str, str]]:
    largest = " ".join(f"WHEN {quoted(name)} THEN {sae.num_latents}" for name, sae in experiment.saes.items())
    size = f"CASE hookpoint::VARCHAR {largest} END"
    return [
        (
            f"""
            SELECT hookpoint::VARCHAR, feature FROM {at}.neighbours
            WHERE NOT coalesce(feature >= 0 AND feature < {size} AND neighbour >= 0 AND neighbour < {size}
                AND rank BETWEEN 1 AND {MOST_RANKS} AND isfinite(cosine), false)
            """,
            "a neighbour that no feature has",
        ),
        (
            f"""
            SELECT hookpoint::VARCHAR, feature FROM {at}.promoted_tokens
            WHERE NOT coalesce(feature >= 0 AND feature < {size} AND token_id >= 0
                AND sign IN ('promoted', 'suppressed') AND rank BETWEEN 1 AND {MOST_RANKS}
                AND isfinite(logit) AND length(text) <= {MOST_TEXT}, false)
            """,
            "a promoted token that no feature has",
        ),
        *(
            (
                f"SELECT hookpoint::VARCHAR, feature FROM {at}.{table} GROUP BY hookpoint, feature{sign}, rank "
                "HAVING count(*) > 1",
                f"two {table.replace('_', ' ')} of one rank",
            )
            for table, sign in (("neighbours", ""), ("promoted_tokens", ", sign"))
        ),
    ]

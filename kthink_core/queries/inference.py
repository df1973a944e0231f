"""Questions about inferences: their list, one transcript, the features of one."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kthink_core.errors import BadValue
from kthink_core.queries.checks import (
    check_choice,
    check_feature,
    check_hookpoint,
    check_inference,
    check_top,
    in_scope,
)
from kthink_core.queries.fragments import activations_of_inference
from kthink_core.queries.histogram import histogram, histograms
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import SCOPES, Scope
from kthink_core.store.verdicts import VERDICT


def inferences(reader: Reader) -> pd.DataFrame:
    """All inferences in order: inference, problem, question, prompt, mode, seed, prompt_tokens, generated_tokens,
    finish_reason, answer, reference, correct (whether the answer is the reference; null where there is no reference),
    verdict; author, temperature, top_p, max_new_tokens (null unless the prompt was typed live: else the experiment has
    them); tags (of a trace that was written elsewhere, as one text with commas; null where it has none).

    What was cut off at the limit (finish_reason length) before it answered has no answer, and correct is false there.
    Whatever counts right and wrong inferences goes by verdict instead: right, wrong, cut off, which is neither, or
    ungraded."""
    return reader.query(f"""
        SELECT inference, problem, question, prompt, mode, seed, prompt_tokens, generated_tokens, finish_reason, answer,
            reference, correct, {VERDICT} AS verdict, author, temperature, top_p,
            max_new_tokens, nullif(array_to_string(tags, ', '), '') AS tags
        FROM inferences ORDER BY inference
    """)


def transcript(
    reader: Reader, inference: int, hookpoint: str | None = None, feature: int | None = None
) -> pd.DataFrame:
    """The tokens of an inference in order: position, token_id, text, segment, logprob (null in the prompt),
    activation of the feature (null where it is not active, and without a feature). A feature needs its hookpoint."""
    check_inference(reader, inference)
    if feature is not None and hookpoint is None:
        raise BadValue(f"feature {feature} was asked without its hookpoint; known: {', '.join(reader.experiment.saes)}")
    if hookpoint is not None:
        check_hookpoint(reader, hookpoint)
        if feature is not None:
            check_feature(reader, hookpoint, feature)
    sql = """
        SELECT position, token_id, text, segment::VARCHAR AS segment, logprob, activation
        FROM (SELECT * FROM tokens WHERE inference = $inference)
        LEFT JOIN (
            SELECT position, activation FROM latents
            WHERE hookpoint = $hookpoint AND feature = $feature AND inference = $inference
        ) USING (position)
        ORDER BY position
    """
    return reader.query(sql, {"inference": inference, "hookpoint": hookpoint, "feature": feature})


def feature_activations(
    reader: Reader, inference: int, hookpoint: str, scope: Scope = "generated", top: int = 400
) -> pd.DataFrame:
    """The largest activations of an inference, largest first: feature, position, token_id, text, activation.
    A feature occurs once for each position at which it is active."""
    check_inference(reader, inference)
    check_hookpoint(reader, hookpoint)
    check_top(top)
    sql = f"""
        WITH largest AS ({activations_of_inference(scope)} ORDER BY activation DESC, feature, position LIMIT $top)
        SELECT feature, position, token_id, text, activation
        FROM largest JOIN (SELECT * FROM tokens WHERE inference = $inference) USING (position)
        ORDER BY activation DESC, feature, position
    """
    return reader.query(sql, {"inference": inference, "hookpoint": hookpoint, "top": top})


def feature_frequencies(
    reader: Reader, inference: int | None, hookpoint: str, scope: Scope = "generated", top: int = 70
) -> pd.DataFrame:
    """Features of an inference, or of all without one, by the number of positions at which they are active: feature,
    positions."""
    _check(reader, inference, hookpoint, scope)
    check_top(top)
    counted = f"SELECT feature, count(*) AS positions FROM ({activations_of_inference(scope)}) GROUP BY feature"
    if inference is None:
        counted = "SELECT feature, positions FROM feature_stats WHERE hookpoint = $hookpoint AND scope = $scope"
    sql = f"SELECT feature, positions FROM ({counted}) ORDER BY positions DESC, feature LIMIT $top"
    return reader.query(sql, {"hookpoint": hookpoint, "top": top} | _which(inference, scope))


def relevant_features(
    reader: Reader, inference: int, hookpoint: str, scope: Scope = "generated", top: int = 10
) -> pd.DataFrame:
    """Features of an inference by their largest activation in it: rank (from 1), feature, max_activation."""
    check_inference(reader, inference)
    check_hookpoint(reader, hookpoint)
    check_top(top)
    sql = f"""
        SELECT row_number() OVER (ORDER BY max_activation DESC, feature) AS rank, feature, max_activation
        FROM (
            SELECT feature, max(activation) AS max_activation
            FROM ({activations_of_inference(scope)}) GROUP BY feature
        )
        ORDER BY rank LIMIT $top
    """
    return reader.query(sql, {"inference": inference, "hookpoint": hookpoint, "top": top})


def activation_histogram(
    reader: Reader, inference: int | None, hookpoint: str, scope: Scope = "generated", bins: int = 50
) -> pd.DataFrame:
    """All activations of an inference, or of all without one, in `bins` bins of equal width, as `numpy.histogram`
    makes them of float64: low, high (in the last bin only it belongs to it), count. Empty where nothing is active."""
    _check(reader, inference, hookpoint, scope)
    check_top(bins, "bins")
    if inference is not None:
        own = f"SELECT activation FROM ({activations_of_inference(scope)})"
        return histogram(reader.query(own, {"inference": inference, "hookpoint": hookpoint}), bins)
    all_of_them = f"FROM latents WHERE hookpoint = $hookpoint AND {in_scope(scope)}"
    given = {"hookpoint": hookpoint}
    ends = reader.query(f"SELECT min(activation) AS low, max(activation) AS high {all_of_them}", given).loc[0]
    if pd.isna(ends["low"]):
        return histogram(pd.DataFrame({"activation": []}), bins)
    with reader.stream(f"SELECT activation {all_of_them}", given) as batches:
        parts = (batch.to_pandas() for batch in batches)
        return histograms(parts, bins, float(ends["low"]), float(ends["high"]))


def _check(reader: Reader, inference: int | None, hookpoint: str, scope: Scope) -> None:
    if inference is not None:
        check_inference(reader, inference)
    check_hookpoint(reader, hookpoint)
    check_choice("scope", scope, SCOPES)


def _which(inference: int | None, scope: Scope) -> dict[str, Any]:
    """The parameters that say of which positions."""
    return {"scope": scope} if inference is None else {"inference": inference}

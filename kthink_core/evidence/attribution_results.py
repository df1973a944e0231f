"""What the predictions of traces owe to features, as it is stored, and what to know before believing it."""

from __future__ import annotations

import math
from statistics import median

import pandas as pd

from kthink_core.evidence.trace_studies import stored, whole_numbers
from kthink_core.store.causal_studies import ATTRIBUTION, RUNNER_UP, AttributionStudy, Compared
from kthink_core.store.reader import Reader

ATTRIBUTIONS = (
    "inference", "hookpoint", "explained", "rival", "rank", "node", "feature", "contribution", "absolute", "positions",
    "peak", "at_peak", "effect",
)  # fmt: skip
CHECKS = (
    "inference", "hookpoint", "explained", "rival", "value", "features_sum", "error_sum", "constant_sum",
    "features_share", "error_share", "constant_share", "n", "rho", "rho_low", "rho_high", "strongest_absolute",
    "strongest_effect", "controls", "controls_absolute", "controls_effect", "before", "before_nodes", "before_largest",
)  # fmt: skip
ANSWER = "answer"
"""What is explained where no position was named."""
RIVAL_UNNAMED = "runner-up"
"""As a rival: of each token, the one that was most probable of all others."""
_CERTAIN = -0.01
"""log p above which hardly anything can raise or lower it."""
_FEW = 10
"""Strongest features below which a rank correlation says little."""
_NOTHING = 1e-9
"""Contributions below it are told as less than it: they are what rounding leaves."""


def attributions(
    reader: Reader, inference: int | None = None, hookpoint: str | None = None, top: int | None = None
) -> pd.DataFrame:
    """Nodes of stored attributions, the newest first, each by its |contribution|: `ATTRIBUTIONS`.

    explained: `answer`, or the position of the token; rival: the text of the token it is compared with, or
    `runner-up`; null: the log-probability. node: feature, error or bias; contribution: summed over positions; effect:
    the exact one of setting the feature to 0, null where it was not measured. top: only so many features of each.
    Raises OutOfRange, UnknownName.
    """
    studies = stored(reader, ATTRIBUTION, AttributionStudy, inference, hookpoint)[0]
    rows = [row for study in studies for row in _nodes(study, top)]
    return _nodes_table(rows)


def attribution_checks(reader: Reader, inference: int | None = None, hookpoint: str | None = None) -> pd.DataFrame:
    """How far stored attributions are to be believed, the newest first: `CHECKS`.

    value: the objective. sums and shares (of Σ |contributions|) of features, error and bias. n, rho, rho_low, rho_high:
    Spearman's rank correlation of the n strongest with exact ablation. medians of |contribution| and |effect| of these,
    and of the controls drawn at random. before: a position whose own prediction nothing from there on can change, how
    many features fire from there on, and the largest |contribution| to it among them: 0. Raises as `attributions`.
    """
    rows = []
    for study in stored(reader, ATTRIBUTION, AttributionStudy, inference, hookpoint)[0]:
        every = study.everything or 1.0
        row = _place(study) | {
            "value": study.value,
            "features_sum": math.fsum(study.features_at),
            "error_sum": math.fsum(study.error_at),
            "constant_sum": math.fsum(study.constant_at),
            "features_share": study.features_absolute / every,
            "error_share": study.error_share,
            "constant_share": study.constant_share,
            "n": len(study.strongest),
            "rho": study.rho,
            "rho_low": study.rho_low,
            "rho_high": study.rho_high,
            "controls": len(study.controls),
        }
        for name, group in (("strongest", study.strongest), ("controls", study.controls)):
            row[f"{name}_absolute"] = _median([one.contribution for one in group])
            row[f"{name}_effect"] = _median([one.effect for one in group])
        if study.before is not None:
            row["before"], row["before_nodes"] = study.before.position, study.before.nodes
            row["before_largest"] = study.before.largest
        rows.append(row)
    return whole_numbers(
        pd.DataFrame(rows, columns=list(CHECKS)), ("inference", "n", "controls", "before", "before_nodes")
    )


def attribution_remarks(
    reader: Reader, inference: int | None = None, hookpoint: str | None = None, **_: object
) -> list[str]:
    """A line for each stored attribution that does not count, then what to know of the newest."""
    studies, problems = stored(reader, ATTRIBUTION, AttributionStudy, inference, hookpoint)
    return [*problems, *(doubts(studies[0]) if studies else ())]


def in_words(study: AttributionStudy) -> str:
    """How much of what is explained passes the hookpoint, how far attribution and ablation agree, what is left to the
    error, what the controls are: a few sentences."""
    agreement = "none to be had"
    if study.rho is not None:
        agreement = f"{study.rho:.2f} (95 %: {study.rho_low:.2f} to {study.rho_high:.2f}, n = {len(study.strongest)})"
    told = [
        f"{passing(study)}.",
        f"Rank correlation with exact ablation of the {len(study.strongest)} strongest features: {agreement}.",
        f"Left to the error: {study.error_share:.0%} of all contributions by size.",
        checks_in_words(study),
    ]
    return " ".join(told)


def passing(study: AttributionStudy) -> str:
    """How much of what is explained passes the hookpoint, to first order, and whose it is."""
    parts = [math.fsum(at) for at in (study.features_at, study.error_at, study.constant_at)]
    features, error, bias = (f"{part:+.3g}" for part in parts)
    return (
        f"Through {study.question.hookpoint}: {math.fsum(parts):+.3g} of {study.value:.5g} (features {features}, error "
        f"{error}, bias {bias})"
    )


def checks_in_words(study: AttributionStudy) -> str:
    """How large contributions are beside exact ablations and beside others, and that nothing acts backwards."""
    told = f"Checks: median size of contributions, {_sizes(study.strongest)} of the {len(study.strongest)} strongest"
    if study.controls:
        told += f", {_sizes(study.controls)} of {len(study.controls)} features drawn at random"
    told += "."
    if study.before is not None:
        told += (
            f" To the token at position {study.before.position}, which was written before them, features from there on "
            f"can contribute nothing: {_size(study.before.largest)} at the most, in {study.before.nodes:,} firings."
        )
    return told


def doubts(study: AttributionStudy) -> list[str]:
    """What to know before believing an attribution, a sentence each."""
    told = []
    if study.question.rival is None and study.value > _CERTAIN:
        told.append(
            f"The model is certain of it (probability {math.exp(study.value):.5f}): a log-probability at its end "
            "hardly moves, whatever is taken away. Take it against the runner-up."
        )
    if study.rho is None:
        told.append("Attribution and ablation cannot be compared: there are too few features, or all do the same.")
    elif len(study.strongest) < _FEW:
        told.append(f"The rank correlation is of {len(study.strongest)} features: it says little.")
    elif study.rho_low is not None and study.rho_low <= 0:
        told.append(
            "Attribution and ablation do not agree beyond chance here: take the contributions for no more than a first "
            "look, and ablate."
        )
    if study.error_share > 0.5:
        told.append("More than half is left to the error: the SAE does not see most of what matters here.")
    if study.before is not None and study.before.largest > 0:
        told.append("Something is wrong: features contribute to a token that was written before them.")
    return told


def attribution_table(study: AttributionStudy, top: int | None = None) -> pd.DataFrame:
    """`ATTRIBUTIONS` of one study."""
    return _nodes_table(_nodes(study, top))


def _place(study: AttributionStudy) -> dict[str, object]:
    question = study.question
    return {
        "inference": study.trace.inference,
        "hookpoint": question.hookpoint,
        "explained": ANSWER if question.position is None else str(question.position),
        "rival": RIVAL_UNNAMED if question.rival == RUNNER_UP else question.rival,
    }


def _nodes(study: AttributionStudy, top: int | None) -> list[dict[str, object]]:
    measured = {one.feature: one.effect for one in (*study.strongest, *study.controls)}
    place = _place(study)
    rows: list[dict[str, object]] = [
        place | {"rank": rank, "node": "feature", "effect": measured.get(node.feature)} | node.model_dump()
        for rank, node in enumerate(study.nodes[:top], 1)
    ]
    for node, at, absolute in (
        ("error", study.error_at, study.error_absolute),
        ("bias", study.constant_at, study.constant_absolute),
    ):
        peak = max(range(len(at)), key=lambda position: abs(at[position]))
        own = {"node": node, "contribution": math.fsum(at), "absolute": absolute, "peak": peak, "at_peak": at[peak]}
        rows.append(place | own)
    return rows


def _median(values: list[float]) -> float | None:
    return median(map(abs, values)) if values else None


def _sizes(group: tuple[Compared, ...]) -> str:
    """Median size by attribution, and by ablation."""
    estimated = _size(_median([one.contribution for one in group]))
    exact = _size(_median([one.effect for one in group]))
    return f"{estimated} (by exact ablation {exact})"


def _size(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "below 1e-9" if 0 < value < _NOTHING else f"{value:.2g}"


def _nodes_table(rows: list[dict[str, object]]) -> pd.DataFrame:
    return whole_numbers(
        pd.DataFrame(rows, columns=list(ATTRIBUTIONS)), ("inference", "rank", "feature", "positions", "peak")
    )

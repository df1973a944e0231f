"""An SAE's passport: all that says how well it describes what it was fed, by hookpoint and scope.

    loss recovered = (CE_zero − CE_sae) / (CE_zero − CE_model)

CE is the mean of −log p(token) over the predictions of the tokens in scope: with 0, with the SAE's reconstruction, or
with nothing else in the place of what the hookpoint passes on. 1: the model does as well as before; 0: the SAE is no
better than nothing. A prediction belongs to the token that it is of: the first token of the answer counts in `answer`,
though it is predicted from the last position of the thinking. Position 0 is predicted by nothing. KL is the mean of
KL(p ‖ p̂) over the same predictions. Source: Rajamanoharan et al. 2024 (arXiv 2404.16014); how it is measured:
model/fidelity.py.

Its interval is that of a bootstrap over inferences (percentiles, 95 %): sums of CE, not ratios, are resampled.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kthink_core.evidence.bootstrap import draws_of, ends, problems_of
from kthink_core.queries import norms, quality, quality_by_inference
from kthink_core.queries.checks import check_hookpoint, check_inference, in_scope
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

FEWEST = 5
"""Problems that a bootstrap needs: of fewer it says nothing."""

_LOSSES = ("model", "spliced", "zero")


def passport(
    reader: Reader, scope: Scope = "generated", hookpoint: str | None = None, inference: int | None = None
) -> pd.DataFrame:
    """One row a hookpoint, in the order of the configuration, or of one only; over all inferences or one.

    hookpoint, scope, positions, fvu, l0, dead (share of features never active), loss_recovered, low, high (of a 95 %
    interval by bootstrap over problems; null for fewer than five, and where a resample has no denominator), kl (nats a
    prediction), predictions, inferences (measured, with predictions in scope), ce_model, ce_spliced, ce_zero (nats),
    mean_norm, median_norm, max_norm, sinks, cut (positions with as many features as are kept at most, of an SAE that
    bounds them: others may have fired there, too). Null where there is nothing to divide by: loss_recovered where 0 in
    the place of what the hookpoint passes on costs nothing; the measured figures of kept live runs, and until
    `precompute` has measured. Raises UnknownName, OutOfRange, BadValue.
    """
    if hookpoint is not None:
        check_hookpoint(reader, hookpoint)
    table = quality(reader, scope, inference).rename(columns={"dead_share": "dead"})
    table = table.merge(norms(reader, scope, inference), on="hookpoint", how="left")
    table = table.assign(cut=[_cut(reader, name, scope, inference) for name in table["hookpoint"]])
    losses = _losses(reader, scope, inference)
    losses = losses.assign(problem=problems_of(reader, losses["inference"].tolist()))
    rows = [_fidelity(losses.loc[losses["hookpoint"] == name, :]) for name in table["hookpoint"]]
    table = pd.concat([table, pd.DataFrame(rows)], axis=1).assign(scope=scope)
    if hookpoint is not None:
        table = table.loc[table["hookpoint"] == hookpoint, :].reset_index(drop=True)
    return table.filter(items=list(COLUMNS))


COLUMNS = (
    "hookpoint", "scope", "fvu", "l0", "dead", "loss_recovered", "kl", "low", "high", "positions", "predictions",
    "inferences", "ce_model", "ce_spliced", "ce_zero", "mean_norm", "median_norm", "max_norm", "sinks",
    "cut",
)  # fmt: skip
"""Of `passport`."""


def passport_by_inference(reader: Reader, hookpoint: str, scope: Scope = "generated") -> pd.DataFrame:
    """One row an inference with positions in scope, in order: inference, positions, fvu, loss_recovered, kl,
    predictions, ce_model, ce_spliced, ce_zero. Null as in `passport`."""
    table = quality_by_inference(reader, hookpoint, scope)
    losses = _losses(reader, scope).query("hookpoint == @hookpoint").set_index("inference")
    found = losses.reindex(table["inference"]).reset_index(drop=True)
    mean = {f"ce_{loss}": found[loss] / found["predictions"] for loss in _LOSSES}
    denominator = found["zero"] - found["model"]
    recovered = ((found["zero"] - found["spliced"]) / denominator).where(denominator > 0)
    table = table.assign(loss_recovered=recovered, kl=found["kl"] / found["predictions"], **mean)
    return table.assign(predictions=found["predictions"].fillna(0).astype(np.int64))


def _cut(reader: Reader, hookpoint: str, scope: Scope, inference: int | None) -> int:
    most = reader.experiment.saes[hookpoint].most
    if most is None:
        return 0
    condition, given = in_scope(scope), {"hookpoint": hookpoint, "most": most}
    if inference is not None:
        condition, given = f"{condition} AND inference = $inference", given | {"inference": inference}
    sql = f"""
        SELECT count(*) AS cut FROM token_latents
        WHERE hookpoint = $hookpoint AND len(features) >= $most AND {condition}
    """
    return sum(reader.query(sql, given)["cut"].tolist())


def _losses(reader: Reader, scope: Scope, inference: int | None = None) -> pd.DataFrame:
    """Sums of −log p over the predictions in scope, and of the divergence: hookpoint, inference, predictions, model,
    spliced, zero, kl; a row for each hookpoint of each inference that has any."""
    condition = in_scope(scope)
    if inference is not None:
        check_inference(reader, inference)
        condition += " AND inference = $inference"
    sql = f"""
        SELECT hookpoint::VARCHAR AS hookpoint, inference, count(*) AS predictions, -sum(logprob::DOUBLE) AS model,
            -sum(spliced_logprob::DOUBLE) AS spliced, -sum(zeroed_logprob::DOUBLE) AS zero, sum(kl::DOUBLE) AS kl
        FROM fidelity WHERE logprob IS NOT NULL AND {condition}
        GROUP BY fidelity.hookpoint, inference ORDER BY fidelity.hookpoint, inference
    """
    return reader.query(sql, {} if inference is None else {"inference": inference})


def _fidelity(losses: pd.DataFrame) -> dict[str, float | int | None]:
    """The measured figures of one hookpoint."""
    predictions = sum(losses["predictions"].tolist())
    sums = losses[list(_LOSSES)].to_numpy(np.float64)
    model, spliced, zero = sums.sum(axis=0)
    low, high = _interval(sums, losses["problem"].to_numpy(np.int64))
    return {
        "loss_recovered": (zero - spliced) / (zero - model) if zero > model else np.nan,
        "low": low,
        "high": high,
        "kl": sum(losses["kl"].tolist()) / predictions if predictions else np.nan,
        "predictions": predictions,
        "inferences": len(losses),
        **{
            f"ce_{loss}": total / predictions if predictions else np.nan
            for loss, total in zip(_LOSSES, (model, spliced, zero), strict=True)
        },
    }


def _interval(sums: NDArray[np.float64], problems: NDArray[np.int64]) -> tuple[float, float]:
    """The 95 % interval of loss recovered from sums of CE [inferences, (model, spliced, zero)], drawn with one seed."""
    if len(np.unique(problems)) < FEWEST:
        return np.nan, np.nan
    model, spliced, zero = (draws_of(problems) @ sums).T
    if np.any(zero <= model):
        return np.nan, np.nan
    return ends((zero - spliced) / (zero - model))

"""What the browser needs to know of one trace: tables, packed into a JSON object."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from kthink_core.store.scopes import SEGMENTS_OF, Scope
from kthink_core.ui.view.permalink import BASES, MOST_FEATURES, SHADES, STEPS

Packed = dict[str, str]
"""`dtype` (uint8, uint16, uint32 or float32) and `base64` of the little-endian values: half the size of JSON numbers,
and read in a moment."""

ALONE: dict[str, str] = dict(zip(BASES, ("this trace", "whole experiment"), strict=True))
"""What an activation is divided by the maximum of, in words."""


def payload(
    trace: str,
    tokens: pd.DataFrame,
    tracks: pd.DataFrame,
    hover: pd.DataFrame,
    ranked: pd.DataFrame,
    *,
    alternatives: pd.DataFrame | None = None,
    hookpoint: str,
    features: Sequence[int],
    maxima: Mapping[int, float],
    labels: Mapping[int, str],
    scope: Scope,
    span: tuple[int, int] | None,
    position: int | None,
    marked: Sequence[int],
    verdict: str | None,
    standing: pd.DataFrame | None = None,
    lines: Mapping[int, str] | None = None,
    basis: str = BASES[0],
    locked: int | None = None,
    shade: str = SHADES[0],
    grain: str = STEPS[0],
    grains: Sequence[str] = (),
    outline: pd.DataFrame | None = None,
    sought: int | None = None,
    shared: Mapping[int, float] | None = None,
    bases: Mapping[str, str] = ALONE,
    branches: bool = False,
    visit: int = 0,
    last: int | None = None,
) -> dict[str, Any]:
    """Everything as plain values; texts stay as they are, the browser sets them as text. Arguments as for `draw`.

    By position: `texts`, `ids`, `probabilities` (NaN where none), and `hover`: `counts` of entries, then `features` and
    `activations` of all positions end to end. By feature: `tracks`: `features`, `counts`, then `positions` and
    `activations` end to end. `alternatives`: see `_alternatives`; `outline`: see `_outline`. `bands` are runs of one
    segment; `counts` says whether the scope counts them.
    """
    hover = hover.sort_values(["position", "activation", "feature"], ascending=[True, False, True], kind="stable")
    tracks = tracks.sort_values(["feature", "position"], kind="stable")
    tracked, positions = np.unique(tracks["feature"].to_numpy(np.int64), return_counts=True)
    length = len(tokens)
    marked_span = None if span is None or span[0] >= length else [span[0], min(span[1], length - 1)]
    return {
        "trace": trace,
        "hookpoint": hookpoint,
        "last": last,
        "scope": scope,
        "texts": tokens["text"].tolist(),
        "bands": [
            {"segment": segment, "tokens": len(list(run)), "counts": segment in SEGMENTS_OF[scope]}
            for segment, run in groupby(tokens["segment"].tolist())
        ],
        "ids": integers(tokens["token_id"]),
        "probabilities": floats(np.exp(tokens["logprob"].to_numpy(np.float64, na_value=np.nan))),
        "hover": {
            "counts": integers(np.bincount(hover["position"].to_numpy(np.int64), minlength=length)[:length]),
            "features": integers(hover["feature"]),
            "activations": floats(hover["activation"]),
        },
        "tracks": {
            "features": tracked.tolist(),
            "counts": positions.tolist(),
            "positions": integers(tracks["position"]),
            "activations": floats(tracks["activation"]),
        },
        "alternatives": _alternatives(alternatives, length),
        "ranked": [
            {"feature": int(feature), "maximum": float(maximum), "share": float(share)}
            for feature, maximum, share in zip(
                ranked["feature"], ranked["max_activation"], ranked["share"], strict=True
            )
        ],
        "features": [int(feature) for feature in dict.fromkeys(features)][:MOST_FEATURES],
        "most": MOST_FEATURES,
        "maxima": {str(feature): float(maximum) for feature, maximum in maxima.items()},
        "labels": {str(feature): label for feature, label in labels.items()},
        "span": marked_span,
        "standing": None if standing is None or marked_span is None else _standing(standing, marked_span),
        "lines": {str(feature): line for feature, line in (lines or {}).items()},
        "position": None if position is None or position >= length else position,
        "visit": visit,
        "marked": [int(position) for position in marked if position < length],
        "verdict": verdict,
        "basis": basis,
        "locked": locked,
        "shade": shade,
        "grain": grain,
        "grains": list(grains),
        "outline": _outline(outline),
        "sought": sought,
        "shared": {str(feature): float(maximum) for feature, maximum in (shared or {}).items()},
        "bases": dict(bases),
        "branches": branches,
    }


_NAT = 1000
"""Logarithms are sent as whole thousandths of a nat: two bytes each, up to 65 nats, exact to a thousandth part of p."""


def _alternatives(table: pd.DataFrame | None, length: int) -> dict[str, Any] | None:
    """`counts` and `entropies` by position, of all positions end to end `named` (indices into `ids` and `texts`: each
    token is sent once) and `surprises`, −ln p. None where none are known."""
    if table is None or table.empty:
        return None
    table = pd.DataFrame(table.loc[table["position"] < length]).sort_values(["position", "rank"], kind="stable")
    ids, first, named = np.unique(table["token_id"].to_numpy(np.int64), return_index=True, return_inverse=True)
    positions = table["position"].to_numpy(np.int64)
    entropies = np.zeros(length)
    entropies[positions] = table["entropy"].to_numpy(np.float64)
    return {
        "counts": integers(np.bincount(positions, minlength=length)),
        "entropies": integers(_thousandths(entropies)),
        "named": integers(named),
        "surprises": integers(_thousandths(-table["logprob"].to_numpy(np.float64))),
        "ids": integers(ids),
        "texts": table["text"].iloc[first].tolist(),
    }


def _thousandths(nats: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.rint(nats * _NAT), 0, 2**16 - 1)


def _outline(table: pd.DataFrame | None) -> dict[str, Any] | None:
    """By step: `firsts`, where it begins; `counts` of features that stand out in it. Of all steps end to end those
    `features`, with the `positions` at which they fire there, `lifts`, and the ends of their intervals, `lows` and
    `highs`."""
    if table is None:
        return None
    found = pd.DataFrame(table.loc[table["feature"].notna()])
    firsts = table.drop_duplicates("step")["first"]
    return {
        "firsts": integers(firsts),
        "counts": integers(np.bincount(found["step"].to_numpy(np.int64), minlength=len(firsts))),
        "features": integers(found["feature"]),
        "positions": integers(found["positions"]),
        "lifts": floats(found["lift"]),
        "lows": floats(found["lift_low"]),
        "highs": floats(found["lift_high"]),
    }


def _standing(table: pd.DataFrame, span: list[int]) -> dict[str, Any]:
    """What stands out in a span, and in which."""
    names = {"feature": "feature", "positions": "positions", "lift": "lift", "lift_low": "low", "lift_high": "high"}
    rows = table.filter(items=list(names)).rename(columns=names)
    return {"span": span, "rows": rows.to_dict("records")}


def integers(values: ArrayLike) -> Packed:
    """Counts, ids or positions in the smallest type that holds them."""
    wide = np.asarray(values, np.int64)
    return _pack(wide.astype(np.min_scalar_type(wide.max(initial=0)).newbyteorder("<")))


def floats(values: ArrayLike) -> Packed:
    """Activations as they are stored."""
    return _pack(np.asarray(values, "<f4"))


def _pack(values: NDArray[Any]) -> Packed:
    return {"dtype": values.dtype.name, "base64": b64encode(values.tobytes()).decode("ascii")}

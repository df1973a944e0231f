"""What stands out in a span of a trace: how many times as often a feature fires in it as in the rest, and how sure."""

from __future__ import annotations

import numpy as np
import pandas as pd

_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution: intervals are of 95 %."""
_SHORT = 4
"""Spans of fewer positions have no room for a feature to fire again."""


def standing_out(counts: pd.DataFrame, top: int, of: str | None = None) -> pd.DataFrame:
    """The `top` features that stand out most: feature, positions, span_size, share, mean_activation, max_activation,
    rest_share, lift, lift_low, lift_high; by lift_low, then by max_activation, then by the smaller feature.

    `counts` has a row a feature that fires in the span: feature, positions (at which it fires in the span), rest (the
    same outside of it), span_size, rest_size (how many positions there are), mean_activation, max_activation (both over
    its positions in the span).

    positions p of n in the span, rest r of m: share p / n; rest_share r / m, missing where there is no rest; lift
    ((p + ½) / (n + 1)) / ((r + ½) / (m + 1)): half a position is added to each of the four counts, so that what is
    active nowhere else is finite (Anscombe 1956, Biometrika 43:461). lift_low and lift_high are the ends of its 95 %
    interval, lift · exp(∓1.96 s) with s² = 1/(p + ½) − 1/(n + 1) + 1/(r + ½) − 1/(m + 1): that of Katz, Baptista, Azen
    and Pike (1978, Biometrics 34:469) with these halves. It takes positions for independent draws, which those of a
    text are not, and knows nothing of how many features were looked at: a guide to the eye, not a test.

    The lower end comes first, since a lift alone puts features that fire once by chance on top. Those that fire once in
    a span of four or more are left out: of thousands that are rare, some fire in any span.

    `of` names one more column, which tells spans of one trace apart: the answer has it, too, and the `top` features of
    each span, by the span.
    """
    spans = [] if of is None else [of]
    counts = counts.loc[(counts["positions"] > 1) | (counts["span_size"] < _SHORT), :]
    positions, rest, span_size, rest_size = (
        counts[name].to_numpy(np.float64) for name in ("positions", "rest", "span_size", "rest_size")
    )
    lift = (2 * positions + 1) * (rest_size + 1) / ((span_size + 1) * (2 * rest + 1))
    variance = 2 / (2 * positions + 1) - 1 / (span_size + 1) + 2 / (2 * rest + 1) - 1 / (rest_size + 1)
    reach = np.exp(_Z * np.sqrt(variance))
    found = pd.DataFrame(
        {name: counts[name] for name in spans}
        | {
            "feature": counts["feature"],
            "positions": counts["positions"],
            "span_size": counts["span_size"],
            "share": positions / span_size,
            "mean_activation": counts["mean_activation"],
            "max_activation": counts["max_activation"],
            "rest_share": np.divide(rest, rest_size, out=np.full_like(rest, np.nan), where=rest_size > 0),
            "lift": lift,
            "lift_low": lift / reach,
            "lift_high": lift * reach,
        }
    )
    # Rounded, equal counts are equal wherever they stand in the arrays.
    order = found.assign(lift_low=found["lift_low"].round(9)).sort_values(
        [*spans, "lift_low", "max_activation", "feature"], ascending=[*(True for _ in spans), False, False, True]
    )
    found = found.loc[order.index]
    return (found.groupby(of, sort=False) if of else found).head(top).reset_index(drop=True)

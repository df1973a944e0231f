"""The figures that sampling touches: in how many inferences features are relevant, and what such counts speak for."""

from __future__ import annotations

import pandas as pd
from scipy.stats import binomtest, false_discovery_control, fisher_exact

from kthink_core import queries
from kthink_core.reproduction.published import Published
from kthink_core.store.reader import Reader

CONFIDENCE = 0.95


def count_figures(published: Published, reader: Reader) -> pd.DataFrame:
    """One row a count: hookpoint, feature, published, of, low, high, found, found_of, found_low, found_high, p, q.

    low and high: the range of the share in all such inferences that a count speaks for, 95 %, exact binomial (Clopper
    and Pearson 1934: scipy.stats.binomtest); p: Fisher's exact test that both counts have one share; q: p after
    Benjamini and Hochberg over the rows. Inferences count as independent: each is another problem.
    """
    rows = []
    for count in published.counts:
        found = _relevant_in(reader, count.hookpoint, count.feature)
        sides = ((count.inferences, published.of), (found, reader.inferences))
        _, p = fisher_exact([[k, n - k] for k, n in sides])
        (low, high), (found_low, found_high) = (binomial_range(k, n) for k, n in sides)
        rows.append((count.hookpoint, count.feature, *sides[0], low, high, *sides[1], found_low, found_high, p))
    names = ["hookpoint", "feature", "published", "of", "low", "high", "found", "found_of", "found_low", "found_high"]
    table = pd.DataFrame(rows, columns=[*names, "p"])
    return table.assign(q=false_discovery_control(table["p"]) if len(table) else [])


def binomial_range(count: int, of: int) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share, 95 %."""
    low, high = binomtest(count, of).proportion_ci(CONFIDENCE, "exact")
    return float(low), float(high)


def _relevant_in(reader: Reader, hookpoint: str, feature: int) -> int:
    table = queries.feature_table(reader, hookpoint, features=(feature,))
    return int(table["inferences"].iloc[0]) if len(table) else 0

"""Is a label true? Its pattern is a claim about where the feature fires, tested on inferences that are held out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kthink_core import signs
from kthink_core.evidence.bootstrap import draws_of, ends, problems_of
from kthink_core.evidence.pattern import Claim, Span, compiled, spans
from kthink_core.queries.checks import check_feature
from kthink_core.queries.fragments import activations_of_feature
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import SEGMENTS_OF, Scope

HALVES = ("held out", "looked at")
"""Inferences of problems with odd numbers, and of those with even ones: of one problem, all are in one half."""
TENTHS = 10
_NEAR, _OTHER = TENTHS, TENTHS + 1
"""After the tenths: silent positions whose token the feature fires on elsewhere, and all other silent ones."""


class _Trace(NamedTuple):
    """The positions in scope of one inference."""

    problem: int
    kinds: NDArray[np.int64]
    """[positions] the tenth of the feature's range, `_NEAR` or `_OTHER`."""
    marked: NDArray[np.bool_]
    """[positions] whether a match of the pattern covers a part of the token."""


def label_test(reader: Reader, hookpoint: str, feature: int, pattern: str, scope: Scope = "generated") -> pd.DataFrame:
    """How well a pattern says where a feature fires: one row a half of the inferences, the held-out one first: half,
    inferences, positions, firing, marked, both, near_misses, near_marked, precision, recall, auroc, low, high.

    The pattern (pattern.py) is sought in the whole text of each trace, so that what it looks for around a place may lie
    out of scope; a position is marked where a match covers a part of its token. Who writes a pattern looks at contexts;
    what counts is the half that nobody needs to look at for it: the inferences of problems with odd numbers.

    firing: positions in scope at which the feature fires; both: those that are marked, too. precision: both / marked.
    recall: both / firing. near_misses: silent positions whose token the feature fires on elsewhere (near_marked of them
    are marked): what tells a context from a word. auroc: the area under the ROC curve of the mark, as of a yes or no,
    (true positive rate + true negative rate) / 2, over firing positions weighed equally by tenths of the feature's
    range (0 to its maximum in scope; empty tenths left out) and silent ones, half near misses, half others (as in the
    detection test of Paulo et al. 2024, arXiv 2410.13928, but over all positions instead of a sample): ½ is chance.
    low and high are the 95 % interval of that by bootstrap over problems (1,000 resamples, seeded); null where a half
    has fewer than two. A figure without anything to divide by is null.

    Raises UnknownName, OutOfRange, BadValue.
    """
    check_feature(reader, hookpoint, feature)
    traces = list(_traces(reader, hookpoint, feature, compiled(pattern), scope))
    return pd.DataFrame(
        [
            _row(half, [trace for trace in traces if trace.problem % 2 == odd])
            for half, odd in zip(HALVES, (1, 0), strict=True)
        ]
    )


def _traces(reader: Reader, hookpoint: str, feature: int, claim: Claim, scope: Scope) -> Iterator[_Trace]:
    tokens = reader.query(
        "SELECT inference, position, token_id, text, segment FROM tokens ORDER BY inference, position"
    )
    fired = reader.query(activations_of_feature(scope), {"hookpoint": hookpoint, "feature": feature})
    tokens = tokens.merge(fired, on=["inference", "position"], how="left").fillna({"activation": 0})
    activations, ids = tokens["activation"].to_numpy(np.float64), tokens["token_id"].to_numpy()
    most = activations.max(initial=0)
    kinds = np.where(np.isin(ids, np.unique(ids[activations > 0])), _NEAR, _OTHER)
    if most > 0:
        tenths = np.minimum((activations / most * TENTHS).astype(np.int64), TENTHS - 1)
        kinds = np.where(activations > 0, tenths, kinds)
    counted = tokens["segment"].isin(SEGMENTS_OF[scope]).to_numpy()
    texts = tokens["text"].to_numpy(object)
    places = tokens.groupby("inference").indices
    written = [signs.whole(texts[at].tolist()) for at in places.values()]  # each character at one token
    found = spans(claim, map("".join, written))
    problems = problems_of(reader, [int(str(inference)) for inference in places])
    for problem, at, whole, named in zip(problems.tolist(), places.values(), written, found, strict=True):
        kept = counted[at]
        marked = _covered([len(text) for text in whole], named)
        yield _Trace(problem, kinds[at][kept], marked[kept])


def _covered(lengths: list[int], named: list[Span]) -> NDArray[np.bool_]:
    """[positions] which tokens of so many characters the spans cover a part of."""
    ends = np.cumsum(lengths)
    marked = np.zeros(len(lengths), bool)
    for first, end in named:
        marked[np.searchsorted(ends, first, side="right") : np.searchsorted(ends, end, side="left") + 1] = True
    return marked


def _row(half: str, traces: list[_Trace]) -> dict[str, object]:
    counts = np.zeros((len(traces), TENTHS + 2, 2), np.int64)  # [inferences, kinds, silent or marked]
    for index, trace in enumerate(traces):
        np.add.at(counts[index], (trace.kinds, trace.marked.astype(np.int64)), 1)
    whole = counts.sum(axis=0)
    firing, both = int(whole[:TENTHS].sum()), int(whole[:TENTHS, 1].sum())
    marked = int(whole[:, 1].sum())
    low, high = _interval(counts, np.array([trace.problem for trace in traces], np.int64))
    return {
        "half": half, "inferences": len(traces), "positions": int(whole.sum()), "firing": firing, "marked": marked,
        "both": both, "near_misses": int(whole[_NEAR].sum()), "near_marked": int(whole[_NEAR, 1]),
        "precision": both / marked if marked else np.nan, "recall": both / firing if firing else np.nan,
        "auroc": float(_areas(whole[None])[0]), "low": low, "high": high,
    }  # fmt: skip


def _areas(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """[…] from […, kinds, 2]: see `label_test`; NaN where the feature is never silent or never fires."""
    sizes = counts.sum(axis=-1)
    rates = np.divide(counts[..., 1], sizes, out=np.full(sizes.shape, np.nan), where=sizes > 0)
    with np.errstate(invalid="ignore"):
        hits = np.nansum(rates[..., :TENTHS], axis=-1) / (sizes[..., :TENTHS] > 0).sum(axis=-1)
        alarms = np.nansum(rates[..., TENTHS:], axis=-1) / (sizes[..., TENTHS:] > 0).sum(axis=-1)
    return (hits + 1 - alarms) / 2


def _interval(counts: NDArray[np.int64], problems: NDArray[np.int64]) -> tuple[float, float]:
    """Of the area, by resampling problems."""
    if len(np.unique(problems)) < 2:
        return np.nan, np.nan
    return ends(_areas(np.tensordot(draws_of(problems), counts, axes=1)))

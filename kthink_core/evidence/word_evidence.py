"""What a feature does at the words that a ReasonScore counts: how active it is at each, and where."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kthink_core.evidence import vocabulary as words
from kthink_core.evidence.matches import WINDOW, Traces, Window, find, positive, read_traces
from kthink_core.queries.checks import check_feature, check_top
from kthink_core.queries.fragments import activations_of_feature
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

REACH = 12
"""Of two places of a word, in one inference, that are less than twice as far apart only the stronger one is shown."""


def word_activations(
    reader: Reader,
    hookpoint: str,
    feature: int,
    scope: Scope = "generated",
    vocabulary: tuple[str, ...] = words.DEFAULT,
    window: Window = WINDOW,
) -> pd.DataFrame:
    """How active a feature is around each word, in the vocabulary's order: word, positions, active, mean_activation,
    share.

    positions: those of the scope that are positive for the word, see `reason_score`; active: those of them at which the
    feature is; mean_activation: m_g over all of them, zeros count, null where there are none; share: p_g, the word's
    part in the sum of these means, null where that is 0. Raises as `reason_score`, and OutOfRange for the feature.
    """
    check_feature(reader, hookpoint, feature)
    asked, traces, within = _within(reader, scope, vocabulary, window)
    own = _activations(reader, hookpoint, feature, scope, traces)
    positions, sums = within.sum(axis=1), within @ own
    means = np.divide(sums, positions, out=np.full(len(sums), np.nan), where=positions > 0)
    whole = np.nansum(means)
    return pd.DataFrame(
        {
            "word": asked,
            "positions": positions,
            "active": (within & (own > 0)).sum(axis=1),
            "mean_activation": means,
            "share": np.nan_to_num(means) / whole if whole else np.nan,
        }
    )


def word_places(
    reader: Reader,
    hookpoint: str,
    feature: int,
    scope: Scope = "generated",
    vocabulary: tuple[str, ...] = words.DEFAULT,
    window: Window = WINDOW,
    each: int = 2,
) -> pd.DataFrame:
    """The places around each word at which a feature is most active, up to `each`: band (the word), inference,
    position, activation, times, alike; what `queries.contexts` answers of a feature's own.

    times: at how many positions within `REACH` of the place, in scope, the feature is active; alike: 0. By word, then
    by activation, largest first, then inference and position. Raises as `word_activations`.
    """
    check_feature(reader, hookpoint, feature)
    check_top(each, "each")
    asked, traces, within = _within(reader, scope, vocabulary, window)
    own = _activations(reader, hookpoint, feature, scope, traces)
    fires, rows = np.flatnonzero(own), []
    for word, row in zip(asked, within, strict=True):
        taken: list[int] = []
        places = np.flatnonzero(row & (own > 0))
        for place in places[np.argsort(-own[places], kind="stable")].tolist():
            if all(_apart(traces, place, other) for other in taken):
                taken.append(place)
            if len(taken) == each:
                break
        for place in taken:
            inference = int(traces.inference_at(np.array(place)))
            begin, end = traces.starts[inference], traces.starts[inference + 1]
            around = (fires >= max(begin, place - REACH)) & (fires < min(end, place + REACH + 1))
            at = int(traces.inferences[inference]), int(place - begin)
            rows.append((word, *at, float(own[place]), int(around.sum()), 0))
    return pd.DataFrame(rows, columns=["band", "inference", "position", "activation", "times", "alike"])


def _apart(traces: Traces, one: int, other: int) -> bool:
    inferences = traces.inference_at(np.array([one, other])).tolist()
    return inferences[0] != inferences[1] or abs(one - other) >= 2 * REACH


def _within(
    reader: Reader, scope: Scope, vocabulary: tuple[str, ...], window: Window
) -> tuple[list[str], Traces, np.ndarray]:
    """The words, the traces, and [words, places] what is positive for each."""
    asked = words.groups(vocabulary)
    traces = read_traces(reader, scope)
    return [group.word for group in asked], traces, positive(traces, find(traces, asked), window)


def _activations(reader: Reader, hookpoint: str, feature: int, scope: Scope, traces: Traces) -> np.ndarray:
    """[places] of the feature in scope, 0 where it is silent."""
    found = reader.query(activations_of_feature(scope), {"hookpoint": hookpoint, "feature": feature})
    own = np.zeros(len(traces.token_ids))
    own[traces.places(found["inference"].to_numpy(), found["position"].to_numpy())] = found["activation"]
    return own

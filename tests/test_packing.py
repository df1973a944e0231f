"""A transcript's tables arrive in order, however the rows came."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kthink_core.ui import transcript
from tests.test_transcript import unpacked

TOKENS = pd.DataFrame({"text": ["a", "b", "c"], "token_id": [1, 2, 3], "segment": ["think"] * 3, "logprob": [0.0] * 3})
NONE = pd.DataFrame({"feature": [], "max_activation": [], "share": []})


def rows(*given: tuple[int, int, float]) -> pd.DataFrame:
    """Position, feature, activation."""
    kinds = {"position": np.int32, "feature": np.int32, "activation": np.float32}
    return pd.DataFrame(list(given), columns=list(kinds)).astype(kinds)


def payload(tracks: pd.DataFrame, hover: pd.DataFrame) -> dict:
    return transcript.payload(
        "one", TOKENS, tracks, hover, NONE, hookpoint="h", features=(), maxima={}, labels={}, scope="generated",
        span=None, position=None, marked=(0, 2, 3), verdict=None,
    )  # fmt: skip


def test_features_of_a_token_come_by_activation_equal_ones_by_the_smaller() -> None:
    hover = payload(rows(), rows((2, 5, 1), (0, 9, 2), (0, 4, 2), (2, 8, 3), (0, 7, 6)))["hover"]
    assert unpacked(hover["counts"]) == [3, 0, 2]
    assert unpacked(hover["features"]) == [7, 4, 9, 8, 5]
    assert unpacked(hover["activations"]) == [6, 2, 2, 3, 1]


def test_tracks_come_by_feature_then_position() -> None:
    tracks = payload(rows((2, 5, 1), (0, 9, 2), (1, 5, 4), (0, 5, 3)), rows())["tracks"]
    assert (tracks["features"], tracks["counts"]) == ([5, 9], [3, 1])
    assert unpacked(tracks["positions"]) == [0, 1, 2, 0]
    assert unpacked(tracks["activations"]) == [3, 4, 1, 2]


def test_positions_beyond_the_trace_have_no_count() -> None:
    """As of a live trace whose latents came before its tokens."""
    data = payload(rows(), rows((1, 5, 1), (3, 5, 1), (4, 6, 2)))
    assert unpacked(data["hover"]["counts"]) == [0, 1, 0]
    assert data["marked"] == [0, 2]

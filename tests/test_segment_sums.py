"""Sums over a whole experiment against loops over its positions."""

from __future__ import annotations

import numpy as np
import pytest

from kthink_core.store.segment_sums import SegmentSums
from tests.store_samples import HOOKPOINTS, sample_experiment, sample_inferences


def test_sums_are_those_of_all_positions_of_a_segment() -> None:
    drawn = sample_inferences(sample_experiment())
    sums = SegmentSums()
    for inference in drawn:
        sums.add(inference)
    rows = sums.table(HOOKPOINTS).to_pylist()
    assert [row["hookpoint"] for row in rows] == [name for name in HOOKPOINTS for _ in range(3)]
    assert {(row["hookpoint"], row["segment"]) for row in rows} == {
        (name, segment) for name in HOOKPOINTS for segment in ("prompt", "think", "answer")
    }
    for row in rows:
        positions, error, norm, vector = 0, 0.0, 0.0, np.zeros(5)
        for inference in drawn:
            encoding = inference.encodings[row["hookpoint"]]
            for position, segment in enumerate(inference.segments):
                if segment == row["segment"]:
                    positions += 1
                    error += float(encoding.squared_error[position])
                    norm += float(encoding.squared_norm[position])
            vector += encoding.vector_sums.get(row["segment"], np.zeros(5))
        assert row["positions"] == positions
        assert (row["squared_error"], row["squared_norm"]) == pytest.approx((error, norm))
        assert row["sum"] == pytest.approx(vector.tolist())
    assert SegmentSums().table(HOOKPOINTS).num_rows == 0

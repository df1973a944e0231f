"""What the reconstruction of a whole experiment adds up to, by hookpoint and segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kthink_core.prompts import Segment
from kthink_core.records import Inference


@dataclass
class _Sum:
    """Over the positions of one segment at one hookpoint: ‖x − x̂‖², ‖x‖² and x, captured vectors x."""

    positions: int
    squared_error: float
    squared_norm: float
    vector: NDArray[np.float64]


class SegmentSums:
    """Adds up inferences in float64, one after the other."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, Segment], _Sum] = {}

    def add(self, inference: Inference) -> None:
        labels = np.array(inference.segments)
        at = {segment: labels == segment for segment in dict.fromkeys(inference.segments)}
        for hookpoint, encoding in inference.encodings.items():
            for segment, vector in encoding.vector_sums.items():
                total = self._sums.setdefault((hookpoint, segment), _Sum(0, 0.0, 0.0, np.zeros_like(vector)))
                total.positions += int(at[segment].sum())
                total.squared_error += float(encoding.squared_error[at[segment]].sum(dtype=np.float64))
                total.squared_norm += float(encoding.squared_norm[at[segment]].sum(dtype=np.float64))
                total.vector += vector

    def table(self, hookpoints: Sequence[str]) -> pa.Table:
        """The rows of the table `segment_sums`, by hookpoint in the order given."""
        found = sorted(self._sums.items(), key=lambda item: hookpoints.index(item[0][0]))
        return pa.table(
            {
                "hookpoint": pa.array([hookpoint for (hookpoint, _), _ in found], pa.string()),
                "segment": pa.array([segment for (_, segment), _ in found], pa.string()),
                "positions": pa.array([total.positions for _, total in found], pa.int64()),
                "squared_error": pa.array([total.squared_error for _, total in found], pa.float64(), from_pandas=True),
                "squared_norm": pa.array([total.squared_norm for _, total in found], pa.float64(), from_pandas=True),
                "sum": pa.array([total.vector for _, total in found], pa.list_(pa.float64())),
            }
        )

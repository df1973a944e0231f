"""Which features are active anywhere in some inferences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kthink_core.config import SaeShape
from kthink_core.records import Inference


class ActiveFeatures:
    """By hookpoint."""

    def __init__(self, saes: Mapping[str, SaeShape]) -> None:
        self._active = {name: np.zeros(sae.num_latents, bool) for name, sae in saes.items()}

    def count(self, inference: Inference) -> None:
        """Those of one more inference."""
        for hookpoint, encoding in inference.encodings.items():
            self._active[hookpoint][encoding.features[encoding.activations > 0]] = True

    def numbers(self) -> dict[str, NDArray[np.int32]]:
        """Ascending."""
        return {name: np.flatnonzero(active).astype(np.int32) for name, active in self._active.items()}

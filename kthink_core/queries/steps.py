"""The outline of an inference."""

from __future__ import annotations

import pandas as pd

from kthink_core import outline
from kthink_core.outline import GRAINS, Grain
from kthink_core.queries.checks import check_choice, check_hookpoint, check_inference, check_top
from kthink_core.queries.fragments import activations_of_inference
from kthink_core.store.reader import Reader


def steps(reader: Reader, inference: int, hookpoint: str, grain: Grain = "sentence", top: int = 3) -> pd.DataFrame:
    """The steps of an inference, in order, each with the `top` features that stand out most in it: step (from 0),
    grain, segment, first, last (positions, both its own), tokens, text, rank (from 1), feature, positions,
    mean_activation, max_activation, lift, lift_low, lift_high.

    A step is a `sentence`, a `paragraph` (up to an empty line) or a `turn`, which begins with a sentence that begins
    with one of `outline.TURNS` (wait, hmm, but, alternatively, let me, …); none crosses from one segment into the next.
    What stands out is as `span_features` tells it of the same span: against every other position of the inference,
    prompt included, the largest lower end of the lift's interval first. A step in which no feature stands out has one
    row without one. Raises UnknownName for a grain that does not exist.
    """
    check_inference(reader, inference)
    check_hookpoint(reader, hookpoint)
    check_choice("grain", grain, GRAINS)
    check_top(top)
    asked = {"inference": inference}
    tokens = reader.query("SELECT text, segment FROM tokens WHERE inference = $inference ORDER BY position", asked)
    latents = reader.query(activations_of_inference("all"), asked | {"hookpoint": hookpoint})
    return outline.steps(tokens, latents, grain, top)

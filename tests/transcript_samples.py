"""Traces of any length with features that fire where a test can reckon them: feature f at every position that f + 2
divides, more strongly the further on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from kthink_core.store.scopes import SEGMENTS_OF, Scope
from tests.app_samples import PAYLOADS

LATENTS = 30
SILENT = 40
"""A feature that fires nowhere."""
WORDS = (
    "Okay", ",", " so", " Janet", " has", " 48", " clips", ".", " Wait", ",", " maybe", " she", " sold", " half", " of",
    " that", "   ", " in", " May", ".", "\n\n", " So", " 48", "/", "2", " =", " 24", "\n",
)  # fmt: skip
MORE_PAYLOADS = (
    *PAYLOADS, "\u200f\u05d0\u05d1", "e\u0301", "👨\u200d👩\u200d👧", "\u200d", "\U000e0041", "\r", "\t", "", "\u2028x",
    "</div>", "<style>*{display:none}</style>", "javascript:1", "\x1b[31m", "\ufeff", "</textarea><iframe>",
)  # fmt: skip
MAXIMA = {feature: 4.0 * (feature + 1) for feature in range(LATENTS)} | {SILENT: 0.0}


@dataclass(frozen=True)
class Case:
    length: int = 300
    texts: tuple[str, ...] = WORDS
    """Repeated to the length."""
    features: tuple[int, ...] = (3,)
    scope: Scope = "generated"
    span: tuple[int, int] | None = None
    position: int | None = None
    verdict: str | None = "right"
    grows: int = 7
    """Tokens that come at once in a live trace."""
    tracked: tuple[int, ...] = field(default_factory=lambda: (*range(20), SILENT))


CASES = {
    "small": Case(),
    "five": Case(features=(3, 5, 0, 7, 9), verdict="wrong: 12, not 24"),
    "marked": Case(span=(20, 30), position=290),
    "silent": Case(features=(SILENT,)),
    "untracked": Case(features=(3,), tracked=(3,)),
    "hostile": Case(length=30 + len(MORE_PAYLOADS), texts=("x",) * 25 + MORE_PAYLOADS + ("y",) * 5),
    "spread": Case(length=60, texts=("x", " \\xe2", "\\x88", "\\x9a", "2", "y"), span=(30, 35)),
    "newlines": Case(length=10_000, texts=("\n",)),
    "long": Case(length=20_000),
    "endless": Case(length=5_000, texts=("word", " and")),
    "live": Case(length=1, verdict=None),
    "empty": Case(length=0, features=(), verdict=None),
}


class Tables(NamedTuple):
    """As the queries answer them."""

    tokens: pd.DataFrame
    tracks: pd.DataFrame
    hover: pd.DataFrame
    ranked: pd.DataFrame


def activation(feature: int, position: int, length: int) -> float:
    """Of a feature at a position where it fires, as it is stored."""
    return float(np.float32((feature + 1) * (1 + position / max(length, 300))))


def fires(feature: int, length: int) -> list[int]:
    return [] if feature == SILENT else list(range(0, length, feature + 2))


def segments(length: int) -> list[str]:
    """The first 20 tokens are the prompt; the last fifth of a trace of 300 or more, the answer."""
    answer = length - length // 5 if length >= 300 else length
    return ["prompt" if at < 20 else "answer" if at >= answer else "think" for at in range(length)]


def sample(case: Case, length: int) -> Tables:
    at = np.arange(length)
    texts = [case.texts[position % len(case.texts)] for position in at]
    segment = segments(length)
    tokens = pd.DataFrame({
        "position": at,
        "token_id": 100 + at % len(case.texts),
        "text": texts,
        "segment": segment,
        "logprob": np.where(at < 20, np.nan, -0.5),
    })  # fmt: skip
    rows = [
        (feature, position, activation(feature, position, length))
        for feature in range(LATENTS)
        for position in fires(feature, length)
    ]
    everything = pd.DataFrame(rows, columns=["feature", "position", "activation"]).astype(
        {"feature": np.int32, "position": np.int32, "activation": np.float32}
    )
    hover = everything.sort_values(["position", "activation", "feature"], ascending=[True, False, True])
    inside = everything[np.isin(np.array(segment)[everything["position"]], SEGMENTS_OF[case.scope])]
    best = inside.groupby("feature")["activation"].agg(["max", "count"])
    best = best.sort_values("max", ascending=False).head(20).reset_index()
    counted = sum(one in SEGMENTS_OF[case.scope] for one in segment)
    return Tables(
        tokens,
        everything[everything["feature"].isin(case.tracked)],
        hover.groupby("position").head(8)[["position", "feature", "activation"]],
        pd.DataFrame(
            {
                "rank": range(1, len(best) + 1),
                "feature": best["feature"],
                "max_activation": best["max"],
                "share": best["count"] / max(counted, 1),
            }
        ),
    )

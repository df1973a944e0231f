"""The steps of a trace, and what stands out in each.

A step is a run of whole tokens; together the steps of a grain are all tokens, in order, and none crosses from one
segment into the next. A `sentence` is what `sentence_splitting` takes for one. A `paragraph` ends at an empty line. A
`turn` begins with a sentence that begins with one of `TURNS`. Special tokens are no words: they belong to the step
beside them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from kthink_core import signs
from kthink_core.lift import standing_out
from kthink_core.sentence_splitting import sentences

Grain = Literal["sentence", "paragraph", "turn"]
GRAINS: tuple[Grain, ...] = get_args(Grain)
TURNS = (
    "wait", "hold on", "hm", "hmm", "hmmm", "but", "however", "alternatively", "another", "actually", "maybe",
    "perhaps", "let me", "let us", "let's", "okay", "ok", "alright", "oh", "no,",
)  # fmt: skip
"""How a sentence begins, large or small, that takes a thought another way or up again."""
LEADS = ("and", "now", "so", "well", "yes")
"""One of these may stand before it: `Now, let me …`."""
COLUMNS = (
    "step", "grain", "segment", "first", "last", "tokens", "text", "rank", "feature", "positions", "mean_activation",
    "max_activation", "lift", "lift_low", "lift_high",
)  # fmt: skip

_NAMED: dict[str, Grain] = {grain: grain for grain in GRAINS}
_TURN = re.compile(rf"[\W_]*(?:(?:{'|'.join(LEADS)})\W+)?(?:{'|'.join(map(re.escape, TURNS))})(?!\w)", re.IGNORECASE)
_SPECIAL = re.compile(r"<[|｜].*[|｜]>|</?think>", re.DOTALL)
_KNOWN_OF_FEATURE = COLUMNS[COLUMNS.index("rank") :]


class Step(NamedTuple):
    """Positions of a step, both of them its own."""

    first: int
    last: int


def grain_of(name: str) -> Grain | None:
    """The grain of this name; None where there is none."""
    return _NAMED.get(name)


def cut(texts: Sequence[str], segments: Sequence[str], grain: Grain) -> list[Step]:
    """The steps of a whole trace. texts, segments: [positions]."""
    found, first = [], 0
    for _, run in groupby(segments):
        end = first + len(list(run))
        words = ["" if _SPECIAL.fullmatch(text) else text for text in texts[first:end]]
        found += [Step(first + step.first, first + step.last) for step in _joined(words, _BEGINS[grain])]
        first = end
    return found


def _joined(texts: Sequence[str], begins: Callable[[str, str], bool]) -> list[Step]:
    """Sentences put together, but for those that begin a step."""
    parts = [Step(*sentence) for sentence in sentences(texts)]
    said = ["".join(texts[part.first : part.last + 1]) for part in parts]
    found = parts[:1]
    for (before, text), part in zip(pairwise(said), parts[1:], strict=True):
        if begins(before, text):
            found.append(part)
        else:
            found[-1] = Step(found[-1].first, part.last)
    return found


def _after_empty_line(before: str, text: str) -> bool:
    blank = before[len(before.rstrip()) :] + text[: len(text) - len(text.lstrip())]
    return blank.count("\n") > 1


_BEGINS: dict[Grain, Callable[[str, str], bool]] = {
    "sentence": lambda before, text: True,
    "paragraph": _after_empty_line,
    "turn": lambda before, text: _TURN.match(text) is not None,
}
"""Whether a sentence, the second, begins a step; the first is the one before it."""


def steps(tokens: pd.DataFrame, latents: pd.DataFrame, grain: Grain, top: int) -> pd.DataFrame:
    """`COLUMNS`: the steps of a trace, in order, each with the `top` features that stand out most in it against the
    rest of the trace, as `lift.standing_out` has it; a step in which none does has one row without a feature.

    tokens: text and segment, [positions], from position 0; latents: position, feature, activation (> 0), of all that
    fire.
    """
    texts, segments = tokens["text"].tolist(), tokens["segment"].tolist()
    spans = cut(texts, segments, grain)
    told = pd.DataFrame(
        {
            "step": range(len(spans)),
            "grain": grain,
            "segment": [segments[span.first] for span in spans],
            "first": [span.first for span in spans],
            "last": [span.last for span in spans],
            "tokens": [span.last - span.first + 1 for span in spans],
            "text": ["".join(signs.whole(texts[span.first : span.last + 1])) for span in spans],
        }
    )
    found = standing_out(_counts(latents, told, len(texts)), top, of="step")
    found = found.assign(rank=found.groupby("step").cumcount() + 1).filter(items=["step", *_KNOWN_OF_FEATURE])
    whole = dict.fromkeys(("rank", "feature", "positions"), "Int64")
    return told.merge(found, on="step", how="left").astype(whole).filter(items=list(COLUMNS))


def _counts(latents: pd.DataFrame, spans: pd.DataFrame, length: int) -> pd.DataFrame:
    """What `standing_out` wants to know of every feature in every step where it fires."""
    feature = latents["feature"].to_numpy(np.int64)
    step = np.searchsorted(spans["first"].to_numpy(np.int64), latents["position"].to_numpy(), side="right") - 1
    key = step * (feature.max(initial=0) + 1) + feature
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    step, feature = step[order][starts], feature[order]
    activation = latents["activation"].to_numpy(np.float64)[order]
    positions = np.diff(starts, append=len(order))
    rest = np.bincount(feature)[feature[starts]] - positions
    size = spans["tokens"].to_numpy(np.int64)[step]
    return pd.DataFrame(
        {
            "step": step,
            "feature": feature[starts],
            "positions": positions,
            "rest": rest,
            "span_size": size,
            "rest_size": length - size,
            "mean_activation": (np.add.reduceat(activation, starts) if len(starts) else activation) / positions,
            "max_activation": np.maximum.reduceat(activation, starts) if len(starts) else activation,
        }
    )

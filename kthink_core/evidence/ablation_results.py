"""What setting features of a trace to 0 has changed, as it is stored."""

from __future__ import annotations

import math

import pandas as pd

from kthink_core.errors import BadValue
from kthink_core.evidence.trace_studies import stored, whole_numbers
from kthink_core.queries.checks import check_feature
from kthink_core.queries.inference import transcript
from kthink_core.store.causal_studies import ABLATION, AblationStudy, FeatureEffect
from kthink_core.store.reader import Reader

ABLATIONS = (
    "inference", "hookpoint", "feature", "first", "last", "fires", "max_activation", "kl_sum", "kl_max", "kl_position",
    "change_sum", "change_min", "change_position",
)  # fmt: skip
_WHOLE = ("inference", "first", "last", "kl_position", "change_position")
EFFECTS = ("hookpoint", "feature", "first", "last", "position", "token_id", "text", "activation", "kl", "change")


def ablations(
    reader: Reader, inference: int | None = None, hookpoint: str | None = None, feature: int | None = None
) -> pd.DataFrame:
    """Stored ablations, the newest first: `ABLATIONS`. first, last: where it was set to 0, null everywhere; fires: at
    how many positions it fired there; kl in nats, change of the log-probability of what was written, each summed over
    later tokens, and at the token where it is largest, or falls furthest. Raises OutOfRange, UnknownName."""
    rows = [
        _ablated(study, effect)
        for study in stored(reader, ABLATION, AblationStudy, inference, hookpoint)[0]
        for effect in study.effects
        if feature in (None, effect.feature)
    ]
    return _table(rows)


def ablation_effects(reader: Reader, inference: int, hookpoint: str, feature: int) -> pd.DataFrame:
    """What stored ablations of a feature change, token by token, the newest first: `EFFECTS`; only the tokens behind
    the first position at which it was set to 0. Raises OutOfRange, UnknownName, BadValue where nothing is stored."""
    check_feature(reader, hookpoint, feature)
    tokens = transcript(reader, inference)
    parts = []
    for study in stored(reader, ABLATION, AblationStudy, inference, hookpoint)[0]:
        for effect in study.effects:
            if effect.feature == feature:
                first, last = study.question.span or (None, None)
                own = effects_table(tokens, effect).assign(hookpoint=hookpoint, feature=feature, first=first, last=last)
                parts.append(own.astype({"first": "Int64", "last": "Int64"}))
    if not parts:
        raise BadValue(f"inference {inference} has no ablation of feature {feature} of {hookpoint}: `ablate` makes one")
    return pd.concat(parts, ignore_index=True).filter(items=list(EFFECTS))


def effects_table(tokens: pd.DataFrame, effect: FeatureEffect) -> pd.DataFrame:
    """position, token_id, text, activation (of what was taken away; 0 elsewhere), kl, change: the tokens behind the
    first position ablated. `tokens`: as `queries.transcript` has them."""
    taken = dict(zip(effect.positions, effect.activations, strict=True))
    table = tokens[["position", "token_id", "text"]].assign(
        activation=[taken.get(position, 0.0) for position in range(len(tokens))], kl=effect.kl, change=effect.change
    )
    later = table["position"] > (effect.positions[0] if effect.positions else len(tokens))
    return table.loc[later].reset_index(drop=True)


def left_out(reader: Reader, inference: int | None = None, hookpoint: str | None = None, **_: object) -> list[str]:
    """A line for each stored ablation that does not count."""
    return stored(reader, ABLATION, AblationStudy, inference, hookpoint)[1]


def ablation_table(study: AblationStudy) -> pd.DataFrame:
    """`ABLATIONS` of one study."""
    rows = [_ablated(study, effect) for effect in study.effects]
    return _table(rows)


def _ablated(study: AblationStudy, effect: FeatureEffect) -> dict[str, object]:
    first, last = study.question.span or (None, None)
    most = max(range(study.trace.tokens), key=lambda at: effect.kl[at])
    least = min(range(study.trace.tokens), key=lambda at: effect.change[at])
    return {
        "inference": study.trace.inference,
        "hookpoint": study.question.hookpoint,
        "feature": effect.feature,
        "first": first,
        "last": last,
        "fires": len(effect.positions),
        "max_activation": max(effect.activations, default=0.0),
        "kl_sum": math.fsum(effect.kl),
        "kl_max": effect.kl[most],
        "kl_position": most if effect.positions else None,
        "change_sum": math.fsum(effect.change),
        "change_min": effect.change[least],
        "change_position": least if effect.positions else None,
    }


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    return whole_numbers(pd.DataFrame(rows, columns=list(ABLATIONS)), _WHOLE)

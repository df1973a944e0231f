"""Steering as it is asked for in words, and what can be refused of it before a model is loaded.

    HOOKPOINT:FEATURE=clamp:V|add:V|ablate[@START][@HOOKPOINT:FEATURE]

V is in units of activation, or `2x` for twice the feature's maximum in an experiment. START is the first generated
position steered, 0 unless given; the feature after a further @ is the one after whose first firing it begins.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kthink_core.config import Site
from kthink_core.errors import BadValue, short
from kthink_core.records import Action, Intervention, Trigger

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_FEATURE = r"(\w+(?:\.\w+)*):([0-9]{1,9})"
_OPTION = re.compile(
    rf"{_FEATURE}=(?:(clamp|add):({_NUMBER})(x?)|(ablate))(?:@([0-9]{{1,9}}))?(?:@{_FEATURE})?", re.ASCII
)
_FORM = "HOOKPOINT:FEATURE=clamp:V|add:V|ablate[@START][@HOOKPOINT:FEATURE], such as layers.6.mlp:767=clamp:2x@10"

LARGEST = 1e9
"""Strength, in units of activation, at which the squares of a vector's elements still fit into float32."""

Maximum = Callable[[str, int], float | None]
"""The largest activation of a feature, by hookpoint and feature; None where it never fires."""


class Asked(NamedTuple):
    """An intervention whose strength may still be a share of something."""

    intervention: Intervention
    scaled: bool = False
    """Whether its value is in units of the feature's maximum."""


def asked(text: str) -> Asked:
    """Read one. Raises BadValue."""
    found = _OPTION.fullmatch(text)
    if found is None:
        raise BadValue(f"--steer {short(text)}: write {_FORM}")
    hookpoint, feature, action, value, scaled, ablate, start, after, trigger = found.groups()
    kind: Action = "ablate" if ablate else ("clamp" if action == "clamp" else "add")
    amount = float(value or 0)
    if not math.isfinite(amount):
        raise BadValue(f"--steer {short(text)}: its strength is no finite number")
    waits = Trigger(after, int(trigger)) if after else None
    return Asked(Intervention(hookpoint, int(feature), kind, amount, int(start or 0), waits), bool(scaled))


def in_activations(wanted: Iterable[Asked], maximum: Maximum, where: str) -> tuple[Intervention, ...]:
    """Strengths in units of activation. Raises BadValue for a feature that has no maximum to scale by. `where`: what
    the maxima are of, for a reader."""
    found = []
    for one in wanted:
        done = one.intervention
        if one.scaled:
            largest = maximum(done.hookpoint, done.feature)
            if not largest:
                raise BadValue(
                    f"feature {done.feature} of {done.hookpoint} never fires in {where}: it has no maximum to scale "
                    "by; give its strength in units of activation"
                )
            done = Intervention(done.hookpoint, done.feature, done.action, done.value * largest, done.start, done.after)
        found.append(done)
    return tuple(found)


def check_interventions(interventions: Iterable[Intervention]) -> None:
    """Raises BadValue for what makes no sense whatever the model: a strength that is no number to reckon with, a
    negative activation, a feature steered twice."""
    taken: set[tuple[str, int]] = set()
    for done in interventions:
        feature, which = done.feature, (done.hookpoint, done.feature)
        if not abs(done.value) <= LARGEST:
            raise BadValue(
                f"feature {feature} steered by {done.value:g}: at most {LARGEST:g} either way, beyond it the model's "
                "numbers overflow"
            )
        if done.action == "clamp" and done.value < 0:
            raise BadValue(f"feature {feature} clamped to {done.value:g}: activations are never negative")
        if done.action == "ablate" and done.value != 0:
            raise BadValue(f"feature {feature} ablated to {done.value:g}: an ablated feature is 0; clamp it")
        if which in taken:
            raise BadValue(f"feature {feature} of {done.hookpoint} is steered twice: say once what is wanted of it")
        taken.add(which)


def check_steering(
    interventions: Iterable[Intervention], max_new_tokens: int, site: Site, *, at_residual: bool, flag: str
) -> None:
    """Raises BadValue for what acts on nothing, and for an MLP's SAE in the residual stream unless that is wanted.
    `flag`: how one says so."""
    for done in interventions:
        if done.start >= max_new_tokens:
            raise BadValue(
                f"feature {done.feature} steered from generated token {done.start} on: at most {max_new_tokens} are "
                f"generated, the last is number {max_new_tokens - 1}"
            )
        if site == "residual" and not at_residual and not _is_layer(done.hookpoint):
            raise BadValue(
                f"the SAE of {done.hookpoint} would steer the residual stream, which it was not trained on; {flag} "
                "does it nevertheless"
            )


def _is_layer(hookpoint: str) -> bool:
    """Whether a hookpoint is a whole layer, whose SAE was trained on a residual stream."""
    return hookpoint.rpartition(".")[2].isdigit()

"""What a link says of steering: the interventions, and how a run is sampled. Pure, as the rest of the link's parser.

    steer   HOOKPOINT_FEATURE_clamp_V | _add_V | _ablate, then _START, then _HOOKPOINT_FEATURE of a trigger; several
            with ~ between them. V ends in x where it is in units of the feature's maximum
    run     MODE_TEMPERATURE_TOP-P_MOST_SEED, then _bare without the instruction, then _special

A minus is written m, and no exponent has a plus: chat and mail programs change both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple, get_args

from kthink_core.errors import short
from kthink_core.live.api import MOST_STEERED
from kthink_core.prompts import Mode
from kthink_core.records import ACTIONS, Action, Intervention, Trigger
from kthink_core.steer_options import Asked

_BETWEEN, _PART = "~", "_"
_NUMBER = re.compile(r"m?[0-9]{1,18}(\.[0-9]{1,30})?(e-?[0-9]{1,3})?", re.ASCII)
_WHOLE = re.compile(r"m?[0-9]{1,18}", re.ASCII)
_NATURAL = re.compile(r"[0-9]{1,9}", re.ASCII)
_LONGEST = 500
"""Characters of one intervention that are looked at."""


class Run(NamedTuple):
    """How a run is sampled and its prompt sent; any finite number, so that what cannot be is shown and told."""

    mode: Mode
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    instruction: bool = True
    special: bool = False


def steer_text(asked: tuple[Asked, ...]) -> str:
    """As `steer` reads it."""
    return _BETWEEN.join(_one_text(one) for one in asked)


def run_text(run: Run) -> str:
    """As `run` reads it."""
    parts = [run.mode, *map(_signed, run[1:5])]
    return _PART.join([*parts, *(["bare"] if not run.instruction else []), *(["special"] if run.special else [])])


def steer(parameters: Mapping[str, str], latents: Mapping[str, int], problems: list[str]) -> tuple[Asked, ...]:
    """The interventions of a link, those of its SAEs' features. `latents`: number of features by hookpoint. Adds a line
    where some make no sense or are too many."""
    given = parameters.get("steer")
    if given is None:
        return ()
    parts = given[: MOST_STEERED * _LONGEST].split(_BETWEEN)
    read = {part: _one(part[:_LONGEST], latents) for part in parts}
    found = [one for part in parts if (one := read[part]) is not None]
    wrong = [part for part, one in read.items() if one is None]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        problems.append(
            f"The link's steer '{short(wrong[0])}'{more} is left out: {_why(wrong[0][:_LONGEST], latents)}."
        )
    elif len(found) > MOST_STEERED:
        problems.append(f"The link's steer has more than {MOST_STEERED} interventions: taking the first.")
    return tuple(found[:MOST_STEERED])


def run(parameters: Mapping[str, str], problems: list[str]) -> Run | None:
    """How a link has a run sampled; None where it does not say so, or in words that make no sense: adds a line then."""
    given = parameters.get("run")
    if given is None:
        return None
    if (found := run_of(given)) is not None:
        return found
    problems.append(
        f"The link's run '{short(given)}' is not mode, temperature, top-p, most new tokens and seed, such as "
        "think_0.6_0.95_400_0: taking those of the inference."
    )
    return None


def run_of(text: str) -> Run | None:
    """What `run_text` wrote; None where it makes no sense."""
    mode, *rest = text[:_LONGEST].split(_PART)
    numbers, flags = rest[:4], rest[4:]
    known: list[Mode] = [one for one in get_args(Mode) if one == mode]
    kinds = (_NUMBER, _NUMBER, _WHOLE, _WHOLE)
    fits = len(numbers) == 4 and all(kind.fullmatch(each) for kind, each in zip(kinds, numbers, strict=True))
    if known and fits and flags in ([], ["bare"], ["special"], ["bare", "special"]):
        temperature, top_p = map(_number, numbers[:2])
        most, seed = (int(each.replace("m", "-")) for each in numbers[2:])
        if math.isfinite(temperature) and math.isfinite(top_p):
            return Run(known[0], temperature, top_p, most, seed, "bare" not in flags, "special" in flags)
    return None


def _signed(number: float) -> str:
    return ("m" if number < 0 else "") + repr(abs(number)).replace("e+", "e")


def _number(text: str) -> float:
    return float(text.replace("m", "-"))


def _one_text(one: Asked) -> str:
    done = one.intervention
    parts = [done.hookpoint, str(done.feature), done.action]
    if done.action != "ablate":
        parts.append(_signed(done.value) + ("x" if one.scaled else ""))
    if done.start or done.after:
        parts.append(str(done.start))
    if done.after:
        parts += [done.after.hookpoint, str(done.after.feature)]
    return _PART.join(parts)


def _one(text: str, latents: Mapping[str, int]) -> Asked | None:
    hookpoint, rest = _at(text, latents)
    feature, named, *more = [*rest, ""] if len(rest) < 2 else rest
    actions: dict[str, Action] = {known: known for known in ACTIONS}
    action = actions.get(named)
    if not _is_feature(feature, hookpoint, latents) or action is None:
        return None
    value, scaled = 0.0, False
    if action != "ablate":
        strength = more.pop(0) if more else ""
        scaled = strength.endswith("x")
        if not _NUMBER.fullmatch(strength.removesuffix("x")):
            return None
        value = _number(strength.removesuffix("x"))
    start = more.pop(0) if more else "0"
    if not _NATURAL.fullmatch(start) or not math.isfinite(value):
        return None
    after: Trigger | None = None
    if more:
        where, last = _at(_PART.join(more), latents)
        if len(last) != 1 or not _is_feature(last[0], where, latents):
            return None
        after = Trigger(where, int(last[0]))
    return Asked(Intervention(hookpoint, int(feature), action, value, int(start), after), scaled)


def _why(text: str, latents: Mapping[str, int]) -> str:
    """Why a text is no intervention."""
    hookpoint, (feature, *_) = _at(text, latents)
    if not hookpoint:
        return f"it begins with no hookpoint such as {short(next(iter(latents)))}"
    if not _is_feature(feature, hookpoint, latents):
        return f"{hookpoint} has features from 0 to {latents[hookpoint] - 1}, not '{short(feature)}'"
    return "behind the feature stands nothing such as _clamp_2x, _add_m0.5 or _ablate"


def _at(text: str, latents: Mapping[str, int]) -> tuple[str, list[str]]:
    """The hookpoint that a text begins with, and the parts of what follows; its name may have the separator in it."""
    fitting = [hookpoint for hookpoint in latents if text.startswith(hookpoint + _PART)]
    hookpoint = max(fitting, key=len, default="")
    return hookpoint, text[len(hookpoint) + 1 :].split(_PART)


def _is_feature(text: str, hookpoint: str, latents: Mapping[str, int]) -> bool:
    return bool(_NATURAL.fullmatch(text)) and int(text) < latents.get(hookpoint, 0)

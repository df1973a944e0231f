"""The interventions that a visitor asks for: a row of widgets each, bound to the link, with what is wrong beside it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import streamlit as st

from kthink_core import queries
from kthink_core.errors import BadValue
from kthink_core.identity import maker
from kthink_core.live.api import MOST_STEERED, Health
from kthink_core.records import ACTIONS, Action, Intervention, Trigger, hookpoints_needed
from kthink_core.steer_options import Asked, check_interventions, check_steering, in_activations
from kthink_core.ui.parts import feature_names, feature_tables, note_panel, numerals, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page, go
from kthink_core.ui.view.permalink import SWITCH
from kthink_core.ui.view.yardstick import yardstick

USUAL = 1.0
"""Times its maximum that a feature is clamped to unless somebody asks for something else: at twice, the bundled model's
text falls apart."""
UNITS = ("× maximum", "activation")
_AT_ONCE = "nothing"
_RESIDUAL = "Steer the residual stream nevertheless"


class Wanted(NamedTuple):
    """What is asked, as far as it can be done."""

    interventions: tuple[Intervention, ...]
    """Strengths as activations."""
    problem: str | None
    """The first reason why it cannot be done."""
    at_residual: bool


def usual(page: Page, hookpoint: str, feature: int) -> Asked:
    """What is first asked of a feature: its maximum, or where it has none an activation of 1."""
    scaled = _maximum(page, hookpoint, feature) is not None
    return Asked(Intervention(hookpoint, feature, "clamp", USUAL if scaled else 1.0), scaled)


def draw(page: Page, max_new_tokens: int, health: Health | None) -> Wanted:
    """The rows. `health`: of the worker, where one is known. That no token is to be generated is told elsewhere."""
    st.header("What is done", help=terms.help("steering"))
    asked, done, problem = page.view.steer, (), None
    at_residual = page.view.residual == SWITCH[1]
    if not asked:
        st.caption("Nothing yet: add what is to be done to a feature while the model writes.")
    for number, one in enumerate(asked):
        with st.container(border=True, key=f"intervention {number}"):
            _row(page, number, one)
            try:
                _check_typed(page, number, one)
                now = _resolved(page, one)
                check_interventions((*done, now))
                _check_worker(page, now, health)
                check_steering(
                    (now,), max_new_tokens if max_new_tokens > 0 else sys.maxsize, page.experiment.config.site,
                    at_residual=at_residual, flag=f"“{_RESIDUAL}”, below,",
                )  # fmt: skip
            except BadValue as error:
                problem = problem or str(error)
                st.error(plain(str(error)), icon=":material/error:")
            else:
                done = (*done, now)
                st.caption(plain(_told(page, one, now)))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Add an intervention", icon=":material/add:", on_click=_add, args=(page,), key="steer_add",
            disabled=len(asked) >= MOST_STEERED,
        )  # fmt: skip
        if page.experiment.config.site == "residual":
            _residual_switch(page, health)
    return Wanted(done, problem, at_residual)


def _strange(number: int, one: Asked) -> dict[str, Any]:
    """What was typed into a row's number fields that no link can say, by field: beside what the link says there."""
    beside, typed = st.session_state.get(_key(number, "strange"), (None, {}))
    return typed if beside == one else {}


def _check_typed(page: Page, number: int, one: Asked) -> None:
    """Raises BadValue."""
    after = one.intervention.after
    where = {"feature": one.intervention.hookpoint, "of": after.hookpoint if after else ""}
    for name, value in _strange(number, one).items():
        if name == "value":
            raise BadValue("the strength is empty: type a number")
        given = f"'{value}' is none" if value is not None else "the field is empty"
        raise BadValue(f"features of {where[name]} go from 0 to {_last(page, where[name])}: {given}")


def _row(page: Page, number: int, one: Asked) -> None:
    done, state = one.intervention, st.session_state
    hookpoints = list(page.experiment.saes)
    values = {
        "hookpoint": done.hookpoint, "feature": done.feature, "action": done.action, "value": done.value,
        "unit": UNITS[0] if one.scaled else UNITS[1], "start": done.start,
        "after": done.after.hookpoint if done.after else _AT_ONCE,
    } | _strange(number, one)  # fmt: skip
    for name, value in values.items():
        state[_key(number, name)] = value

    def bound(name: str) -> dict[str, Any]:
        return {"key": _key(number, name), "on_change": _changed, "args": (page, number)}

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox("Hookpoint", hookpoints, width=150, **bound("hookpoint"))
        last = _last(page, done.hookpoint)
        st.number_input(f"Feature (0 to {last})", value=None, step=1, width=150, **bound("feature"))
        actions = "\n\n".join(f"**{action}**: {terms.help(action)}" for action in ACTIONS)
        st.segmented_control("Action", ACTIONS, required=True, help=actions, **bound("action"))
        if done.action != "ablate":
            step = 0.5 if one.scaled else 1.0
            st.number_input(
                "Strength", value=None, step=step, format="%.6g", width=130, help=terms.help("strength"),
                **bound("value"),
            )  # fmt: skip
            st.segmented_control("In", UNITS, required=True, help=terms.help("strength"), **bound("unit"))
        st.number_input("From token", 0, step=1, width=120, help=terms.help("start"), **bound("start"))
        st.selectbox(
            "After a firing at", [_AT_ONCE, *hookpoints], width=150, help=terms.help("trigger"), **bound("after")
        )
        if done.after is not None:
            state[_key(number, "of")] = values.get("of", done.after.feature)
            most = _last(page, done.after.hookpoint)
            st.number_input(f"of feature (0 to {most})", value=None, step=1, width=150, **bound("of"))
        st.button(
            "Remove", icon=":material/close:", key=_key(number, "remove"),
            on_click=partial(_put, page, number, None),
        )  # fmt: skip


def _changed(page: Page, number: int) -> None:
    """The link says what the widgets of a row say."""
    state, last = st.session_state, page.view.steer[number]
    said = {name: state.get(_key(number, name)) for name in ("hookpoint", "feature", "value", "unit", "start", "of")}
    hookpoint, action = str(said["hookpoint"]), state[_key(number, "action")]
    kind: Action = next(known for known in ACTIONS if known == action)
    same = hookpoint == last.intervention.hookpoint  # a feature's number means something at its own hookpoint only
    strange: dict[str, Any] = {}

    def feature_at(name: str, where: str, before: int) -> int:
        typed = said[name]
        if typed is not None and 0 <= typed <= _last(page, where):
            return int(typed)
        strange[name] = typed
        return before

    feature = feature_at("feature", hookpoint, last.intervention.feature) if same else _foremost(page, hookpoint)
    after, before = state[_key(number, "after")], last.intervention.after
    trigger = None
    if after != _AT_ONCE:
        if before is not None and before.hookpoint == after:
            trigger = Trigger(after, feature_at("of", after, before.feature))
        else:
            trigger = Trigger(after, _foremost(page, after))
    value, scaled = 0.0, False
    if kind != "ablate" and last.intervention.action == "ablate":  # there was no field for it
        begin = usual(page, hookpoint, feature)
        value, scaled = begin.intervention.value, begin.scaled
    elif kind != "ablate":
        scaled = said["unit"] == UNITS[0]
        value = last.intervention.value if said["value"] is None else float(said["value"])
        if said["value"] is None:
            strange["value"] = None
    one = Asked(Intervention(hookpoint, feature, kind, value, int(said["start"] or 0), trigger), scaled)
    state[_key(number, "strange")] = one, strange
    _put(page, number, one)


def _put(page: Page, number: int, one: Asked | None) -> None:
    """Another intervention in the place of one, or none."""
    asked = page.view.steer
    go(replace(page.view, steer=(*asked[:number], *([] if one is None else [one]), *asked[number + 1 :])))


def _add(page: Page) -> None:
    view = page.view
    taken = [(one.intervention.hookpoint, one.intervention.feature) for one in view.steer]
    feature = view.feature if view.feature is not None else _foremost(page, view.hookpoint)
    if (view.hookpoint, feature) in taken:
        others = (yardstick(page) or page).ask(queries.feature_counts, view.hookpoint, top=MOST_STEERED + 1)
        free = [other for other in others["feature"].tolist() if (view.hookpoint, other) not in taken]
        feature = int(free[0]) if free else feature
    go(replace(view, steer=(*view.steer, usual(page, view.hookpoint, feature))))


def _residual_switch(page: Page, health: Health | None) -> None:
    """Where the worker, if there is one, can do so."""
    if health is not None and health.maker(page.view.hookpoint) != maker(page.experiment, page.view.hookpoint):
        st.caption(
            "The residual stream can be steered where the worker captures it, too: start one with "
            f"`--experiment {page.experiment.name}`."
        )
        return
    st.session_state["steer_residual"] = page.view.residual == SWITCH[1]

    def changed() -> None:
        go(replace(page.view, residual=SWITCH[st.session_state["steer_residual"]]))

    st.toggle(
        _RESIDUAL, key="steer_residual", on_change=changed,
        help="The SAE of an MLP was trained on what the MLP puts out, which is another vector space than the residual "
        "stream that this experiment captures: its decoder rows mean little there.",
    )  # fmt: skip


def _resolved(page: Page, one: Asked) -> Intervention:
    """With its strength as an activation. Raises BadValue."""
    whole = yardstick(page) or page
    (done,) = in_activations((one,), partial(_maximum, page), f"experiment '{whole.experiment.name}'")
    return done


def _check_worker(page: Page, done: Intervention, health: Health | None) -> None:
    """Raises BadValue where the worker has not the SAEs that it takes."""
    for hookpoint in hookpoints_needed([done]):
        if health is not None and health.maker(hookpoint) != maker(page.experiment, hookpoint):
            raise BadValue(
                f"the worker has not the SAE of {hookpoint} that experiment '{page.experiment.name}' has: start one "
                f"with --experiment {page.experiment.name}"
            )


def _told(page: Page, one: Asked, done: Intervention) -> str:
    """What the numbers of a row refer to."""
    whole = yardstick(page) or page
    hookpoint, feature = done.hookpoint, done.feature
    label = note_panel.labels(page, hookpoint, (feature,)).get(feature)
    tokens = feature_tables.tokens(whole, hookpoint, (feature,)).get(feature) if _known(whole, hookpoint) else None
    largest = _maximum(page, hookpoint, feature)
    parts = [part for part in (label, tokens) if part]
    parts.append(f"maximum {numerals.number(largest)}" if largest else "never fires")
    said = f"In {whole.experiment.name}: {' │ '.join(parts)}."
    if done.after is not None:
        named = feature_names.names(page, done.after.hookpoint, (done.after.feature,)).get(done.after.feature)
        said += f" It waits for {done.after.feature}: {named}." if named else ""
    return f"{said} Asked for: {numerals.number(done.value)}." if one.scaled else said


def _maximum(page: Page, hookpoint: str, feature: int) -> float | None:
    """The largest activation of a feature where strengths are measured; None where it never fires."""
    whole = yardstick(page) or page
    if not _known(whole, hookpoint):
        return None
    return float(whole.ask(queries.feature_maxima, hookpoint, (feature,))["max_activation"].iloc[0]) or None


def _known(whole: Page, hookpoint: str) -> bool:
    return hookpoint in whole.experiment.saes


def _foremost(page: Page, hookpoint: str) -> int:
    """The feature that is relevant in most inferences."""
    whole = yardstick(page) or page
    found: Sequence[int] = whole.ask(queries.feature_counts, hookpoint, top=1)["feature"].tolist()
    return int(found[0]) if found else 0


def _last(page: Page, hookpoint: str) -> int:
    return page.experiment.saes[hookpoint].num_latents - 1


def _key(number: int, name: str) -> str:
    return f"steer_{number}_{name}"

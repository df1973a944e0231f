"""What is asked of the worker: the prompt, how it is sent, what is watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_args

import streamlit as st
from pydantic import ValidationError

from kthink_core import queries
from kthink_core.errors import short
from kthink_core.live.api import EncodeRequest, GenerateRequest
from kthink_core.live.watchlist import Watch
from kthink_core.prompts import Mode
from kthink_core.ui.inference import reading
from kthink_core.ui.live import branch_panel, history, prompt_box, prompt_check, shown_run, starting, watched_list
from kthink_core.ui.live.presence import Worker
from kthink_core.ui.live.run_state import RunState
from kthink_core.ui.parts import feature_finder, feature_names, list_dialog, naming, note_panel, numerals
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import MOST_FEATURES

EXAMPLES = 12
_OFFERED = 50
"""Features of a kind in the list of the watchlist."""
_PROBLEM = "live_problem"
_OPTIONS = ("mode", "temperature", "top_p", "max_new_tokens", "seed", "instruction", "special", "hookpoints", "encode")


def draw(page: Page, worker: Worker, beside: Callable[[RunState], None]) -> tuple[RunState, bool] | None:
    """The form. Returns this visit's latest run, if there is one to show, and whether it goes on as far as
    the form knows. `beside` draws what else can be done with
    it, beside the buttons."""
    run = shown_run.shown()
    going = run is not None and run.going
    with st.sidebar:
        choices.hookpoint(page)
        _watchlist(page)
        _options(page, worker)
    free = worker.answers and not going
    branch_panel.draw(page, run, _generation(), partial(_start_watched, page, worker) if free else None)
    _examples(page)
    shown = _checked(worker)
    prompt_box.draw(shown, partial(_run, page, worker) if free else None)
    if run is None or (run.refused and shown.message):  # an old reason beside the new one would mislead
        return None
    with st.container(horizontal=True):
        _buttons(page, worker, run, going, free=free, ready=shown.ready)
        beside(run)
    return run, going


def _options(page: Page, worker: Worker) -> None:
    """No widget has bounds of its own: what is beyond them would be shown, but what was there before would run."""
    hookpoints = list(worker.health.hookpoints)
    limit = min(worker.health.limits.get(name, 1) for name in ("new_tokens", "context"))
    _set_options(limit, hookpoints)
    st.segmented_control("Mode", get_args(Mode), **_lasting("live_mode"), required=True)
    one, two = st.columns(2)
    one.number_input("Temperature", step=0.1, help="0: always the likeliest token.", **_lasting("live_temperature"))
    two.number_input("Top-p", step=0.05, **_lasting("live_top_p"))
    one.number_input(prompt_check.NAMES["max_new_tokens"], step=1, **_lasting("live_max_new_tokens"))
    two.number_input("Seed", step=1, **_lasting("live_seed"))
    st.multiselect(
        "Hookpoints", hookpoints, **_lasting("live_hookpoints"),
        help="Where latents are taken. Only what has all of them can be kept.",
    )  # fmt: skip
    closed = st.session_state["live_mode"] == "bypass" and not page.experiment.config.chat.bypass
    with st.container(horizontal=True):
        st.toggle(
            "Encode only", on_change=_as_pasted, **_lasting("live_encode"),
            help="Latents of the text as it is, without chat template or instruction: nothing is generated. A trace "
            "with `<think>` and `</think>` is told apart into prompt, thought and answer.",
        )  # fmt: skip
        st.toggle(
            "Instruction", **_lasting("live_instruction"), disabled=closed,
            help="In bypass mode there is none: an empty thought stands in its place."
            if closed else "Append the instruction that the stored inferences have behind their question.",
        )  # fmt: skip
        st.toggle(
            "Special tokens", **_lasting("live_special"),
            help="Let names such as `</think>` in the text be these tokens. Off: they are spelled out as text.",
        )  # fmt: skip
    if st.session_state["live_encode"]:
        st.caption("The text is encoded as it is: no chat template is put around it, and no instruction behind it.")


def _as_pasted() -> None:
    """A trace that is pasted has special tokens; no template is there that they could fake."""
    if st.session_state["live_encode"]:
        st.session_state["live_special"] = True


def _lasting(key: str) -> dict[str, Any]:
    """Of a widget whose value outlives a visit to another page."""
    return {"key": key, "persist_state": "session"}


def _set_options(limit: int, hookpoints: list[str]) -> None:
    """What the widgets begin with; and hookpoints that a worker has that is another than before."""
    fresh = {
        "mode": "think", "temperature": 0.6, "top_p": 0.95, "max_new_tokens": min(400, limit), "seed": 0,
        "instruction": True, "special": False, "hookpoints": hookpoints, "encode": False,
    }  # fmt: skip
    state = st.session_state
    for name, value in fresh.items():
        state.setdefault(f"live_{name}", value)
    state["live_hookpoints"] = [hookpoint for hookpoint in state["live_hookpoints"] if hookpoint in hookpoints]


def _watchlist(page: Page) -> None:
    """Features of the shown hookpoint whose firings are reported."""
    hookpoint, last = page.view.hookpoint, _last(page)
    key = f"watch {hookpoint}"
    watched_list.draw(page, key)
    found = feature_finder.brought(page, hookpoint, key)
    listed = list(dict.fromkeys([*st.session_state.get(key, []), *found, *_offered(page)]))
    numbers = [number for each in listed if (number := choices.feature_number(each, last)) is not None]
    names = feature_names.names(page, hookpoint, numbers)

    def named(option: int | str) -> str:
        number = choices.feature_number(option, last)
        return str(option) if number is None else naming.named(number, names)

    def typed() -> None:
        entries = st.session_state[key]
        feature_finder.looked_for(key, [str(entry) for entry in entries if choices.is_word(entry)])
        st.session_state[key] = [entry for entry in entries if not choices.is_word(entry)]

    chosen = st.multiselect(
        "Watchlist", listed, **_lasting(key), on_change=typed,
        max_selections=MOST_FEATURES, accept_new_options=True, format_func=named,
        filter_mode="prefix",  # else "12" and Enter takes 312
        placeholder="by number, label or token",
        help="A watched feature that fires above its threshold is marked in the transcript and reported while the "
        "model goes on. Counts from the next run on.",
    )  # fmt: skip
    list_dialog.button(
        page, numbers if chosen else (), key="watched", chosen=[watch.feature for watch in watched(page)]
    )
    for strange in (entry for entry in chosen if choices.feature_number(entry, last) is None):
        st.warning(f"{plain(short(str(strange)))} is no feature of {hookpoint}: they go from 0 to {last}.")
    features = tuple(watch.feature for watch in watched(page))
    largest = reading.maxima(page, hookpoint, features)
    for feature in features:
        _threshold(hookpoint, feature, names, largest.get(feature, 0.0))


def _offered(page: Page) -> list[int]:
    """Those with a label of a person. No others: of those that begin as a number that is typed, Enter takes all."""
    return note_panel.labelled(page, page.view.hookpoint, _OFFERED)


def watched(page: Page) -> tuple[Watch, ...]:
    """The watchlist of the shown hookpoint as it stands now."""
    hookpoint = page.view.hookpoint
    numbers = [choices.feature_number(entry, _last(page)) for entry in st.session_state.get(f"watch {hookpoint}", [])]
    return tuple(
        Watch(hookpoint, feature, st.session_state.get(f"watch {hookpoint} {feature}", 0.0))
        for feature in dict.fromkeys(number for number in numbers if number is not None)
    )


def _last(page: Page) -> int:
    return page.experiment.saes[page.view.hookpoint].num_latents - 1


def _threshold(hookpoint: str, feature: int, names: Mapping[int, str], largest: float) -> None:
    key = f"watch {hookpoint} {feature}"
    help = f"Its largest activation in the stored inferences is {numerals.number(largest)}."
    if name := names.get(feature):
        help = f"{plain(naming.brief(name))}. {help}"
    st.number_input(f"{feature} above", min_value=0.0, step=1.0, help=help, key=key, persist_state="session")


def _examples(page: Page) -> None:
    """Questions of stored inferences: what the model writes can be compared with what it wrote."""
    questions = page.ask(queries.inferences)["question"].drop_duplicates().head(EXAMPLES).tolist()

    def take() -> None:
        if st.session_state["live_example"] is not None:
            prompt_box.take(st.session_state["live_example"])

    st.selectbox(
        "Example", questions, index=None, placeholder="Take a stored question", label_visibility="collapsed",
        key="live_example", on_change=take,
    )  # fmt: skip


def _checked(worker: Worker) -> prompt_box.Shown:
    """The prompt as it would be sent, and why it cannot be."""
    if problem := st.session_state.pop(_PROBLEM, None):
        return prompt_box.Shown(limit=worker.health.limits.get("prompt_tokens", 0), message=problem)
    options = _chosen()
    return prompt_check.checked(worker, prompt_box.typed(), lambda text: _request(text, options))


def _buttons(page: Page, worker: Worker, run: RunState, going: bool, *, free: bool, ready: bool) -> None:
    if going:
        if history.is_own(page.person, run):
            st.button("Stop", icon=":material/stop:", on_click=run.stop, key="live_stop")
    elif run.trouble is not None and not run.refused:
        again = partial(starting.start, page, worker, run.request, run.watched)
        st.button("Run it again", icon=":material/replay:", on_click=again, disabled=not free, key="live_again")
    elif isinstance(run.request, GenerateRequest) and not run.refused:
        branch, ready = run.request.branch, ready or run.request.branch is not None
        other = partial(_other_seed, page, worker, run.request.prompt if branch is None else run.request)
        st.button(
            "Again with another seed", icon=":material/casino:", on_click=other, disabled=not (free and ready),
            key="live_another", help="The same prompt, under the settings as they are now but for the seed.",
        )  # fmt: skip


def _run(page: Page, worker: Worker) -> None:
    """Called before the page is drawn, so that the first tokens come while it is."""
    _try(page, worker, prompt_box.typed(), _chosen())


def _other_seed(page: Page, worker: Worker, prompt: str | GenerateRequest) -> None:
    """A prompt again under what the form says now, but for the seed: the next one. A branch stays as it was."""
    st.session_state["live_seed"] = (st.session_state["live_seed"] + 1) % 2**31
    if isinstance(prompt, GenerateRequest):
        _start_watched(page, worker, prompt.model_copy(update={"seed": st.session_state["live_seed"]}))
        return
    _try(page, worker, prompt, _chosen() | {"encode": False})


def _try(page: Page, worker: Worker, text: str, options: dict[str, Any]) -> None:
    try:
        request = _request(text, options)
    except ValidationError as error:
        st.session_state[_PROBLEM] = prompt_check.told(error)
    else:
        _start_watched(page, worker, request)


def _request(text: str, options: dict[str, Any]) -> GenerateRequest | EncodeRequest:
    """Raises ValidationError."""
    if options["encode"]:
        return EncodeRequest.model_validate(
            {"text": text} | {name: options[name] for name in ("special", "hookpoints")}
        )
    rest = {name: value for name, value in options.items() if name != "encode"}
    return GenerateRequest.model_validate({"prompt": text} | rest)


def _start_watched(page: Page, worker: Worker, request: GenerateRequest | EncodeRequest) -> None:
    starting.start(page, worker, request, watched(page))


def _generation() -> dict[str, Any]:
    """Those of a generation that no prompt is typed for."""
    return {name: value for name, value in _chosen().items() if name not in ("mode", "instruction", "encode")}


def _chosen() -> dict[str, Any]:
    """The options as they stand now."""
    return {name: st.session_state[f"live_{name}"] for name in _OPTIONS}

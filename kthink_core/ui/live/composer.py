"""What is asked of the worker: the prompt, how it is sent, what is watched."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

import streamlit as st
from pydantic import ValidationError

from kthink_core import queries
from kthink_core.errors import KthinkError, short
from kthink_core.live.api import EncodeRequest, GenerateRequest, TokenizeRequest
from kthink_core.live.watchlist import Watch
from kthink_core.prompts import Mode
from kthink_core.ui.inference import reading
from kthink_core.ui.live import prompt_box
from kthink_core.ui.live.live_run import LiveRun
from kthink_core.ui.live.presence import Worker, still_here, visitor
from kthink_core.ui.parts import numerals
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import MOST_FEATURES

EXAMPLES = 12
_RUN, _PROBLEM, _WATCHED = "live_run", "live_problem", "live_watched"
_OPTIONS = ("mode", "temperature", "top_p", "max_new_tokens", "seed", "instruction", "special", "hookpoints", "encode")


def draw(page: Page, worker: Worker) -> LiveRun | None:
    """The form. Returns this visit's latest run, if there is one."""
    run: LiveRun | None = st.session_state.get(_RUN)
    going = run is not None and run.going
    with st.sidebar:
        choices.hookpoint(page)
        st.session_state[_WATCHED] = _watchlist(page)
        _options(worker)
    _examples(page)
    prompt_box.draw(_tokenized(worker), partial(_run, worker) if worker.answers and not going else None)
    if problem := st.session_state.pop(_PROBLEM, None):
        st.error(plain(problem), icon=":material/error:")
    if run is not None:
        _buttons(worker, run, going)
    return run


def _options(worker: Worker) -> None:
    limit = min(worker.health.limits.get(name, 1) for name in ("new_tokens", "context"))
    hookpoints = list(worker.health.hookpoints)
    _set_options(limit, hookpoints)
    st.segmented_control("Mode", get_args(Mode), **_lasting("live_mode"), required=True)
    one, two = st.columns(2)
    one.number_input(
        "Temperature", 0.0, 10.0, step=0.1, help="0: always the likeliest token.", **_lasting("live_temperature")
    )
    two.number_input("Top-p", 0.01, 1.0, step=0.05, **_lasting("live_top_p"))
    one.number_input("Most new tokens", 1, limit, **_lasting("live_max_new_tokens"))
    two.number_input("Seed", 0, 2**31 - 1, **_lasting("live_seed"))
    st.multiselect(
        "Hookpoints", hookpoints, **_lasting("live_hookpoints"),
        help="Where latents are taken. Only what has all of them can be kept.",
    )  # fmt: skip
    with st.container(horizontal=True):
        st.toggle("Encode only", help="Latents of the text as it is: nothing is generated.", **_lasting("live_encode"))
        st.toggle(
            "Instruction", **_lasting("live_instruction"),
            help="Append the instruction that the stored inferences have behind their question.",
        )  # fmt: skip
        st.toggle(
            "Special tokens", **_lasting("live_special"),
            help="Let names such as `</think>` in the text be these tokens. Off: they are spelled out as text.",
        )  # fmt: skip


def _lasting(key: str) -> dict[str, Any]:
    """Of a widget whose value outlives a visit to another page."""
    return {"key": key, "persist_state": "session"}


def _set_options(limit: int, hookpoints: list[str]) -> None:
    """What the widgets begin with; and within what a worker allows that is another than before."""
    fresh = {
        "mode": "think", "temperature": 0.6, "top_p": 0.95, "max_new_tokens": min(400, limit), "seed": 0,
        "instruction": True, "special": False, "hookpoints": hookpoints, "encode": False,
    }  # fmt: skip
    state = st.session_state
    for name, value in fresh.items():
        state.setdefault(f"live_{name}", value)
    state["live_hookpoints"] = [hookpoint for hookpoint in state["live_hookpoints"] if hookpoint in hookpoints]
    state["live_max_new_tokens"] = min(state["live_max_new_tokens"], limit)


def _watchlist(page: Page) -> tuple[Watch, ...]:
    """Features of the shown hookpoint whose firings are reported."""
    hookpoint = page.view.hookpoint
    last = page.experiment.saes[hookpoint].num_latents - 1
    key = f"watch {hookpoint}"
    chosen = st.multiselect(
        "Watchlist", st.session_state.get(key, []), **_lasting(key), max_selections=MOST_FEATURES,
        accept_new_options=True, placeholder="features, by number",
        help="A watched feature that fires above its threshold is marked in the transcript and reported while the "
        "model goes on. Counts from the next run on.",
    )  # fmt: skip
    numbers = {entry: choices.feature_number(entry, last) for entry in chosen}
    for strange in (entry for entry, number in numbers.items() if number is None):
        st.warning(f"{plain(short(strange))} is no feature of {hookpoint}: they go from 0 to {last}.")
    features = dict.fromkeys(number for number in numbers.values() if number is not None)
    largest = reading.maxima(page, hookpoint, tuple(features))
    thresholds = {feature: _threshold(hookpoint, feature, largest.get(feature, 0.0)) for feature in features}
    return tuple(Watch(hookpoint, feature, threshold) for feature, threshold in thresholds.items())


def _threshold(hookpoint: str, feature: int, largest: float) -> float:
    key = f"watch {hookpoint} {feature}"
    help = f"Its largest activation in the stored inferences is {numerals.number(largest)}."
    return st.number_input(f"{feature} above", 0.0, step=1.0, help=help, key=key, persist_state="session")


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


def _tokenized(worker: Worker) -> prompt_box.Shown:
    text, limit = prompt_box.typed(), worker.health.limits.get("prompt_tokens", 0)
    if not text.strip():
        return prompt_box.Shown(limit=limit)
    options = _chosen()
    try:
        asked = TokenizeRequest.model_validate(
            {name: options[name] for name in ("mode", "instruction", "special")}
            | {"prompt": text, "template": not options["encode"]}
        )
        found = worker.client.tokenize(asked)
    except ValidationError as error:
        return prompt_box.Shown(limit=limit, message=_told(error))
    except KthinkError as error:
        return prompt_box.Shown(limit=limit, message=str(error))
    over = found.count - found.limit
    message = f"{found.count} tokens: {over} more than the {found.limit} allowed" if over > 0 else None
    return prompt_box.Shown(tuple(zip(found.texts, found.token_ids, found.typed, strict=True)), found.limit, message)


def _buttons(worker: Worker, run: LiveRun, going: bool) -> None:
    free = worker.answers and not going
    with st.container(horizontal=True):
        if going:
            st.button("Stop", icon=":material/stop:", on_click=run.stop, key="live_stop")
        elif run.trouble is not None and not run.refused:
            again = partial(_start, worker, run.request, run.watched)
            st.button("Run it again", icon=":material/replay:", on_click=again, disabled=not free, key="live_again")
        elif isinstance(run.request, GenerateRequest) and not run.refused:
            other = partial(_other_seed, worker, run.request, run.watched)
            st.button("Again with another seed", icon=":material/casino:", on_click=other, disabled=not free,
                      key="live_another")  # fmt: skip


def _run(worker: Worker) -> None:
    """Called before the page is drawn, so that the first tokens come while it is."""
    options, text = _chosen(), prompt_box.typed()
    try:
        if options.pop("encode"):
            given = {name: options[name] for name in ("special", "hookpoints")}
            request: GenerateRequest | EncodeRequest = EncodeRequest.model_validate({"text": text} | given)
        else:
            request = GenerateRequest.model_validate({"prompt": text} | options)
    except ValidationError as error:
        st.session_state[_PROBLEM] = _told(error)
    else:
        _start(worker, request, st.session_state.get(_WATCHED, ()))


def _other_seed(worker: Worker, request: GenerateRequest, watched: tuple[Watch, ...]) -> None:
    """The same with the next seed."""
    seed = (request.seed + 1) % 2**31
    st.session_state["live_seed"] = seed
    _start(worker, request.model_copy(update={"seed": seed}), watched)


def _start(worker: Worker, request: GenerateRequest | EncodeRequest, watched: tuple[Watch, ...]) -> None:
    last: LiveRun | None = st.session_state.get(_RUN)
    if last is not None:
        last.stop()
    st.session_state[_RUN] = LiveRun(worker.client, request, watched, partial(still_here, visitor()))


def _chosen() -> dict[str, Any]:
    """The options as they stand now."""
    return {name: st.session_state[f"live_{name}"] for name in _OPTIONS}


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{first['loc'][-1]}: {first['msg'].removeprefix('Value error, ')}"

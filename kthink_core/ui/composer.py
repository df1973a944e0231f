"""What is asked of the worker: the prompt, how it is sent, what is watched."""

from __future__ import annotations

from functools import partial
from typing import get_args

import pandas as pd
import streamlit as st
from pydantic import ValidationError

from kthink_core.errors import KthinkError
from kthink_core.jobs import EncodeRequest, GenerateRequest, TypedPrompt
from kthink_core.live_trace import Watch
from kthink_core.problems import load_problems
from kthink_core.prompts import Mode
from kthink_core.ui import prompt_box
from kthink_core.ui.live_run import LiveRun
from kthink_core.ui.page import Page
from kthink_core.ui.text import plain
from kthink_core.ui.worker import Worker, still_here, visitor

EXAMPLES = 8
_RUN, _PROBLEM = "live_run", "live_problem"


def draw(page: Page, worker: Worker) -> LiveRun | None:
    """The form. Returns this visit's latest run, if there is one."""
    left, right = st.columns([3, 2], gap="large")
    with right:
        options = _options(worker)
        watched = _watchlist(page)
    with left:
        _compose(worker, options)
        _buttons(worker, options, watched)
        if problem := st.session_state.pop(_PROBLEM, None):
            st.error(plain(problem), icon=":material/error:")
    return st.session_state.get(_RUN)


def again(worker: Worker, run: LiveRun) -> None:
    """The same with the next seed."""
    if isinstance(run.request, GenerateRequest):
        st.session_state["live_seed"] = run.request.seed + 1
        _start(worker, run.request.model_copy(update={"seed": run.request.seed + 1}), run.watched)


def _options(worker: Worker) -> dict[str, object]:
    limit = worker.health.limits.get("new_tokens", 1)
    st.segmented_control("Mode", get_args(Mode), default="think", key="live_mode", required=True)
    one, two = st.columns(2)
    one.number_input("Temperature", 0.0, 10.0, 0.6, 0.1, key="live_temperature", help="0: always the likeliest token.")
    two.number_input("Top-p", 0.01, 1.0, 0.95, 0.05, key="live_top_p")
    one.number_input("Most new tokens", 1, limit, min(400, limit), key="live_new_tokens")
    two.number_input("Seed", 0, 2**31 - 1, 0, key="live_seed")
    st.toggle("Encode only", key="live_encode", help="Latents of the text as it is: no template, nothing generated.")
    st.toggle(
        "As in the experiment", True, key="live_instruction",
        help="Append the instruction that the stored inferences have behind their question.",
    )  # fmt: skip
    st.toggle(
        "Special tokens", key="live_special",
        help="Let names such as `</think>` in the text be these tokens. Off: they are spelled out as text.",
    )  # fmt: skip
    names = ("mode", "temperature", "top_p", "seed", "instruction", "special", "encode")
    return {name: st.session_state[f"live_{name}"] for name in names} | {
        "max_new_tokens": st.session_state["live_new_tokens"]
    }


def _watchlist(page: Page) -> tuple[Watch, ...]:
    """Features of the shown hookpoint whose firings are reported."""
    with st.expander("Watchlist", icon=":material/visibility:"):
        st.caption("A watched feature that fires above its threshold is reported while the model goes on.")
        empty = pd.DataFrame({"feature": pd.Series(dtype="Int64"), "threshold": pd.Series(dtype="float")})
        last = page.experiment.saes[page.view.hookpoint].num_latents - 1
        table = st.data_editor(
            empty,
            key=f"watch {page.view.hookpoint}",
            num_rows="dynamic",
            hide_index=True,
            column_config={
                "feature": st.column_config.NumberColumn(
                    f"Feature of {page.view.hookpoint}", min_value=0, max_value=last
                ),
                "threshold": st.column_config.NumberColumn("Above", min_value=0.0, default=0.0),
            },
        )
    rows = table.dropna(subset=["feature"]).fillna({"threshold": 0.0})
    return tuple(
        Watch(page.view.hookpoint, int(feature), float(threshold))
        for feature, threshold in zip(rows["feature"], rows["threshold"], strict=True)
    )


def _compose(worker: Worker, options: dict[str, object]) -> None:
    examples = [problem.question for problem in load_problems("demo", EXAMPLES)]
    chosen = st.selectbox("Example", examples, index=None, placeholder="Take an example", label_visibility="collapsed")
    if chosen is not None and chosen != st.session_state.get("live_example"):
        prompt_box.take(chosen)
    st.session_state["live_example"] = chosen
    _box(worker, options)


@st.fragment
def _box(worker: Worker, options: dict[str, object]) -> None:
    prompt_box.draw(_tokenized(worker, prompt_box.typed(), options))


def _tokenized(worker: Worker, text: str, options: dict[str, object]) -> prompt_box.Shown:
    limit = worker.health.limits.get("prompt_tokens", 0)
    if not text.strip():
        return prompt_box.Shown(limit=limit)
    names = ("mode", "instruction", "special")
    try:
        asked = TypedPrompt.model_validate({"prompt": text} | {name: options[name] for name in names})
        found = worker.client.tokenize(asked)
    except ValidationError as error:
        return prompt_box.Shown(limit=limit, message=_told(error))
    except KthinkError as error:
        return prompt_box.Shown(limit=limit, message=str(error))
    tokens = tuple((text, token_id, False) for text, token_id in zip(found.texts, found.token_ids, strict=True))
    over = len(tokens) - found.limit
    message = f"{len(tokens)} tokens: {over} more than the {found.limit} allowed" if over > 0 else None
    return prompt_box.Shown(tokens, found.limit, message)


def _buttons(worker: Worker, options: dict[str, object], watched: tuple[Watch, ...]) -> None:
    run: LiveRun | None = st.session_state.get(_RUN)
    with st.container(horizontal=True):
        going = run is not None and run.going
        st.button(
            "Run", type="primary", icon=":material/play_arrow:", disabled=going, key="live_go",
            on_click=_run, args=(worker, options, watched),
        )  # fmt: skip
        if run is not None:
            st.button("Stop", icon=":material/stop:", on_click=run.stop, disabled=not going, key="live_stop")
            st.button(
                "Again with another seed", icon=":material/casino:", disabled=going, key="live_again",
                on_click=partial(again, worker, run),
            )  # fmt: skip


def _run(worker: Worker, options: dict[str, object], watched: tuple[Watch, ...]) -> None:
    """Called before the page is drawn, so that the first tokens come while it is."""
    try:
        _start(worker, _request(prompt_box.typed(), options), watched)
    except ValidationError as error:
        st.session_state[_PROBLEM] = _told(error)


def _request(text: str, options: dict[str, object]) -> GenerateRequest | EncodeRequest:
    if options["encode"]:
        return EncodeRequest.model_validate({"text": text, "special": options["special"]})
    fields = {name: value for name, value in options.items() if name != "encode"}
    return GenerateRequest.model_validate({"prompt": text} | fields)


def _start(worker: Worker, request: GenerateRequest | EncodeRequest, watched: tuple[Watch, ...]) -> None:
    session = visitor()
    st.session_state[_RUN] = LiveRun(worker.settings, session, request, watched, partial(still_here, session))


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{first['loc'][-1]}: {first['msg'].removeprefix('Value error, ')}"

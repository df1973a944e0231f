"""Baseline and steered stream of one question side by side: the form, both runs as they come, and what differs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import streamlit as st
from pydantic import ValidationError

from kthink_core.live.api import GenerateRequest
from kthink_core.prompts import Grade
from kthink_core.records import Intervention
from kthink_core.ui import transcript
from kthink_core.ui.live import live_after, live_view, presence, prompt_box, prompt_check
from kthink_core.ui.live.live_run import LiveRun
from kthink_core.ui.live.live_view import Beside
from kthink_core.ui.live.presence import Worker
from kthink_core.ui.steer import asked_interventions, question, receipt_table, run_options, streams_apart
from kthink_core.ui.steer.asked_interventions import Wanted
from kthink_core.ui.view.page import Page, go
from kthink_core.ui.view.permalink import MOST_FEATURES
from kthink_core.ui.view.steer_link import Run

_PAIR = "steer_pair"


class Pair(NamedTuple):
    """Two runs that differ in nothing but the steering."""

    baseline: LiveRun
    steered: LiveRun
    reference: str | None
    """The right answer, where it is known."""
    grade: Grade = "number"
    """How answers are compared with it, as in the experiment that has it."""


def draw(page: Page) -> None:
    """The tab."""
    with st.sidebar:
        run = run_options.draw(page)
    with st.container():  # a place of its own: what is below stays where it is when the worker comes and goes
        worker = presence.reach()
    question.fill(page)
    wanted = asked_interventions.draw(page, run.max_new_tokens, worker.health if worker else None)
    if worker is None or not presence.matches(page, worker):
        return
    pair: Pair | None = st.session_state.get(_PAIR)
    going = () if pair is None else (pair.baseline.going, pair.steered.going)  # once: all below agrees
    st.header("To which prompt")
    shown = _checked(worker, run, wanted)
    start = partial(_start, page, worker, run, wanted)
    prompt_box.draw(shown, start if worker.answers and not any(going) else None, question.BOX)
    question.note(page)
    if pair is not None:
        with st.container(horizontal=True):
            if any(going):
                st.button("Stop", icon=":material/stop:", on_click=partial(_stop, pair), key="steer_stop")
            else:
                _again(page, worker, pair, run, wanted, free=worker.answers and shown.ready)
        if not any(going) and _requests(prompt_box.typed(question.BOX), run, wanted) != _asked(pair):
            st.info("Below is what was asked before: run it again to see what is asked now.", icon=":material/history:")
        _pair(page, worker, pair, going)


def _checked(worker: Worker, run: Run, wanted: Wanted) -> prompt_box.Shown:
    """The prompt as it would be sent, and why it cannot be."""
    shown = prompt_check.checked(worker, prompt_box.typed(question.BOX), partial(_request, run=run))
    if shown.message is not None:
        return shown
    missing = None if wanted.interventions else "nothing is steered yet: add an intervention"
    message = wanted.problem or missing
    return shown._replace(message=message, ready=message is None)


def _again(page: Page, worker: Worker, pair: Pair, run: Run, wanted: Wanted, *, free: bool) -> None:
    if any(side.trouble is not None and not side.refused for side in (pair.baseline, pair.steered)):
        again = partial(_start, page, worker, run, wanted)
        st.button("Run it again", icon=":material/replay:", on_click=again, disabled=not free, key="steer_again")
    st.button(
        "Again with another seed", icon=":material/casino:", key="steer_another", disabled=not free,
        on_click=partial(_other_seed, page, worker, run, wanted),
        help="Both streams once more, under the settings as they are now but for the seed.",
    )  # fmt: skip


def _pair(page: Page, worker: Worker, pair: Pair, going: tuple[bool, ...]) -> None:
    shown = _shown(page, pair)
    beside = None if any(going) else _beside(page, pair)
    left, right = st.columns(2, gap="medium")
    sides = zip((left, right), ("Baseline", "Steered"), (pair.baseline, pair.steered), going, strict=True)
    for column, title, run, goes_on in sides:
        with column:
            st.header(title)
            live_view.stream(page, run, shown, goes_on, name=f"steer_{title.lower()}", beside=beside)
    if any(going):
        return
    with right:
        live_after.keep(page, worker, pair.steered, shown, name="steer", reference=pair.reference)
    if pair.steered.end is not None:
        receipt_table.of_live(page, _steering(pair), pair.steered.end.receipts)
    if len(pair.baseline.trace) and len(pair.steered.trace):
        streams_apart.draw(page, pair.baseline, pair.steered, pair.reference, pair.grade)


def _steering(pair: Pair) -> tuple[Intervention, ...]:
    request = pair.steered.request
    return request.steering if isinstance(request, GenerateRequest) else ()


def _shown(page: Page, pair: Pair) -> tuple[int, ...]:
    """The link's features; without any, those steered at the hookpoint."""
    own = [done.feature for done in _steering(pair) if done.hookpoint == page.view.hookpoint]
    if page.view.feature is None and own:
        return tuple(own)[:MOST_FEATURES]
    return live_view.shown(page, pair.baseline)


def _beside(page: Page, pair: Pair) -> Beside:
    """Both streams by one maximum of each feature."""
    largest: dict[int, float] = {}
    for run in (pair.baseline, pair.steered):
        latents = run.trace.latents(page.view.hookpoint, run.scope).sort_values("activation")  # the last one stays
        peaks = dict(zip(latents["feature"].tolist(), latents["activation"].tolist(), strict=True))
        largest |= {feature: max(peak, largest.get(feature, 0.0)) for feature, peak in peaks.items()}
    return Beside(largest, transcript.ALONE | {"trace": "both streams"})


def _start(page: Page, worker: Worker, run: Run, wanted: Wanted) -> None:
    """Called before the page is drawn, so that the first tokens come while it is. A baseline that is there already is
    not run again."""
    text = prompt_box.typed(question.BOX)
    requests = _requests(text, run, wanted)
    if requests is None or not wanted.interventions or wanted.problem:
        return
    last: Pair | None = st.session_state.get(_PAIR)
    if last is not None:
        last.steered.stop()
    there = last.baseline if last is not None and last.baseline.request == requests[0] else None
    still = partial(presence.still_here, presence.visitor())
    if there is None or not (there.going or there.end is not None):
        if last is not None:
            last.baseline.stop()
        there = LiveRun(worker.client, requests[0], (), still)
    steered = LiveRun(worker.client, requests[1], (), still, after=there)
    st.session_state[_PAIR] = Pair(there, steered, question.reference(page, text), page.experiment.config.grade)


def _other_seed(page: Page, worker: Worker, run: Run, wanted: Wanted) -> None:
    other = run._replace(seed=(run.seed + 1) % 2**31)
    go(replace(page.view, run=other))
    _start(page, worker, other, wanted)


def _stop(pair: Pair) -> None:
    pair.steered.stop()
    pair.baseline.stop()


def _requests(text: str, run: Run, wanted: Wanted) -> tuple[GenerateRequest, GenerateRequest] | None:
    """Of baseline and steered run; None where they cannot be."""
    try:
        return _request(text, run), _request(text, run, wanted)
    except ValidationError:
        return None


def _asked(pair: Pair) -> tuple[object, object]:
    return pair.baseline.request, pair.steered.request


def _request(text: str, run: Run, wanted: Wanted | None = None) -> GenerateRequest:
    """Raises ValidationError."""
    steered = {"steering": wanted.interventions, "at_residual": wanted.at_residual} if wanted else {}
    return GenerateRequest.model_validate({"prompt": text} | run._asdict() | steered)

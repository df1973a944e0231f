"""What differs between a baseline and a steered stream: outcome, words, features."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.column_config import TextColumn

from kthink_core import signs
from kthink_core.evidence.stream_differences import MOST_WORDS, features_apart, first_difference
from kthink_core.live.api import GenerateRequest
from kthink_core.live.live_trace import LiveTrace
from kthink_core.prompts import THINK_CLOSE, Grade, is_correct
from kthink_core.store.verdicts import Verdict
from kthink_core.ui.live.live_run import LiveRun
from kthink_core.ui.parts import feature_tables, header, numerals, terms, verdict
from kthink_core.ui.parts.writing import plain, visible
from kthink_core.ui.steer import words_apart
from kthink_core.ui.view.page import Page, go, with_features
from kthink_core.ui.view.yardstick import yardstick

_SIDES = ("Baseline", "Steered")
_MEASURES = (
    "positions_baseline", "positions_steered", "share_steered_less", "max_baseline", "max_steered", "max_steered_less",
)  # fmt: skip


def draw(page: Page, baseline: LiveRun, steered: LiveRun, reference: str | None, grade: Grade) -> None:
    """Below two streams that have ended. `grade`: how their answers are compared with the reference."""
    st.header("What differs", help=terms.help("streams_apart"))
    table = pd.DataFrame(
        {side: _outcome(run, reference, grade) for side, run in zip(_SIDES, (baseline, steered), strict=True)}
    )
    st.dataframe(
        table, column_config={"_index": TextColumn("", width=130)} | {side: TextColumn(side) for side in _SIDES},
        alt="Outcome of both streams",
    )  # fmt: skip
    texts = [_written(run.trace) for run in (baseline, steered)]
    st.caption(plain(_parting(baseline.trace, steered.trace)))
    if texts[0] != texts[1]:
        label = "By words: from the baseline to the steered stream; − was removed, + was added"
        words_apart.draw(texts[0], texts[1], label, key="steer_words")
        if max(len(text.split()) for text in texts) > MOST_WORDS:
            st.caption(f"The first {MOST_WORDS:,} words of each are compared.")
    st.header(f"Features of {page.view.hookpoint} in both")
    _features(page, baseline, steered)


def _outcome(run: LiveRun, reference: str | None, grade: Grade) -> dict[str, str]:
    """What came of a stream, by what it is called."""
    trace, end = run.trace, run.end
    thought = "".join(text for text, segment in _generated(trace) if segment == "think")
    answered = any(segment == "answer" for _, segment in _generated(trace))
    bypassed = isinstance(run.request, GenerateRequest) and run.request.mode == "bypass"
    closed = "by the prompt" if bypassed else "closed" if answered or THINK_CLOSE in thought else "not closed"
    found = {"Generated tokens": str(len(_generated(trace))), "Thought": closed}
    ending = {"stop": "by itself", "length": "cut off at the limit"}
    found["Ended"] = ending.get(str(end.finish_reason), "not") if end else "not: it was stopped"
    found["Answer"] = end.answer if end and end.answer is not None else numerals.MISSING
    if reference is not None:
        found["Reference"] = reference
        found["Verdict"] = verdict.signed(_verdict(run, reference, grade)) if end else numerals.MISSING
    return found


def _verdict(run: LiveRun, reference: str, grade: Grade) -> Verdict:
    if run.end is None or run.end.finish_reason == "length":
        return "cut off"
    verdicts: dict[bool | None, Verdict] = {True: "right", False: "wrong", None: "ungraded"}
    return verdicts[is_correct(run.end.answer, reference, grade)]


def _parting(baseline: LiveTrace, steered: LiveTrace) -> str:
    """Where the streams part."""
    sides = [[token for token, segment in zip(side.token_ids, side.segments, strict=True) if segment != "prompt"]
             for side in (baseline, steered)]  # fmt: skip
    at = first_difference(*sides)
    if at is None:
        return f"Both are the same, token for token: all {len(sides[0])}."
    texts = [_generated(side) for side in (baseline, steered)]
    was, became = (visible(side[at][0]) if at < len(side) else "the end" for side in texts)
    return f"The first token that differs is number {at} of the generated ones, from 0: {was} became {became}."


def _features(page: Page, baseline: LiveRun, steered: LiveRun) -> None:
    hookpoint, view = page.view.hookpoint, page.view
    latents = [run.trace.latents(hookpoint, run.scope) for run in (baseline, steered)]
    lengths = len(_generated(baseline.trace)), len(_generated(steered.trace))
    table = features_apart(latents[0], latents[1], lengths)
    if table.empty:
        header.nothing("No feature fires in either.")
        return
    st.caption("By the difference of their share of the generated positions. A click shows a feature in both streams.")
    feature_tables.draw(
        page, table, _MEASURES, lambda to: go(with_features(view, (to,))), name="features of two streams",
        whole=yardstick(page), scope="generated",
    )  # fmt: skip


def _generated(trace: LiveTrace) -> list[tuple[str, str]]:
    """Text and segment of each generated token."""
    pairs = zip(trace.texts, trace.segments, strict=True)
    return [(text, segment) for text, segment in pairs if segment != "prompt"]


def _written(trace: LiveTrace) -> str:
    """What was generated, as one text."""
    return "".join(signs.whole([text for text, _ in _generated(trace)]))

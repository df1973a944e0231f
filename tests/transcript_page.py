"""A page with nothing but a transcript, made of what `case` in the link asks for. Served by the browser's tests.

What a person chooses is written below it, and into the link where `follows` is set.
"""

from __future__ import annotations

import streamlit as st

from kthink_core.outline import GRAINS, steps
from kthink_core.ui import transcript
from tests.transcript_samples import CASES, MAXIMA, sample


def choose(chosen: transcript.Selection) -> None:
    if chosen.feature is not None:
        st.session_state["opened"] = chosen.feature
    st.session_state["features"], st.session_state["span"] = chosen.features, chosen.span
    st.session_state["grain"], st.session_state["sought"] = chosen.grain, chosen.sought


st.set_page_config(layout="wide")
st.title("A transcript")
case = CASES[st.query_params.get("case", "small")]
length = st.session_state.setdefault("length", case.length)
if st.button("More", key="more", shortcut="m"):
    length = st.session_state["length"] = length + case.grows
if st.button("Next", key="next", shortcut="j"):
    st.session_state["other"] = not st.session_state.get("other", False)
name = "other" if st.session_state.get("other") else "one"
tables = sample(case, length)
features = st.session_state.setdefault("features", case.features)
span = st.session_state.setdefault("span", case.span)
grain, sought = st.session_state.setdefault("grain", "none"), st.session_state.setdefault("sought", None)
outline = steps(tables.tokens, tables.tracks, grain, 3) if grain in GRAINS else None
runs = st.session_state["runs"] = st.session_state.get("runs", 0) + 1
transcript.draw(
    name,
    tables.tokens,
    tables.tracks,
    tables.hover,
    tables.ranked,
    hookpoint="layers.4.mlp",
    features=features,
    maxima=MAXIMA,
    last=99,
    labels={3: "counts <b>things</b>", 5: "a label that is much longer than there is room for beside the numbers"},
    scope=case.scope,
    span=span,
    position=case.position,
    verdict=case.verdict,
    grain=grain,
    outline=outline,
    sought=sought,
    choose=choose,
)
st.text(f"span {span} features {features} opened {st.session_state.get('opened')}")
st.text(f"runs {runs} grain {grain} sought {sought}")

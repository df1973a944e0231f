"""What the figures mean, and a guided reading of two minutes: find a feature of thinking words."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import NamedTuple

import streamlit as st

from kthink_core import queries
from kthink_core.config import DEMO
from kthink_core.presets import PRESETS
from kthink_core.ui.parts import dismissal, feature_names
from kthink_core.ui.parts.term import Term
from kthink_core.ui.parts.terms import GROUPS
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page, Target, link, with_features
from kthink_core.ui.view.permalink import MOST_FEATURES, View

_NAME = "guided-reading"
_TEXT = 540
"""Pixels of a step's text, at most."""
HOOKPOINT = "layers.6.mlp"
THINKING = (1912, 1075, 767, 150, 1875)
"""The bundled SAEs' features of reasoning words, at `HOOKPOINT`."""


class Step(NamedTuple):
    """One step of the guided reading: what to look at, and where."""

    title: str
    text: str
    label: str
    """Of the link."""
    page: Target
    view: View


def first_visit(page: Page) -> None:
    """The guided reading, until it is dismissed in this browser. Nothing before there is something to read."""
    if dismissal.is_dismissed(_NAME) or not page.inferences:
        return
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.header(":material/school: Find a feature of thinking words", width="content")
            dismissal.button(_NAME)
        st.caption("Two minutes, five views. The page **Guide** has these steps again, and defines every figure.")
        reading(page)


def reading(page: Page) -> None:
    """The five steps, each with a link to its view: beside the text, or below it where there is no room."""
    for number, step in enumerate(_steps(page), 1):
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            st.markdown(f"**{number}. {step.title}** {step.text}", width=_TEXT)
            link(step.page, step.view, step.label)


def definitions() -> None:
    """Every term, in words and as a formula."""
    for title, group in GROUPS.items():
        st.subheader(title)
        terms = list(group.values())
        for row in zip_longest(terms[::2], terms[1::2]):
            for column, term in zip(st.columns(2, gap="medium"), filter(None, row), strict=False):
                with column.container(border=True, height="stretch"):
                    _definition(term)


def _definition(term: Term) -> None:
    st.markdown(f"**{term.title}**")
    st.markdown(term.words)
    if term.formula:
        st.latex(term.formula)


def _steps(page: Page) -> tuple[Step, ...]:
    """About the bundled features where the experiment has them, in what the model wrote as the demo has it write, of
    which alone the figures are known; else about the feature that matters most."""
    experiment = page.experiment
    start = View(experiment.name, next(reversed(experiment.saes)), page.inferences[0])
    demo = PRESETS[DEMO]
    config = experiment.config.model_copy(update={"hookpoints": demo.hookpoints, "limit": demo.limit})
    if config == demo and not experiment.open_ended and HOOKPOINT in experiment.saes:
        return _demo_steps(page, replace(start, hookpoint=HOOKPOINT))
    return _any_steps(page, start)


def _demo_steps(page: Page, start: View) -> tuple[Step, ...]:
    thinking = THINKING[0]
    at = replace(start, feature=thinking)
    return (
        Step(
            "Which feature matters everywhere?",
            f"At `{HOOKPOINT}`, a handful of features are among the ten strongest of nearly every trace. The table "
            f"counts the inferences. **{thinking}** is near its top: take that one.",
            "Features by count",
            "across",
            start,
        ),
        Step(
            "What makes it fire?",
            "Among its ten strongest tokens are *Well*, *Okay*, *Now*, *Hmm*, *Therefore*. The contexts below show "
            "them in their sentences.",
            f"Feature {plain(feature_names.name(page, start.hookpoint, thinking))}",
            "feature",
            at,
        ),
        Step(
            "Where in a trace?",
            "Read one trace with the feature shaded: on which words does it fire, and what has the model just written? "
            "Hover a token for its activations; click one to hold it.",
            "Read inference 0",
            "inference",
            at,
        ),
        Step(
            "Is it about thinking?",
            "It fires at about one position in ten before `</think>`, and at hardly any after it. That alone does not "
            "say so: *Now*, *Hmm* and *Maybe* never stand in an answer, and *Therefore*, which does, makes it fire "
            "there, too. Most of the difference is on words of one side, where word and phase cannot be told apart.",
            "Think or word?",
            "feature",
            replace(at, section="phase"),
        ),
        Step(
            "Is it alone?",
            "Four more features fire on much the same words: "
            + ", ".join(map(str, THINKING[1:]))
            + ". See all five on one trace, then give one a name: labels are shared by all who use this cache.",
            "Five on one trace",
            "inference",
            replace(at, also=THINKING[1:]),
        ),
    )


def _any_steps(page: Page, start: View) -> tuple[Step, ...]:
    counts = page.ask(queries.feature_counts, start.hookpoint, start.scope, top=MOST_FEATURES)
    features = tuple(map(int, counts["feature"]))
    name = f"feature {plain(feature_names.name(page, start.hookpoint, features[0]))}" if features else "a feature"
    at = with_features(start, features[:1])
    return (
        Step(
            "Which features matter everywhere?",
            f"The table counts in how many inferences a feature of `{start.hookpoint}` is among the ten strongest.",
            "Features by count",
            "across",
            start,
        ),
        Step(
            "What makes one fire?",
            f"Look at the top tokens and contexts of **{name}**. Words such as *Wait* or *Hmm* make it a candidate; "
            "one that fires on everything, or on the first token only, says little.",
            f"See {name}",
            "feature",
            at,
        ),
        Step(
            "Where in a trace?",
            "Read a trace with the feature shaded. Hover a token for its activations; click one to hold it.",
            f"Read inference {start.inference}",
            "inference",
            at,
        ),
        Step(
            "Is it about thinking?",
            "A feature that fires in thoughts only may follow its words. The tab compares each token inside a thought "
            "and outside it, and says how much of the difference is either's. It needs traces with both.",
            "Think or word?",
            "feature",
            replace(at, section="phase"),
        ),
        Step(
            "Is it alone?",
            "The features that matter most, together on one trace. Then give one a name: labels are shared by all who "
            "use this cache.",
            "Several on one trace",
            "inference",
            with_features(start, features),
        ),
    )

"""The button that has features tested by token injection, and how far the test is."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from kthink_core.live.api import MOST_TESTED, InjectRequest
from kthink_core.ui.live import job_button
from kthink_core.ui.parts import injection_badge, terms
from kthink_core.ui.view.page import Page

_KIND = "injection"


def of_table(page: Page, features: Sequence[int]) -> None:
    """For the first features of a table that have no verdict yet. The worker is asked for once somebody wants it."""
    if not st.toggle("Are they more than their words?", help=terms.help("injection_verdict"), key="test the table"):
        return
    known = injection_badge.verdicts(page, page.view.hookpoint)
    watch = job_button.watch_of(_KIND)
    asked = tuple(int(feature) for feature in features if feature not in known)[:MOST_TESTED]
    under_way = watch.request if watch is not None and watch.going else None
    if isinstance(under_way, InjectRequest) and len(under_way.features) > 1:
        asked = under_way.features  # some of them have a verdict by now
    if not asked:
        st.caption("Each of them has its verdict: it stands in the table.")
        return
    draw(page, asked, f"Test the first {len(asked)} without a verdict" if len(asked) > 1 else "Test the last one")


def draw(page: Page, features: tuple[int, ...], label: str) -> None:
    """A button, or how far the test of these features is, or why there can be none."""
    request = InjectRequest(experiment=page.experiment.name, hookpoint=page.view.hookpoint, features=features)
    otherwise = ", or test on the command line with `inject`"
    what = "features tested; those it is compared with come first, once"
    job_button.draw(page, _KIND, request, label, what, otherwise=otherwise)

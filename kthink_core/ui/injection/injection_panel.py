"""Is a feature more than its words? What the test by token injection found, and a button that runs it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kthink_core.errors import BadFile
from kthink_core.evidence import injection_results
from kthink_core.evidence.injection_test import LENGTH, MEASURED
from kthink_core.store.injections import Injection, Verdict, read_injection
from kthink_core.ui.injection import injection_button
from kthink_core.ui.parts import download, feature_names, injection_badge, numerals, snippets, terms
from kthink_core.ui.parts.writing import plain, visible
from kthink_core.ui.view.page import Page

_MEANS: dict[Verdict, str] = {
    "token-driven": "Its own tokens, put into texts without any reasoning, are enough to make it fire.",
    "partly token-driven": "Its own tokens make it fire in texts without reasoning, less than reliably.",
    "weakly token-driven": "Its own tokens raise it a little in texts without reasoning.",
    "context-dependent": "Its own tokens alone do not explain it: in texts without reasoning they hardly raise it.",
    "silent": "It fires neither in what the model wrote nor in the texts without reasoning: there is nothing to test.",
    "untested": "It fires on no token often enough to know its tokens: three times.",
}


def draw(page: Page, feature: int) -> None:
    """The tab of the feature's page."""
    st.header("Is it more than its words?", help=terms.help("injection_verdict"))
    st.caption(
        f"Its own tokens are put into {MEASURED} texts of {LENGTH} tokens without reasoning, in up to nine ways. If "
        "it fires then, these tokens are enough; if not, they alone do not explain it, and what does remains open."
    )
    try:
        found = read_injection(injection_badge.layout(page), page.experiment, page.view.hookpoint, feature)
    except BadFile as error:
        found = None
        st.warning(f"The stored result does not count: {plain(str(error))}", icon=":material/warning:")
    if found is not None:
        _result(page, found)
    injection_button.draw(page, (feature,), "Test it" if found is None else "Test again")


def _result(page: Page, found: Injection) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(found.verdict, icon=":material/science:", color=injection_badge.COLOURS[found.verdict])
        st.markdown(_MEANS[found.verdict])
    other = "none" if found.other is None else feature_names.in_words(page, page.view.hookpoint, found.other)
    if found.strategy is not None and found.d is not None and found.p is not None and found.p_best is not None:
        with st.container(horizontal=True, gap="medium"):
            _metric("Fires in", _fires_in(found), terms.help("fires_in"))
            _metric("Cohen's d", numerals.number(found.d), terms.help("cohens_d"))
            _metric("d, 95 %", _interval(found), terms.help("d_interval"))
            _metric("p", _chance(found.p), terms.help("cohens_d"))
            _metric("p of the best", _chance(found.p_best), terms.help("p_of_best"))
            _metric("Texts", str(found.n), "Texts on which the way that counts was measured.")
            _metric("Same verdict", _share(found), terms.help("injection_controls"))
            _metric(
                "Another's tokens", "–" if found.other_d is None else f"d {numerals.number(found.other_d)}",
                "Cohen's d where, in the same way, the tokens of another feature "
                f"({plain(other)}) are put in: near 0, or any odd token would do.",
            )  # fmt: skip
    for doubt in injection_results.doubts(found):
        st.info(doubt, icon=":material/help:")
    _told(found)
    if found.tried:
        _ways(page, found)
    if found.shown:
        stretches = [snippets.Stretch(one.texts, one.token_ids, one.injected, one.activations) for one in found.shown]
        snippets.draw_stretches(
            f"The first {len(stretches)} texts, by {found.shown[0].strategy}",
            "what was put in is underlined; shaded by activation over the feature's maximum in what the model wrote",
            stretches, found.reasoning_max, key=f"injected {found.feature}",
        )  # fmt: skip


def _told(found: Injection) -> None:
    """What the figures rest on, in words."""
    tokens = "  ".join(visible(token) for token in found.tokens) or "none"
    origin = found.origin
    st.text(
        f"What the model wrote: it fires at {found.reasoning_positions:,} positions, at most at "
        f"{numerals.number(found.reasoning_max)}. Texts as they are: it fires in {numerals.percent(found.fires_in)} of "
        f"them. Its tokens: {tokens}"
    )
    st.caption(plain(f"Texts: {origin.texts_from}. Seed {origin.seed}, kthink {origin.kthink}, {origin.created}."))


def _ways(page: Page, found: Injection) -> None:
    table = pd.DataFrame([way.model_dump() for way in found.tried])
    with st.expander("Every way that was tried", icon=":material/table_rows:"):
        st.caption("Those measured on few texts were tried to choose by, and count no further.")
        shown = table.assign(p=table["p"].map(_chance), fires_in_injected=table["fires_in_injected"].map(_part)).rename(
            columns={
                "strategy": "Way", "texts": "Texts", "mean_injected": "Mean with", "mean_baseline": "Mean without",
                "fires_in_injected": "Fires in",
            }
        )  # fmt: skip
        st.dataframe(shown, hide_index=True, alt="Ways of putting tokens in")
        download.buttons(page, f"injection of feature {found.feature}", table)


def _chance(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else numerals.number(p, 3)


def _part(share: float | None) -> str:
    return numerals.MISSING if share is None else numerals.percent(share)


def _fires_in(found: Injection) -> str:
    """Without its tokens and with them."""
    return f"{_part(found.fires_in)} → {_part(found.fires_in_injected)}"


def _interval(found: Injection) -> str:
    between = injection_results.d_interval(found)
    return numerals.MISSING if between is None else " to ".join(map(numerals.number, between))


def _share(found: Injection) -> str:
    same, others = found.same_verdict, len(found.compared)
    return "–" if same is None else f"{round(same * others)} of {others}"


def _metric(label: str, value: str, help: str) -> None:
    st.metric(label, value, help=help, width="content")

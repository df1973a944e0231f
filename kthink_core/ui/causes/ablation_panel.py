"""A feature of a trace set to 0: what becomes of the tokens behind it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import streamlit as st

from kthink_core.evidence.ablation_results import effects_table
from kthink_core.store.causal_studies import AblationQuestion, FeatureEffect
from kthink_core.ui.causes import causes_charts
from kthink_core.ui.causes.traced_page import TracedPage
from kthink_core.ui.parts import charts, download, feature_names, header, numerals, snippets, terms
from kthink_core.ui.parts.naming import named
from kthink_core.ui.parts.writing import visible
from kthink_core.ui.view import choices
from kthink_core.ui.view.causes_link import WHERES

_WHERE = dict(zip(WHERES, ("Everywhere", "In the marked span"), strict=True))


def draw(traced: TracedPage) -> None:
    """Which feature and where, then the answer, or what has it made."""
    page = traced.page
    names = feature_names.names(page, page.view.hookpoint, traced.shown)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        feature = st.selectbox(
            "Feature", traced.shown, format_func=lambda number: named(number, names), width=300, key="ablated feature"
        )
        choices.pick("Set to 0", "does", _WHERE, page, at=1)
    span = None
    if page.view.does[1] == "span":
        if traced.span is None:
            header.nothing("Nothing is marked: drag over tokens of the transcript; one token is a span, too.")
            return
        span = traced.span
    question = AblationQuestion(hookpoint=page.view.hookpoint, features=(feature,), span=span)
    study = traced.ablation(question)
    if study is not None:
        _result(traced, study.effects[0], span)


def _result(traced: TracedPage, effect: FeatureEffect, span: tuple[int, int] | None) -> None:
    where = "in this trace" if span is None else f"from position {span[0]} to {span[1]}"
    if not effect.positions:
        header.nothing(f"Feature {effect.feature} does not fire {where}: nothing changes without it, bit for bit.")
        return
    table = effects_table(traced.tokens, effect)
    if table.empty:
        header.nothing(f"Feature {effect.feature} fires {where} at the last token only: nothing is predicted after it.")
        return
    _figures(effect, table)
    tokens = len(traced.tokens)
    st.markdown("**KL of each prediction**", help=terms.help("ablation_kl"))
    charts.draw(causes_charts.ribbon(table, "kl", "KL (nats)", tokens), "KL of the prediction of each later token")
    st.markdown("**Log-probability of each token that was written**", help=terms.help("ablation_change"))
    charts.draw(
        causes_charts.ribbon(table, "change", "Change (nats)", tokens),
        "Change of the log-probability of each later token",
    )
    stretch = snippets.Stretch(
        traced.tokens["text"].tolist(),
        traced.tokens["token_id"].tolist(),
        [position in set(effect.positions) for position in range(tokens)],
        effect.kl,
    )
    snippets.draw_stretches(
        "The trace",
        f"shaded by KL, up to {numerals.number(max(effect.kl), 3)} nats; where the feature was set to 0 is underlined",
        [stretch], max(effect.kl), key=f"ablated {traced.called} {effect.feature} {span}", measure="KL",
    )  # fmt: skip
    name = f"ablation of feature {effect.feature} in {traced.called}"
    download.buttons(traced.page, name, table, chart=True, feature=effect.feature)


def _figures(effect: FeatureEffect, table: pd.DataFrame) -> None:
    rows = table.to_dict("records")
    most, falls = max(rows, key=lambda row: row["kl"]), min(rows, key=lambda row: row["change"])
    with st.container(horizontal=True, gap="medium"):
        _metric("Set to 0 at", f"{len(effect.positions)} positions", terms.help("ablation"))
        _metric("KL, all later tokens (nats)", numerals.number(math.fsum(effect.kl), 3), terms.help("ablation_kl"))
        _metric("Largest KL (nats)", f"{numerals.number(most['kl'], 3)} at {most['position']}", _told(most))
        _metric("Falls furthest (nats)", f"{numerals.number(falls['change'], 3)} at {falls['position']}", _told(falls))
        _metric(
            "Log-probability, all (nats)", numerals.number(math.fsum(effect.change), 3),
            "Sum over all later tokens: negative where the feature speaks for what was written.",
        )  # fmt: skip


def _told(row: dict[str, Any]) -> str:
    return f"Of the token {visible(row['text']).replace('`', ' ')}, id {row['token_id']}."


def _metric(label: str, value: str, help: str) -> None:
    st.metric(label, value, help=help, width="content")

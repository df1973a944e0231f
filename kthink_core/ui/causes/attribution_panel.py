"""What the answer of a trace, or one of its tokens, owes to features, and how far to believe it."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from kthink_core.evidence.attribution_results import attribution_table, checks_in_words, doubts, passing
from kthink_core.store.causal_studies import RUNNER_UP, AttributionQuestion, AttributionStudy
from kthink_core.ui.causes import causes_charts
from kthink_core.ui.causes.traced_page import TracedPage
from kthink_core.ui.parts import clicks, download, feature_names, header, numerals, snippets, terms
from kthink_core.ui.parts.writing import plain, visible
from kthink_core.ui.view import choices
from kthink_core.ui.view.causes_link import EXPLAINED, MEASURES

_EXPLAINED = dict(zip(EXPLAINED, ("The final answer", "The marked token"), strict=True))
_MEASURES = dict(zip(MEASURES, ("Log-probability", "Against the runner-up", "Against a rival"), strict=True))

_SEEN = 0.05
"""Part of the deepest shade from which on a token's sign is told."""


def draw(traced: TracedPage) -> None:
    """What is explained, then the answer, or what has it made."""
    page = traced.page
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choices.pick("Explain", "does", _EXPLAINED, page, at=2)
        choices.pick("By", "does", _MEASURES, page, at=3)
        if page.view.does[3] == "rival":
            choices.rival(page)
    question = _question(traced)
    if question is None:
        return
    study = traced.attribution(question)
    if study is not None:
        _result(traced, study)


def _question(traced: TracedPage) -> AttributionQuestion | None:
    """None where something is still to be chosen."""
    view, position = traced.page.view, None
    if view.does[2] == "token":
        if traced.span is None:
            header.nothing("No token is marked: drag over one in the transcript; the first of the marked ones counts.")
            return None
        position = traced.span[0]
    rival = {"probability": None, "runner-up": RUNNER_UP}.get(view.does[3], view.rival)
    if view.does[3] == "rival" and not view.rival:
        header.nothing("Name a rival: a token that could stand there instead.")
        return None
    return AttributionQuestion(hookpoint=view.hookpoint, position=position, rival=rival)


def _result(traced: TracedPage, study: AttributionStudy) -> None:
    st.text(_explained(study))
    st.text(passing(study), help=terms.help("attribution_sum"))
    _figures(study)
    for doubt in doubts(study):
        st.info(plain(doubt), icon=":material/help:")
    table = attribution_table(study)
    listed = (*study.nodes, *study.strongest, *study.controls)
    names = feature_names.names(traced.page, study.question.hookpoint, [one.feature for one in listed])

    def chosen(mark: dict[str, int]) -> None:
        if mark["feature"] != causes_charts.NO_FEATURE:
            traced.choose(mark["feature"])

    st.markdown(
        f"**Features by contribution**, the first {min(causes_charts.BARS, len(study.nodes))} of {study.active:,}",
        help=terms.help("attribution"),
    )
    key = f"contributions {traced.called} {study.question.model_dump_json()}"
    clicks.chart(causes_charts.contributions(study, table, names), ("feature",), key, chosen, described="Contributions")
    _heat(traced, study)
    _compared(study, names)
    download.buttons(traced.page, f"attribution in {traced.called}", _plain(table), chart=True)


def _explained(study: AttributionStudy) -> str:
    """What the number is that is explained, and how large it is."""
    tokens = "".join(visible(one.text) for one in study.explained)
    first, last = study.explained[0].position, study.explained[-1].position
    where = f"position {first}" if first == last else f"positions {first} to {last}"
    value = numerals.number(study.value, 3)
    if study.question.rival is None:
        return f"Log-probability of “{tokens}” at {where}: {value} nats"
    pairs = ", ".join(f"“{visible(one.text)}” less “{visible(one.rival or '')}”" for one in study.explained)
    if first == last:
        return f"Logit at {where}, {pairs}: {value}"
    return f"Logits of “{tokens}” at {where}, each less its rival's ({pairs}): {value} in sum"


def _figures(study: AttributionStudy) -> None:
    agreement = numerals.MISSING
    if study.rho is not None and study.rho_low is not None and study.rho_high is not None:
        agreement = f"{study.rho:.2f}, from {study.rho_low:.2f} to {study.rho_high:.2f}"
    with st.container(horizontal=True, gap="medium"):
        _metric(f"Agreement with ablation, n = {len(study.strongest)}", agreement, terms.help("agreement"))
        _metric(
            "Left to the error, of all contributions by size", numerals.percent(study.error_share),
            terms.help("left_to_the_error"),
        )  # fmt: skip
    st.caption(plain(checks_in_words(study)), help=terms.help("attribution_controls"))


def _heat(traced: TracedPage, study: AttributionStudy) -> None:
    at = study.features_at
    most = max(map(abs, at), default=0.0)
    stretch = snippets.Stretch(
        traced.tokens["text"].tolist(),
        traced.tokens["token_id"].tolist(),
        [value < -_SEEN * most for value in at],
        [abs(value) for value in at],
    )
    shaded = f"shaded up to {numerals.number(most, 3)} {causes_charts.unit(study)}"
    snippets.draw_stretches(
        "The trace", f"{shaded}, by what all features of a token contribute; underlined: against it", [stretch], most,
        key=f"attributed {traced.called} {study.question.model_dump_json()}", measure="contribution",
    )  # fmt: skip


def _compared(study: AttributionStudy, names: Mapping[int, str]) -> None:
    with st.expander("Attribution against ablation, feature by feature", icon=":material/table_rows:"):
        st.caption("The strongest by contribution, then the controls that were drawn at random.")
        rows = [
            {
                "Feature": one.feature, "Name": names.get(one.feature, ""), "Group": group,
                "Contribution": one.contribution, "Exact effect": one.effect,
            }
            for group, members in (("strongest", study.strongest), ("control", study.controls))
            for one in members
        ]  # fmt: skip
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Attribution against ablation")


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="inference")


def _metric(label: str, value: str, help: str) -> None:
    st.metric(label, value, help=help, width="content")

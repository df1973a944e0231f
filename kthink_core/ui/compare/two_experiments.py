"""Two experiments side by side: their quality, the features that matter in them, the same problems in both."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core import queries
from kthink_core.evidence.same_problems import paired
from kthink_core.identity import same_features
from kthink_core.ui.compare import comparison
from kthink_core.ui.parts import clicks, download, feature_tables, header, made_with, terms, verdict
from kthink_core.ui.parts import quality as quality_strip
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page, at_inference, go, lead, with_features

COUNTED = 30
"""Features in the count table of either."""


def quality(page: Page, other: Page) -> None:
    """What both were made with, and how well their SAEs do."""
    for one in (page, other):
        st.markdown(f"**{plain(one.experiment.name)}**")
        made_with.line(one.experiment, one.person)
        quality_strip.site_note(one.experiment)
        if one.inferences:
            quality_strip.strip(one)
        else:
            header.nothing("No inference of this experiment is committed yet.")


def counts(page: Page, other: Page) -> None:
    """The features that matter in most inferences of either; with the other's count where both have one SAE."""
    st.header("Features that matter in most inferences", help=terms.help("relevant_in"))
    same = _same(page, other)
    if not same:
        st.caption("The two have different SAEs here: equal feature numbers mean different features.")
    for column, one, beside in zip(st.columns(2, gap="medium"), (page, other), (other, page), strict=True):
        view = one.view
        table = one.ask(queries.feature_counts, view.hookpoint, view.scope, COUNTED, view.relevant)
        with column:
            st.markdown(f"**{plain(one.experiment.name)}** :gray[{view.hookpoint}]")
            if table.empty:
                header.nothing(f"No feature fires in scope {view.scope}.")
                continue
            measures = ["inferences", "max_activation"]
            if same:
                table = _with_elsewhere(beside, table)
                measures.insert(1, "elsewhere")
            feature_tables.draw(
                one, table, measures, lambda to, view=view: lead("feature", with_features(view, (to,))),
                name=f"features by count of {one.experiment.name}", bars_to={"inferences": len(one.inferences)},
                narrow=True,
            )  # fmt: skip


def problems(page: Page, other: Page, table: pd.DataFrame) -> None:
    """The problems of which both have an inference, with both outcomes. A click makes one the view's inference."""
    if table.empty:
        header.nothing("No problem is in both experiments.")
        return
    st.caption(f"{len(table)} problems in both. Click a row to read its inferences below.")
    here, there = page.experiment.name, other.experiment.name
    shown = pd.DataFrame(
        {
            "problem": table["problem"],
            "here": [f"{word} · {answer}" for word, answer in _outcomes(table, "")],
            "there": [f"{word} · {answer}" for word, answer in _outcomes(table, "_other")],
            "tokens": table["generated_tokens"],
            "tokens_other": table["generated_tokens_other"],
            "question": table["question"],
        }
    )
    columns: dict[str, ColumnConfig] = {
        "problem": NumberColumn("Problem", format="%d", width=70),
        "here": TextColumn(here, width=130),
        "there": TextColumn(there, width=130),
        "tokens": NumberColumn(f"Tokens, {here}", format="%d"),
        "tokens_other": NumberColumn(f"Tokens, {there}", format="%d"),
        "question": TextColumn("Question", width="large"),
    }
    numbers = table["inference"].tolist()
    key = f"problems {page.source.version} {other.source.version}"
    clicks.table(
        shown, columns, key, lambda row: go(at_inference(page.view, int(numbers[row]))), rows=8,
        described="Problems of both experiments",
    )  # fmt: skip
    download.buttons(page, f"problems of {here} and {there}", table)


def traces(page: Page, other: Page, table: pd.DataFrame, feature: int) -> None:
    """The view's inference, and the other experiment's inference of the same problem."""
    pairs = dict(zip(table["inference"].tolist(), table["inference_other"].tolist(), strict=True))
    there = pairs.get(page.view.inference)
    beside = other if there is None else replace(other, view=replace(other.view, inference=there))
    same = _same(page, other)
    scale = comparison.scale(page, beside, (feature,)) if same and there is not None else None
    left, right = st.columns(2, gap="medium")
    with left:
        comparison.inference(page, page.view.inference, feature, "here", scale, named=True)
    with right:
        if there is None:
            header.nothing(
                f"{plain(other.experiment.name)} has no inference of this problem. Choose another one above."
            )
            return
        shown = feature if same else comparison.first_feature(beside)
        comparison.inference(beside, there, shown, "there", scale, page, named=True)


def shared_problems(page: Page, other: Page) -> pd.DataFrame:
    """One row a pair of inferences of one question: problem, question, and of both (the other's with `_other`)
    inference, verdict, answer, generated_tokens."""
    here, there = (one.ask(queries.inferences) for one in (page, other))
    return paired(here, there, ("verdict", "answer", "generated_tokens"))


def _same(page: Page, other: Page) -> bool:
    one_hookpoint = page.view.hookpoint == other.view.hookpoint
    return one_hookpoint and same_features(page.experiment, other.experiment, page.view.hookpoint)


def _with_elsewhere(beside: Page, table: pd.DataFrame) -> pd.DataFrame:
    """The counts with a column `elsewhere`: in what share of the other experiment's inferences each is relevant."""
    view = beside.view
    features = tuple(table["feature"].tolist())
    found = beside.ask(
        queries.feature_table, view.hookpoint, view.scope, "inferences", view.relevant, len(features), features
    ).set_index("feature")
    counted = found["inferences"].to_dict()
    shares = [counted.get(feature, 0) / max(len(beside.inferences), 1) for feature in features]
    return table.assign(elsewhere=shares)


def _outcomes(table: pd.DataFrame, suffix: str) -> list[tuple[str, str]]:
    verdicts = [verdict.signed(each) for each in table[f"verdict{suffix}"]]
    return list(zip(verdicts, table[f"answer{suffix}"].fillna("none"), strict=True))

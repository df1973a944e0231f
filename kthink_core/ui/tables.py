"""Tables whose rows can be chosen: features and inferences."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, ProgressColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core import queries
from kthink_core.ui import verdict
from kthink_core.ui.page import Page
from kthink_core.ui.text import visible

TOKENS_HELP = "The tokens at which the feature is most active, the most active first."
ROWS = 12
"""Rows in sight of a table that scrolls."""


def relevant_features(page: Page, table: pd.DataFrame, chosen: int) -> int | None:
    """The features that matter in this inference. Returns the one that was just clicked."""
    view = page.view
    shown = pd.DataFrame(
        {
            "feature": table["feature"],
            "maximum": table["max_activation"],
            "tokens": [top_texts(page, feature, view.inference) for feature in table["feature"]],
        }
    )
    columns = {
        "feature": NumberColumn("Feature", format="%d", width=60),
        "maximum": _bar("Maximum", max(table["max_activation"], default=1), "%.2f", width=110),
        "tokens": TextColumn("Tokens", help=TOKENS_HELP),
    }
    key = f"relevant {view.experiment} {view.inference} {view.hookpoint} {view.scope} {chosen}"
    matches = [row for row, feature in enumerate(table["feature"]) if feature == chosen]
    event = st.dataframe(
        shown, hide_index=True, column_config=columns, key=key, on_select="rerun",
        selection_mode=["single-row", "single-cell"], selection_default={"selection": {"rows": matches}},
    )  # fmt: skip
    picked = [*[row for row, _ in event.selection.cells], *event.selection.rows]
    return next((int(shown["feature"].iloc[row]) for row in picked if row not in matches), None)


def feature_counts(page: Page, table: pd.DataFrame, hookpoint: str) -> int | None:
    """The features that matter in most inferences of a hookpoint. Returns the one that was just clicked."""
    shown = pd.DataFrame(
        {
            "feature": table["feature"],
            "inferences": table["inferences"],
            "tokens": [top_texts(page, feature, None, hookpoint) for feature in table["feature"]],
        }
    )
    of = int(table["of"].iloc[0])
    columns = {
        "feature": NumberColumn("Feature", format="%d", width=60),
        "inferences": _bar("Relevant in", of, f"%d of {of}", width=120),
        "tokens": TextColumn("Tokens", help=TOKENS_HELP),
    }
    row = _click(shown, columns, f"counts {page.view.experiment} {hookpoint} {page.view.scope}")
    return None if row is None else int(shown["feature"].iloc[row])


def inferences(page: Page, table: pd.DataFrame) -> int | None:
    """All inferences of the experiment. Returns the one that was just clicked."""
    shown = pd.DataFrame(
        {
            "inference": table["inference"],
            "verdict": table["correct"].map(verdict.of, na_action=None),
            "mode": table["mode"],
            "ended": table["finish_reason"].replace(verdict.ENDINGS),
            "generated": table["generated_tokens"],
            "answer": table["answer"].fillna(""),
            "reference": table["reference"].fillna(""),
            "question": table["question"],
        }
    )
    columns = {
        "inference": NumberColumn("Inference", format="%d", width=80),
        "verdict": TextColumn("Verdict", width=80),
        "mode": TextColumn("Mode", width=80),
        "ended": TextColumn("Ended", width=80),
        "generated": _bar("Generated tokens", max(table["generated_tokens"], default=1), "%d", width=150),
        "answer": TextColumn("Answer", width=90),
        "reference": TextColumn("Reference", width=90),
        "question": TextColumn("Question", width="large"),
    }
    row = _click(shown, columns, f"inferences {page.source.version}")
    return None if row is None else int(shown["inference"].iloc[row])


def feature_inferences(page: Page, table: pd.DataFrame, feature: int) -> int | None:
    """The inferences in which a feature is active. Returns the one that was just clicked."""
    shown = pd.DataFrame(
        {
            "inference": table["inference"],
            "rank": table["rank"],
            "maximum": table["max_activation"],
            "positions": table["positions"],
        }
    )
    columns = {
        "inference": NumberColumn("Inference", format="%d"),
        "rank": NumberColumn(
            "Rank", format="%d", help="Among the features of that inference, by maximum activation; 1 to 10: relevant."
        ),
        "maximum": _bar("Maximum", max(table["max_activation"], default=1), "%.2f"),
        "positions": _bar("Positions", max(table["positions"], default=1), "%d"),
    }
    view = page.view
    row = _click(shown, columns, f"where {view.experiment} {view.hookpoint} {view.scope} {feature}")
    return None if row is None else int(shown["inference"].iloc[row])


def top_texts(page: Page, feature: int, inference: int | None, hookpoint: str | None = None, top: int = 5) -> str:
    """The tokens at which a feature is most active, in a line."""
    view = page.view
    table = page.ask(
        queries.top_tokens, hookpoint or view.hookpoint, int(feature), inference=inference, scope=view.scope, top=top
    )
    return "  ".join(visible(text) for text in table["text"])


def _bar(label: str, maximum: float, format: str, width: int | None = None) -> ColumnConfig:
    return ProgressColumn(label, min_value=0, max_value=maximum, format=format, width=width)


def _click(table: pd.DataFrame, columns: dict[str, ColumnConfig], key: str) -> int | None:
    """Draw a table; a long one scrolls. Returns the row that was just clicked, in whichever of its cells."""
    event = st.dataframe(
        table,
        height="auto" if len(table) <= ROWS else 35 * (ROWS + 1),
        hide_index=True,
        column_config=columns,
        key=key,
        on_select="rerun",
        selection_mode="single-cell",
    )
    return next((int(row) for row, _ in event.selection.cells), None)

"""The sentences of a thought in figures: small tables, each of one question."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kthink_core.ui.parts import numerals


def draw(table: pd.DataFrame) -> None:
    """`table`: `evidence.sentence_results.table`. What was not measured has no table."""
    _table(
        "Importance, in nats",
        table,
        {
            "Importance": _numbers(table, "importance"),
            "95 %": _intervals(table, "low", "high"),
            "By chance": _numbers(table, "chance"),
            "p": _numbers(table, "p"),
            "q": _numbers(table, "q"),
            "No answer before": table["none_before"].tolist(),
            "No answer after": table["none_after"].tolist(),
        },
    )
    points = 100 * table.filter(items=["accuracy_difference", "accuracy_low", "accuracy_high"])
    if not all(pd.isna(value) for value in points["accuracy_difference"].tolist()):
        _table(
            "Right answers; differences in percentage points",
            table,
            {
                "Right before": [numerals.percent(share) for share in table["accuracy_before"].tolist()],
                "Right after": [numerals.percent(share) for share in table["accuracy_after"].tolist()],
                "Difference": _numbers(points, "accuracy_difference", 1),
                "95 %": _intervals(points, "accuracy_low", "accuracy_high", 1),
                "p": _numbers(table, "accuracy_p"),
                "q": _numbers(table, "accuracy_q"),
            },
        )
    _table(
        "Against rollouts whose own sentence is another, in nats",
        table,
        {
            "Other sentence": table["differing"].tolist(),
            "Counterfactual": _numbers(table, "counterfactual"),
            "95 %": _intervals(table, "counterfactual_low", "counterfactual_high"),
            "By chance": _numbers(table, "counterfactual_chance"),
            "q": _numbers(table, "counterfactual_q"),
        },
    )
    if not all(pd.isna(value) for value in table["passing"].tolist()):
        _table(
            "With the feature held, in nats",
            table,
            {
                "Importance": _numbers(table, "importance"),
                "With it held": _numbers(table, "clamped"),
                "Passes": _numbers(table, "passing"),
                "95 %": _intervals(table, "passing_low", "passing_high"),
                "q": _numbers(table, "passing_q"),
            },
        )


def _table(title: str, table: pd.DataFrame, columns: dict[str, list[str] | list[int]]) -> None:
    st.caption(title)
    shown = pd.DataFrame({"Sentence": table["sentence"] + 1, **columns})
    st.dataframe(shown, hide_index=True, alt=title)


def _numbers(table: pd.DataFrame, column: str, decimals: int = 3) -> list[str]:
    return [numerals.number(value, decimals) for value in table[column].tolist()]


def _intervals(table: pd.DataFrame, low: str, high: str, decimals: int = 2) -> list[str]:
    return [
        numerals.MISSING if pd.isna(a) else f"{numerals.number(a, decimals)} to {numerals.number(b, decimals)}"
        for a, b in zip(table[low].tolist(), table[high].tolist(), strict=True)
    ]

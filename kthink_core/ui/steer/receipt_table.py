"""What each intervention did while a text was written, and whether what was tried on it holds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core import queries
from kthink_core.records import Check, Intervention, Receipt
from kthink_core.ui.parts import download, feature_names, naming, numerals, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page

Names = Mapping[str, Mapping[int, str]]
"""What features are called, by hookpoint."""

_FIGURES = (
    ("change_median", "‖Δh‖/‖h‖", "relative_change"), ("change_max", "at most", "relative_change"),
    ("before_median", "Before", "receipt"), ("before_max", "at most ", "receipt"),
    ("after_median", "After", "receipt"), ("after_max", "at most  ", "receipt"),
)  # fmt: skip
"""Column, title and term; titles differ by blanks, as a table wants them."""

_CHECKS = {
    "as it is": ("clamped to what it has: changes nothing", "‖Δh‖ / ‖h‖", ""),
    "silent": ("a silent feature ablated: changes nothing", "‖Δh‖ / ‖h‖", ""),
    "cached": ("token by token and in one pass: same log-probabilities", "largest difference", " nats"),
}
"""By name: what is tried, what was measured of it, and its unit."""


def of_run(interventions: Sequence[Intervention], receipts: Sequence[Receipt]) -> pd.DataFrame:
    """Columns and order as of `queries.interventions`, without the inference and the checks."""
    rows = []
    for done, receipt in zip(interventions, receipts, strict=True):
        row, told = asdict(done), asdict(receipt)
        after = row.pop("after")
        row |= {"after_hookpoint": after and after["hookpoint"], "after_feature": after and after["feature"]}
        rows.append(row | {name: figure for name, figure in told.items() if name != "checks"})
    return pd.DataFrame(rows).sort_values(["hookpoint", "feature", "action", "value", "start"], ignore_index=True)


def of_live(page: Page, interventions: Sequence[Intervention], receipts: Sequence[Receipt]) -> None:
    """Of a live run that has ended."""
    st.header("Receipt", help=terms.help("receipt"))
    checks = [check for receipt in receipts for check in receipt.checks]
    draw(page, of_run(interventions, receipts), checks, "receipt of a steered run")


def of_inference(page: Page) -> None:
    """Of the stored inference in view, where it was steered."""
    table = page.ask(queries.interventions, page.view.inference)
    if table.empty:
        return
    found = page.ask(queries.steering_checks, page.view.inference)
    checks = [Check(*row) for row in found[["name", "value", "most"]].itertuples(index=False)]
    broken = not all(check.holds for check in checks)
    with st.expander(f"Steered: {plain(in_words(page, table))}", icon=":material/tune:", expanded=broken):
        draw(page, table, checks, f"steering of inference {page.view.inference}")


def in_words(page: Page, table: pd.DataFrame) -> str:
    """What was asked, one after another. `table`: columns as of `queries.interventions`."""
    names = _names(page, table)
    return "; ".join(_done(row, names) for row in table.to_dict("records"))


def draw(page: Page, table: pd.DataFrame, checks: Sequence[Check], name: str) -> None:
    """`table`: columns as of `queries.interventions`. `name` names the file."""
    if all(pd.isna(positions) for positions in table["positions"].tolist()):
        st.caption("It was written before there were receipts: what the steering did was not measured.")
        return
    names = _names(page, table)
    shown = pd.DataFrame(
        {
            "feature": [_called(row["hookpoint"], row["feature"], names) for row in table.to_dict("records")],
            "done": [_done(row, names, place=False) for row in table.to_dict("records")],
            "began": table["began"],
            "positions": table["positions"],
        }
    )
    columns: dict[str, ColumnConfig] = {
        "feature": TextColumn("Feature", width=190, pinned=True),
        "done": TextColumn(
            "Asked", width=max(120, 8 * int(shown["done"].str.len().max())), help=terms.help("strength")
        ),
        "began": NumberColumn("Began at", format="%d", width=75, help="The first generated token, from 0."),
        "positions": NumberColumn("Positions", format="%d", width=75, help="Generated positions it acted on."),
    }
    for column, title, term in _FIGURES:
        made = numerals.column(title, table[column].tolist(), decimals=3, help=terms.help(term), width=74)
        shown[column], columns[column] = made.values, made.config
    st.dataframe(
        shown, hide_index=True, column_config=columns, placeholder=numerals.MISSING,
        alt="Receipt of each intervention",
    )  # fmt: skip
    if reached := [share for row in table.to_dict("records") if (share := _reached(row, names))]:
        st.caption(
            plain(
                f"Encoded again, the changed vector gives {', '.join(reached)} (median): less than all is usual, as "
                "decoder and encoder agree only in part."
            )
        )
    for row in table.to_dict("records"):
        if row["positions"] == 0:
            st.warning(plain(_idle(row, names)), icon=":material/bedtime:")
    _checks(checks)
    download.buttons(page, name, table)


def _checks(checks: Sequence[Check]) -> None:
    """Those of a run are the same for each of its interventions."""
    if not checks:
        return
    order = list(_CHECKS)  # that of a store is another one
    found = sorted(dict.fromkeys(checks), key=lambda check: order.index(check.name) if check.name in order else 99)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Checks**", help=terms.help("steering_checks"), width="content")
        for check in found:
            tried, measured, unit = _CHECKS.get(check.name, (check.name, "measured", ""))
            st.badge(
                plain(f"{tried} ({measured} {check.value:.2g}{unit}, limit {check.most:g}{unit})"),
                icon=":material/check:" if check.holds else ":material/close:",
                color="green" if check.holds else "red",
            )
    broken = [_CHECKS.get(check.name, (check.name,))[0] for check in found if not check.holds]
    if broken:
        st.error(
            plain(f"Does not hold: {'; '.join(broken)}. What this run shows is not what was asked for."),
            icon=":material/error:",
        )


def _names(page: Page, table: pd.DataFrame) -> dict[str, dict[int, str]]:
    """What the features of a table are called, by hookpoint."""
    features: dict[str, set[int]] = {}
    for row in table.to_dict("records"):
        features.setdefault(row["hookpoint"], set()).add(int(row["feature"]))
        if isinstance(row["after_hookpoint"], str):
            features.setdefault(row["after_hookpoint"], set()).add(int(row["after_feature"]))
    return {place: feature_names.names(page, place, own) for place, own in features.items()}


def _called(hookpoint: Any, feature: Any, names: Names) -> str:
    return f"{hookpoint}:{naming.in_words(int(feature), names.get(hookpoint, {}))}"


def _reached(row: dict[Hashable, Any], names: Names) -> str:
    """How much of a clamp the changed vector gives when it is encoded again."""
    if row["action"] != "clamp" or not row["value"] or pd.isna(row["after_median"]):
        return ""
    share = numerals.percent(row["after_median"] / row["value"])
    return f"{share} of what was asked for of {_called(row['hookpoint'], row['feature'], names)}"


def _done(row: dict[str, object], names: Names, *, place: bool = True) -> str:
    """What was asked, in words."""
    strength = {"clamp": f"clamp to {row['value']:.4g}", "add": f"add {row['value']:.4g}"}.get(str(row["action"]))
    parts = [_called(row["hookpoint"], row["feature"], names)] if place else []
    parts.append(strength or str(row["action"]))
    if row["start"]:
        parts.append(f"from token {row['start']}")
    if isinstance(row["after_hookpoint"], str):
        parts.append(f"after {_called(row['after_hookpoint'], row['after_feature'], names)}")
    return " ".join(parts)


def _idle(row: dict[str, object], names: Names) -> str:
    why = f"the text ended before token {row['start']}"
    if isinstance(row["after_hookpoint"], str):
        why = f"{_called(row['after_hookpoint'], row['after_feature'], names)} never fired in time"
    return f"{_called(row['hookpoint'], row['feature'], names)} was nowhere acted on: {why}."

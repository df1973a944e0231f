"""Tables of inferences, whose rows lead to them."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from streamlit.column_config import NumberColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core.ui.parts import clicks, download, numerals, terms, verdict
from kthink_core.ui.parts.writing import visible
from kthink_core.ui.view.page import Page


def draw(page: Page, table: pd.DataFrame, go: Callable[[int], None]) -> None:
    """Inferences of the experiment. A click on a row calls `go` with its inference."""
    generated = numerals.column("Generated tokens", table["generated_tokens"].tolist(), bar_to="largest", width=150)
    shown = pd.DataFrame(
        {
            "inference": table["inference"],
            "verdict": [verdict.signed(each) for each in table["verdict"]],
            "mode": table["mode"],
            "generated": generated.values,
            "answer": table["answer"].fillna(""),
            "reference": table["reference"].fillna(""),
            "question": table["question"],
        }
    )
    columns: dict[str, ColumnConfig] = {
        "inference": NumberColumn("Inference", format="%d", width=80, pinned=True),
        "verdict": TextColumn("Verdict", width=90, help=terms.help("verdict")),
        "mode": TextColumn("Mode", width=80),
        "generated": generated.config,
        "answer": TextColumn("Answer", width=90),
        "reference": TextColumn("Reference", width=90),
        "question": TextColumn("Question", width="large"),
    }
    if any(isinstance(tags, str) for tags in table["tags"]):
        shown.insert(6, "tags", [visible(tags) if isinstance(tags, str) else "" for tags in table["tags"]])
        columns["tags"] = TextColumn("Tags", width=120)
    of = table["inference"].tolist()
    key = f"inferences {page.source.version} {page.view.outcome} {page.view.mode} {page.view.tag}"
    clicks.table(shown, columns, key, lambda row: go(int(of[row])), described="Inferences of the experiment")
    download.buttons(page, "inferences", table)


def of_feature(page: Page, table: pd.DataFrame, go: Callable[[int, int], None], feature: int) -> None:
    """The inferences in which a feature fires: columns inference, rank, positions, max_activation, peak_position,
    verdict. A click on a row calls `go` with the inference and the position of the largest activation."""
    maximum = numerals.column("Maximum", table["max_activation"].tolist(), decimals=2, bar_to="largest", width=110)
    positions = numerals.column("Positions", table["positions"].tolist(), bar_to="largest", width=110)
    shown = pd.DataFrame(
        {
            "inference": table["inference"],
            "verdict": [verdict.signed(each) for each in table["verdict"]],
            "rank": table["rank"],
            "maximum": maximum.values,
            "positions": positions.values,
            "peak": table["peak_position"],
        }
    )
    columns: dict[str, ColumnConfig] = {
        "inference": NumberColumn("Inference", format="%d", width=80, pinned=True),
        "verdict": TextColumn("Verdict", width=90, help=terms.help("verdict")),
        "rank": NumberColumn("Rank", format="%d", width=60, help=terms.help("rank")),
        "maximum": maximum.config,
        "positions": positions.config,
        "peak": NumberColumn("Peak at", format="%d", width=80, help="Position of the largest activation in scope."),
    }
    places = list(zip(table["inference"].tolist(), table["peak_position"].tolist(), strict=True))
    view = page.view
    key = f"where {page.source.version} {view.hookpoint} {view.scope} {feature}"
    clicks.table(shown, columns, key, lambda row: go(*map(int, places[row])), described="Inferences in which it fires")
    download.buttons(page, f"feature {feature} by inference", table)

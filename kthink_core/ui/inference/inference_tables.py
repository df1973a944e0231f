"""Tables of inferences, whose rows lead to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pandas as pd
from streamlit.column_config import NumberColumn, ProgressColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core.ui.parts import clicks, download, terms, verdict
from kthink_core.ui.view.page import Page


def draw(page: Page, table: pd.DataFrame, go: Callable[[int], None]) -> None:
    """Inferences of the experiment. A click on a row calls `go` with its inference."""
    shown = pd.DataFrame(
        {
            "inference": table["inference"],
            "verdict": verdicts(table["correct"].tolist()),
            "mode": table["mode"],
            "ended": table["finish_reason"].replace(verdict.ENDINGS),
            "generated": table["generated_tokens"],
            "answer": table["answer"].fillna(""),
            "reference": table["reference"].fillna(""),
            "question": table["question"],
        }
    )
    columns: dict[str, ColumnConfig] = {
        "inference": NumberColumn("Inference", format="%d", width=80, pinned=True),
        "verdict": TextColumn("Verdict", width=90),
        "mode": TextColumn("Mode", width=80),
        "ended": TextColumn("Ended", width=80),
        "generated": _bar("Generated tokens", table["generated_tokens"].tolist(), "%d", width=150),
        "answer": TextColumn("Answer", width=90),
        "reference": TextColumn("Reference", width=90),
        "question": TextColumn("Question", width="large"),
    }
    of = table["inference"].tolist()
    key = f"inferences {page.source.version} {page.view.outcome} {page.view.mode}"
    clicks.table(shown, columns, key, lambda row: go(int(of[row])), described="Inferences of the experiment")
    download.buttons(page, "inferences", table)


def of_feature(page: Page, table: pd.DataFrame, go: Callable[[int, int], None], feature: int) -> None:
    """The inferences in which a feature fires: columns inference, rank, positions, max_activation, peak_position,
    correct. A click on a row calls `go` with the inference and the position of the largest activation."""
    shown = pd.DataFrame(
        {
            "inference": table["inference"],
            "verdict": verdicts(table["correct"].tolist()),
            "rank": table["rank"],
            "maximum": table["max_activation"],
            "positions": table["positions"],
            "peak": table["peak_position"],
        }
    )
    columns: dict[str, ColumnConfig] = {
        "inference": NumberColumn("Inference", format="%d", width=80, pinned=True),
        "verdict": TextColumn("Verdict", width=90),
        "rank": NumberColumn("Rank", format="%d", width=60, help=terms.help("rank")),
        "maximum": _bar("Maximum", table["max_activation"].tolist(), "%.2f", width=110),
        "positions": _bar("Positions", table["positions"].tolist(), "%d", width=110),
        "peak": NumberColumn("Peak at", format="%d", width=80, help="Position of the largest activation in scope."),
    }
    places = list(zip(table["inference"].tolist(), table["peak_position"].tolist(), strict=True))
    view = page.view
    key = f"where {page.source.version} {view.hookpoint} {view.scope} {feature}"
    clicks.table(shown, columns, key, lambda row: go(*map(int, places[row])), described="Inferences in which it fires")
    download.buttons(page, f"feature {feature} by inference", table)


def verdicts(corrects: Iterable[object]) -> list[str]:
    """A sign and a word for each value of `correct`."""
    words = [verdict.of(correct) for correct in corrects]
    return [f"{verdict.SIGNS[word]} {word}" for word in words]


def _bar(title: str, values: Sequence[float], format: str, width: int | None = None) -> ColumnConfig:
    return ProgressColumn(title, min_value=0, max_value=max(values, default=1) or 1, format=format, width=width)

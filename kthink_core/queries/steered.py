"""What was done to the model while it wrote, and what came of it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kthink_core.queries.checks import check_inference, check_top
from kthink_core.records import Check
from kthink_core.store.reader import Reader

MOST = 10_000
"""Rows of a table."""

COLUMNS = (
    "inference", "hookpoint", "feature", "action", "value", "start", "after_hookpoint", "after_feature", "began",
    "positions", "change_median", "change_max", "before_median", "before_max", "after_median", "after_max", "checks",
)  # fmt: skip


def interventions(reader: Reader, inference: int | None = None, top: int = MOST) -> pd.DataFrame:
    """Each intervention with its receipt (records.Receipt), of one inference or of all: `COLUMNS`. `checks` is text:
    what was tried, the value found, the most that it may be. What was written before there were receipts has none."""
    check_top(top)
    if inference is not None:
        check_inference(reader, inference)
    here = "TRUE" if inference is None else "inference = $inference"
    sql = f"""
        SELECT {", ".join(COLUMNS)} FROM interventions WHERE {here}
        ORDER BY inference, hookpoint, feature, action, value, start LIMIT $top
    """
    table = reader.query(sql, {"top": top} if inference is None else {"top": top, "inference": inference})
    return table.assign(checks=[_text(checks) for checks in table["checks"]])


def steering_checks(reader: Reader, inference: int) -> pd.DataFrame:
    """What was tried on a steered inference: name, value, most, holds. Empty where nothing was."""
    check_inference(reader, inference)
    sql = """
        SELECT DISTINCT tried.name AS name, tried.value AS value, tried.most AS most
        FROM (SELECT unnest(checks) AS tried FROM interventions WHERE inference = $inference)
        ORDER BY name, value, most LIMIT $top
    """
    table = reader.query(sql, {"inference": inference, "top": MOST})
    return table.assign(holds=table["value"] <= table["most"])


def _text(checks: Any) -> str | None:
    if checks is None:
        return None
    return "; ".join(Check(**check).text for check in checks)

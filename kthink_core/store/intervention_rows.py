"""An intervention with its trigger and its receipt as one flat row: in segment files, and in the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from kthink_core.records import Check, Inference, Intervention, Receipt, Trigger

OLDER_INTERVENTION = pa.struct(
    [
        ("hookpoint", pa.string()),
        ("feature", pa.int32()),
        ("action", pa.string()),
        ("value", pa.float64()),
        ("start", pa.int32()),
    ]
)
"""As it was before the journal's schema 4 and the database's 5."""

_FIGURES = (
    "change_median", "change_max", "before_median", "before_max", "after_median", "after_max",
)  # fmt: skip
INTERVENTION = pa.struct(
    [
        *OLDER_INTERVENTION,
        ("after_hookpoint", pa.string()),
        ("after_feature", pa.int32()),
        ("began", pa.int32()),
        ("positions", pa.int32()),
        *((name, pa.float64()) for name in _FIGURES),
        ("checks", pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64()), ("most", pa.float64())]))),
    ]
)
"""`began` and what follows are the receipt's; `positions` is null where there is none."""


def intervention_rows(inference: Inference) -> list[dict[str, Any]]:
    """One row an intervention, in order, with all fields of `INTERVENTION`; those it lacks are None."""
    rows = []
    for done, receipt in zip_longest(inference.interventions, inference.receipts):
        row = asdict(done)
        after = row.pop("after")
        row |= {"after_hookpoint": after and after["hookpoint"], "after_feature": after and after["feature"]}
        told = asdict(receipt) if receipt else {}
        rows.append(row | {name: told.get(name) for name in ("began", "positions", *_FIGURES, "checks")})
    return rows


def intervention_of(row: Mapping[str, Any]) -> Intervention:
    """Of a row of either kind."""
    after = Trigger(row["after_hookpoint"], row["after_feature"]) if row.get("after_hookpoint") is not None else None
    return Intervention(row["hookpoint"], row["feature"], row["action"], row["value"], row["start"], after)


def receipt_of(row: Mapping[str, Any]) -> Receipt:
    """Of a row whose `positions` is not null."""
    checks = tuple(Check(**check) for check in row["checks"] or ())
    return Receipt(row["began"], row["positions"], **{name: row[name] for name in _FIGURES}, checks=checks)

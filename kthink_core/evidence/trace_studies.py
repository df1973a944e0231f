"""Stored studies of single traces, those that are still of what the traces are."""

from __future__ import annotations

from typing import TypeVar

import pandas as pd

from kthink_core.queries.checks import check_hookpoint, check_inference
from kthink_core.queries.inference import transcript
from kthink_core.store.causal_studies import AblationStudy, AttributionStudy
from kthink_core.store.reader import Reader
from kthink_core.store.studies import Kind, list_studies, trace_digest

Causal = TypeVar("Causal", AblationStudy, AttributionStudy)


def stored(
    reader: Reader, kind: Kind, model: type[Causal], inference: int | None, hookpoint: str | None
) -> tuple[list[Causal], list[str]]:
    """Studies of what inferences are now, the newest first, and a line for each document that does not count. None:
    whichever. Raises OutOfRange, UnknownName."""
    if inference is not None:
        check_inference(reader, inference)
    if hookpoint is not None:
        check_hookpoint(reader, hookpoint)
    listed = list_studies(reader.layout, reader.experiment, kind, model)
    now: dict[int, str] = {}
    found: list[Causal] = []
    for study in listed.found.values():
        number = study.trace.inference
        if number not in reader.inference_ids or inference not in (None, number):
            continue
        if number not in now:
            now[number] = trace_digest(transcript(reader, number)["token_id"].tolist())
        if study.trace.digest == now[number] and hookpoint in (None, study.question.hookpoint):
            found.append(study)
    return found, listed.problems


def whole_numbers(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """The table with these columns as whole numbers, of which some may be missing."""
    return table.astype(dict.fromkeys(columns, "Int64"))

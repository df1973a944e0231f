"""What a row of each answer looks like, as JSON Schema has it. A column means the same wherever it occurs."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from kthink_core.listing import QUERIES

WHOLE = frozenset({
    "active", "active_inferences", "active_negative", "active_other", "active_positive", "after_feature", "alike",
    "answer_active", "answer_positions", "apart", "b", "before_nodes", "began", "both", "c", "change_position",
    "checks_failed", "compared", "count", "cut", "differing", "family", "feature", "feature_other", "firing", "first",
    "generated_tokens", "inference", "inference_a", "inference_b", "inferences", "inferences_a", "inferences_b",
    "kl_position", "labelings", "last", "marked", "members", "more_positions", "n", "n_a", "n_b", "near_marked",
    "near_misses", "needed", "negative_positions", "neither", "none_after", "none_before", "of", "of_a", "of_b",
    "only_first", "only_second", "other", "page", "parent_inference", "parent_position", "peak", "peak_position",
    "place", "position", "position_a", "position_b", "positions", "positions_a", "positions_b", "positions_other",
    "positive_positions", "predictions", "problem", "problems", "prompt_tokens", "rank", "relevant_inferences",
    "rollouts", "runs", "sample", "samples", "seed", "sentence", "shared", "shown_inference", "shown_position",
    "sinks", "span_size", "start", "step", "tested", "think_active", "think_positions", "token_id", "tokens",
    "tokens_compared",
})  # fmt: skip
TEXT = frozenset({
    "action", "after_hookpoint", "answer", "author", "band", "checks", "created", "explained", "features",
    "finding", "finish_reason", "grain", "half", "hookpoint", "measure", "mode", "name", "node", "parent_experiment",
    "problems_from", "question", "reference", "rival", "scope", "segment", "side", "sign", "strategy", "strengths",
    "study", "text", "verdict",
})  # fmt: skip
YES_NO = frozenset({"closed", "comparable", "complete", "correct", "holds", "written"})
"""All other columns are numbers. A cell of which nothing is known is null in any."""


def kind_of(column: str) -> Any:
    """Its type in JSON."""
    kind = int if column in WHOLE else str if column in TEXT else bool if column in YES_NO else float
    return kind | None


class Page(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid")

    total: int = Field(description="rows of the whole answer")
    offset: int = Field(description="rows before the first one here")
    next: str | None = Field(description="where the next rows are, relative to this address; null: these are the last")
    version: str = Field(description="of what is stored of the experiment")
    remarks: list[str] = Field(description="what to know before believing it, and what was left out")


@cache
def row_of(query: str) -> type[BaseModel]:
    """The model of a row."""
    fields: dict[str, Any] = {column: (kind_of(column), ...) for column in QUERIES[query].columns}
    return create_model(f"{_title(query)}Row", __config__=ConfigDict(extra="forbid"), **fields)


@cache
def page_of(query: str) -> type[BaseModel]:
    """The model of what is answered."""
    rows: Any = (list[row_of(query)], Field(description="in the order of the query"))
    return create_model(_title(query), __base__=Page, rows=rows)


def _title(query: str) -> str:
    return "".join(part.capitalize() for part in query.split("-"))

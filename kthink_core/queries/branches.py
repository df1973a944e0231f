"""Kept runs that were begun as another trace."""

from __future__ import annotations

import pandas as pd

from kthink_core.queries.checks import check_inference, check_top
from kthink_core.store.reader import Reader
from kthink_core.store.verdicts import VERDICT

COLUMNS = (
    "inference", "parent_experiment", "parent_inference", "parent_position", "token_id", "text", "seed",
    "generated_tokens", "finish_reason", "answer", "verdict", "author",
)  # fmt: skip


def branches(reader: Reader, inference: int | None = None, top: int = 10_000) -> pd.DataFrame:
    """Inferences of this experiment that are branches, or one of them: they go on from a position of another trace, its
    parent, with another token or seed, by the exact tokens before it. inference, parent_experiment, parent_inference
    (null where the parent was not kept), parent_position (the first that is not the parent's), token_id, text (of the
    token there), seed, generated_tokens (with the parent's), finish_reason, answer, verdict, author. Branches are kept
    in the experiments of live runs, whatever experiment their parents are of."""
    check_top(top)
    if inference is not None:
        check_inference(reader, inference)
    here = "TRUE" if inference is None else "inference = $inference"
    columns = ", ".join(column for column in COLUMNS if column not in ("token_id", "text", "verdict"))
    sql = f"""
        SELECT {", ".join(COLUMNS)}
        FROM (
            SELECT {columns}, {VERDICT} AS verdict FROM inferences WHERE parent_position IS NOT NULL AND {here}
        ) AS found LEFT JOIN (SELECT inference, position AS parent_position, token_id, text FROM tokens)
            USING (inference, parent_position)
        ORDER BY inference LIMIT $top
    """
    return reader.query(sql, {"top": top} if inference is None else {"top": top, "inference": inference})

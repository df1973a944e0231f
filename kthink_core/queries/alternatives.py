"""What else the model might have written, where, and how undecided it was."""

from __future__ import annotations

import pandas as pd

from kthink_core.queries.checks import check_inference
from kthink_core.store.reader import Reader


def alternatives(reader: Reader, inference: int, position: int | None = None) -> pd.DataFrame:
    """The likeliest tokens at each generated position, or at one: position, rank (from 1), token_id, text, logprob,
    written (whether it is the token that stands there), entropy (of the whole distribution there, in nats, the same in
    each row of a position). Of the model's own distribution: natural, temperature 1, before top-p. Five a position,
    likeliest first. Empty where they are not stored: of what was made before they were, or imported from elsewhere."""
    check_inference(reader, inference)
    here = "TRUE" if position is None else "position = $position"
    sql = f"""
        SELECT position, rank, ids[rank] AS token_id, texts[rank] AS text, logprobs[rank] AS logprob,
            ids[rank] = token_id AS written, entropy
        FROM (
            SELECT position, unnest(generate_series(1, len(token_ids)))::INTEGER AS rank, token_ids AS ids, texts,
                logprobs, entropy
            FROM alternatives WHERE inference = $inference AND {here}
        ) JOIN (SELECT position, token_id FROM tokens WHERE inference = $inference) USING (position)
        ORDER BY position, rank
    """
    given = {"inference": inference} if position is None else {"inference": inference, "position": position}
    return reader.query(sql, given)

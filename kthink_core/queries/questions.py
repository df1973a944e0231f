"""The problems of an experiment, each once."""

from __future__ import annotations

import pandas as pd

from kthink_core.queries.checks import check_top
from kthink_core.store.reader import Reader


def questions(reader: Reader, top: int = 100) -> pd.DataFrame:
    """The first `top` problems of which an inference is stored: problem, question, reference (null: not known)."""
    check_top(top)
    sql = """
        SELECT problem, min(question) AS question, min(reference) AS reference FROM inferences
        GROUP BY problem ORDER BY problem LIMIT $top
    """
    return reader.query(sql, {"top": top})

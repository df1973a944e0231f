"""What a feature's decoder row says of it: the rows nearest to it, and the tokens it promotes."""

from __future__ import annotations

import pandas as pd

from kthink_core.queries.checks import check_feature, check_top
from kthink_core.store.reader import Reader


def neighbours(reader: Reader, hookpoint: str, feature: int, top: int = 10) -> pd.DataFrame:
    """The features of the hookpoint whose decoder rows point most nearly the same way: rank (from 1), feature, cosine.

    At most the ten that are stored; empty for a feature that never is active, and until the experiment is finished.
    """
    check_feature(reader, hookpoint, feature)
    check_top(top)
    sql = """
        SELECT rank, neighbour AS feature, cosine FROM neighbours
        WHERE hookpoint = $hookpoint AND feature = $feature AND rank <= $top ORDER BY rank
    """
    return reader.query(sql, {"hookpoint": hookpoint, "feature": feature, "top": top})


def promoted_tokens(reader: Reader, hookpoint: str, feature: int, top: int = 10) -> pd.DataFrame:
    """The tokens that a feature promotes and suppresses most: sign ("promoted", then "suppressed"), rank (from 1),
    token_id, text, logit.

    Logit lens (nostalgebraist 2020): logit = W_U · (γ ∘ W_dec[feature]), γ the weight of the model's final norm. The
    norm's own scale is left out, as it depends on everything else at the position, and so is what later layers make of
    the direction: logits of one feature compare with each other, those of different layers do not. At most the ten
    that are stored; empty for a feature that never is active, and until the experiment is finished.
    """
    check_feature(reader, hookpoint, feature)
    check_top(top)
    sql = """
        SELECT sign, rank, token_id, text, logit FROM promoted_tokens
        WHERE hookpoint = $hookpoint AND feature = $feature AND rank <= $top ORDER BY sign, rank
    """
    return reader.query(sql, {"hookpoint": hookpoint, "feature": feature, "top": top})

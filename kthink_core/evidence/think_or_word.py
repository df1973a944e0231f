"""Does a feature follow the word or the phase? On the same token, how often does it fire inside a thought, how often
outside?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from kthink_core.evidence.clustered_shares import share_intervals
from kthink_core.evidence.phase_finding import finding, told
from kthink_core.evidence.phase_parts import MOST, Counts, compared, parts_of
from kthink_core.queries.checks import check_feature, check_top, in_scope
from kthink_core.queries.fragments import activations_of_feature
from kthink_core.store.reader import Reader

_SIDES = ("think", "answer")
_PARTS = {"difference": "", "words": "words_", "phase": "phase_", "one_sided": "one_sided_"}
"""What comes before `low` and `high` of each."""
COLUMNS = (
    "finding", "think_active", "think_positions", "think_share", "answer_active", "answer_positions", "answer_share",
    "difference", "low", "high", "words", "words_low", "words_high", "phase", "phase_low", "phase_high", "one_sided",
    "one_sided_low", "one_sided_high", "like_think", "like_answer", "tokens", "tokens_compared", "problems",
)  # fmt: skip
TOKENS = (
    "token_id", "text", "comparable", "think_active", "think_positions", "think_share", "think_low", "think_high",
    "answer_active", "answer_positions", "answer_share", "answer_low", "answer_high", "points",
)  # fmt: skip

_FIRED = f"""
    SELECT token_id, min(text) AS text, count(*) AS active, count(*) OVER () AS of
    FROM ({activations_of_feature("generated")}) JOIN tokens USING (inference, position)
    GROUP BY token_id ORDER BY active DESC, token_id LIMIT $most
"""
_CELLS = f"""
    WITH own AS ({activations_of_feature("generated")})
    SELECT token_id, problem, (segment = 'answer')::BIGINT AS side, count(*) AS positions, count(own.position) AS active
    FROM tokens JOIN inferences USING (inference)
        LEFT JOIN own ON own.inference = tokens.inference AND own.position = tokens.position
    WHERE {in_scope("generated")} AND token_id IN (SELECT unnest($tokens::INTEGER[]))
    GROUP BY ALL ORDER BY ALL
"""
_WHERE_FIRED = f"""
    SELECT problem, (segment = 'answer')::BIGINT AS side, sum(positions)::BIGINT AS active
    FROM feature_inferences JOIN inferences USING (inference)
    WHERE hookpoint = $hookpoint AND feature = $feature AND {in_scope("generated")} GROUP BY ALL ORDER BY ALL
"""
_TOTALS = f"""
    SELECT problem, count(*) FILTER (segment = 'think') AS think, count(*) FILTER (segment = 'answer') AS answer
    FROM tokens JOIN inferences USING (inference) WHERE {in_scope("generated")} GROUP BY problem ORDER BY problem
"""


class _Found(NamedTuple):
    tokens: pd.DataFrame
    """token_id, text: those on which the feature fires most often, by how often."""
    of: int
    """Tokens on which it fires in all."""
    counts: Counts


def think_or_word(reader: Reader, hookpoint: str, feature: int) -> pd.DataFrame:
    """Whether a feature follows the word or the phase; one row: finding, think_active, think_positions, think_share,
    answer_active, answer_positions, answer_share, difference, low, high, words, words_low, words_high, phase,
    phase_low, phase_high, one_sided, one_sided_low, one_sided_high, like_think, like_answer, tokens, tokens_compared,
    problems.

    think_share: of the think_positions inside thoughts the part think_active at which it fires, answer_share: of those
    after them. difference: the first less the second, of which words, phase and one_sided are the parts, see
    `phase_parts`: words, because other tokens stand there; phase, because it fires otherwise on the same tokens;
    one_sided, of tokens that stand fewer than five times on either side, so that neither can be told. low, high: ends
    of 95 % intervals by bootstrap over problems. like_think, like_answer: at how large a share it fires on the tokens
    that are compared, in one mixture for both. tokens: distinct ones on which it fires; tokens_compared: those of them
    that stand five times or more on both sides, among the 250 on which it fires most often; problems: those with
    positions on both. finding: in a word, see `phase_finding.finding`. Raises UnknownName, OutOfRange.
    """
    found = _read(reader, hookpoint, feature, MOST)
    totals = found.counts.totals
    of_sides, fired = totals.sum(axis=1), found.counts.fired.sum(axis=1)
    row: dict[str, object] = {}
    for name, active, positions in zip(_SIDES, fired.tolist(), of_sides.tolist(), strict=True):
        share = active / positions if positions else np.nan
        row |= {f"{name}_active": active, f"{name}_positions": positions, f"{name}_share": share}
    parts = parts_of(found.counts)
    for name, prefix in _PARTS.items():
        value, low, high = getattr(parts, name)
        row |= {name: value, f"{prefix}low": low, f"{prefix}high": high}
    problems = int((totals > 0).all(axis=0).sum())
    row |= {"like_think": parts.like_think, "like_answer": parts.like_answer, "tokens": found.of}
    row |= {"tokens_compared": int(compared(found.counts).sum()), "problems": problems}
    row["finding"] = finding(parts, tuple(fired.tolist()), tuple(of_sides.tolist()), problems)
    return pd.DataFrame([row], columns=list(COLUMNS))


def think_or_word_tokens(reader: Reader, hookpoint: str, feature: int, top: int = 100) -> pd.DataFrame:
    """The tokens on which a feature fires, inside thoughts and after them, the first `top`, comparable ones before
    others, then by how often it fires, then by the smaller id: token_id, text, comparable, think_active,
    think_positions, think_share, think_low, think_high, answer_active, answer_positions, answer_share, answer_low,
    answer_high, points.

    think_positions: how often the token stands inside a thought, think_active: how often the feature fires there,
    think_share: the part, from think_low to think_high with 95 % confidence (`clustered_shares`), null where the token
    does not stand there; answer_…: after a thought. comparable: as `tokens_compared` of `think_or_word` counts. points:
    what the token contributes to the `difference` of `think_or_word`. Raises UnknownName, OutOfRange, BadValue.
    """
    check_top(top)
    tokens, _, counts = _read(reader, hookpoint, feature, max(top, MOST))
    positions, active = counts.by_token()
    table = tokens.assign(comparable=compared(counts))
    with np.errstate(divide="ignore", invalid="ignore"):
        points = active / counts.totals.sum(axis=1)[:, None]
        shares = active / positions
    for side, name in enumerate(_SIDES):
        here = counts.side == side
        low, high = share_intervals(counts.token[here], counts.active[here], counts.positions[here], len(tokens))
        table[f"{name}_active"], table[f"{name}_positions"] = active[side], positions[side]
        table[f"{name}_share"], table[f"{name}_low"], table[f"{name}_high"] = shares[side], low, high
    table = table.assign(points=points[0] - points[1]).sort_values("comparable", ascending=False, kind="stable")
    return table.loc[:, list(TOKENS)].head(top).reset_index(drop=True)


def remarks(table: pd.DataFrame) -> list[str]:
    """What the answer of `think_or_word` says, in sentences."""
    return told(table.iloc[0].to_dict())


def _read(reader: Reader, hookpoint: str, feature: int, most: int) -> _Found:
    """Counts of the first `most` tokens."""
    check_feature(reader, hookpoint, feature)
    own = {"hookpoint": hookpoint, "feature": feature}
    tokens = reader.query(_FIRED, own | {"most": most})
    cells = reader.query(_CELLS, own | {"tokens": tokens["token_id"].tolist()})
    whole, where = reader.query(_TOTALS), reader.query(_WHERE_FIRED, own)
    problems = whole["problem"].to_numpy()
    fired = np.zeros((2, len(problems)), np.int64)
    fired[where["side"], np.searchsorted(problems, where["problem"])] = where["active"]
    ids = pd.Index(tokens["token_id"])
    counts = Counts(
        ids.get_indexer(pd.Index(cells["token_id"])).astype(np.int64),
        np.searchsorted(problems, cells["problem"].to_numpy()).astype(np.int64),
        cells["side"].to_numpy(np.int64),
        cells["positions"].to_numpy(np.int64),
        cells["active"].to_numpy(np.int64),
        whole[list(_SIDES)].to_numpy(np.int64).T,
        fired,
    )
    of = next(iter(tokens["of"].tolist()), 0)
    return _Found(tokens.filter(items=["token_id", "text"]), of, counts)

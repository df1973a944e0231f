"""What databases of Goodfire's layout must have, and must not, before they are read.

Arrays put together from the rows then have the lengths, and the numbers the ranges, that the rest of the code takes for
granted; nothing larger than the bounds here is ever held in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb

from kthink_core.config import GOODFIRE, MOST_INFERENCES, MOST_LATENTS
from kthink_core.errors import BadFile
from kthink_core.travel.goodfire import ACTIVATIONS, TOKENS
from kthink_core.travel.received import check_rows, check_rules, tables_of, told

MOST_POSITIONS = 2**20
"""Tokens of one sequence."""
MOST_KEPT = 2**27
"""Cells of one sequence's latents: positions times the most features that one of them has."""
MOST_TEXT = 2_000
"""Characters of one token."""

_INTEGERS = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"
}  # fmt: skip
_FLOATS = {"FLOAT", "DOUBLE"}


def is_goodfire(tables: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a file has the tables of the layout, by name and columns."""
    columns = {"tokens": TOKENS, "activations": ACTIVATIONS}
    return all(columns[table].keys() <= tables.get(table, {}).keys() for table in columns)


def check_goodfire(connection: duckdb.DuckDBPyConnection, path: Path, catalog: str) -> None:
    """Raises BadFile for types, numbers and rows that the layout has not."""
    with told(path):
        tables = tables_of(connection, catalog)
        if not is_goodfire(tables):
            raise BadFile(path, f"it is not of the layout '{GOODFIRE}', as the others are")
        for table, columns in (("tokens", TOKENS), ("activations", ACTIVATIONS)):
            for column, kind in columns.items():
                found = tables[table][column]
                fits = {"INTEGER": _INTEGERS, "FLOAT": _FLOATS}.get(kind, {kind})
                if found not in fits:
                    raise BadFile(path, f"{table}.{column} is {found[:60]}, not {kind}")
        check_rows(connection, path, catalog, ("tokens", "activations"))
        check_rules(connection, path, _rules(f"{catalog}.main"))


def _rules(at: str) -> list[tuple[str, str]]:
    """Queries of what must not be, with what it is called."""
    wrong = "NOT coalesce({column} BETWEEN 0 AND {most}, false)"
    numbers = [
        ("tokens", "sequence_id", 2**31 - 1), ("tokens", "token_idx", 2**31 - 1), ("tokens", "token", 2**31 - 1),
        ("activations", "feature_id", MOST_LATENTS - 1), ("activations", "sequence_id", 2**31 - 1),
        ("activations", "token_idx", 2**31 - 1),
    ]  # fmt: skip
    ranges = [
        (
            f"SELECT {column} FROM {at}.{table} WHERE {wrong.format(column=column, most=most)}",
            f"a {column} that is no number from 0 to {most:,}",
        )
        for table, column, most in numbers
    ]
    return [
        *ranges,
        (
            f"SELECT sequence_id, token_idx FROM {at}.tokens "
            f"WHERE NOT coalesce(length(decoded_token) <= {MOST_TEXT}, false)",
            f"a token without text, or of more than {MOST_TEXT:,} characters",
        ),
        (
            f"SELECT sequence_id, token_idx, feature_id FROM {at}.activations "
            "WHERE NOT coalesce(isfinite(strength) AND strength BETWEEN 0 AND 3e38, false)",
            "a strength that is no finite number from 0 on",
        ),
        (
            f"SELECT sequence_id, count(*) FROM {at}.tokens GROUP BY ALL HAVING count(*) > {MOST_POSITIONS}",
            f"a sequence of more than {MOST_POSITIONS:,} tokens",
        ),
        (
            f"SELECT sequence_id, token_idx FROM {at}.tokens GROUP BY ALL HAVING count(*) > 1",
            "two tokens at one place",
        ),
        (
            f"SELECT sequence_id, token_idx, feature_id FROM {at}.activations GROUP BY ALL HAVING count(*) > 1",
            "two strengths of one feature at one place",
        ),
        (
            f"SELECT sequence_id, token_idx FROM {at}.activations ANTI JOIN {at}.tokens USING (sequence_id, token_idx)",
            "an activation at a place without a token",
        ),
        (
            f"SELECT sequence_id, token_idx, count(*) FROM {at}.activations GROUP BY ALL "
            f"HAVING count(*) > {MOST_KEPT // 1024}",
            "too many features at one place",
        ),
        (
            f"SELECT count(DISTINCT sequence_id) AS n FROM {at}.tokens HAVING n = 0 OR n > {MOST_INFERENCES}",
            f"not from 1 to {MOST_INFERENCES:,} sequences",
        ),
    ]

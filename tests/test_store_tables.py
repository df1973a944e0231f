"""docs/store.md says of every table and column what it means."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from kthink_core.store.database import create_tables
from tests.app_samples import sample_experiment
from tests.import_graph import ROOT

ROW = re.compile(r"\| `(\w+)` \| ([^|]+) \| ([^|]+) \|")


def documented(text: str) -> dict[str, dict[str, str]]:
    """By table and column, in the order of the text: the type. A column that is explained twice is no dictionary."""
    tables = {}
    for section in text.split("\n## ")[1:]:
        name, _, rest = section.partition("\n")
        rows = ROW.findall(rest)
        assert all(len(meaning.split()) > 0 for _, _, meaning in rows)
        assert len({column for column, _, _ in rows}) == len(rows)
        tables[name] = {column: kind for column, kind, _ in rows}
    return tables


def created(folder: Path) -> dict[str, dict[str, str]]:
    """What DuckDB has after the statements of the store."""
    with duckdb.connect(str(folder / "empty.duckdb")) as connection:
        create_tables(connection, "empty", sample_experiment("demo", 1))
        found = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE database_name = 'empty' AND NOT internal ORDER BY table_oid, column_index"
        ).fetchall()
    tables: dict[str, dict[str, str]] = {}
    for table, column, kind in found:
        # An enumeration's values belong to the experiment: the document names the type.
        kind = column if kind.startswith("ENUM(") else kind
        tables.setdefault(table, {})[column] = kind
    return tables


def test_every_table_and_column_is_documented(tmp_path: Path) -> None:
    told, there = documented((ROOT / "docs/store.md").read_text("utf-8")), created(tmp_path)
    assert told.keys() == there.keys()
    for table, columns in there.items():
        assert list(told[table].items()) == list(columns.items()), table

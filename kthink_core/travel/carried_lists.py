"""Lists of features that travel with an experiment and its notes: a table, a list a row, or a file of lists beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb

from kthink_core.documents import checked, parse
from kthink_core.errors import BadFile
from kthink_core.travel.list_files import MOST_LISTS, CarriedList
from kthink_core.travel.received import told

BESIDE = "lists.jsonl"
"""What the file is called in a folder of Goodfire's layout."""
TABLE = "lists"
_TYPES = {"document": "VARCHAR"}
"""Of the table; `document`: a line of a file of lists."""
_LONGEST = 2_000_000
"""Characters of one."""


def add_lists(path: Path, lines: Iterable[str]) -> None:
    """Adds the table to a database that is being made."""
    with duckdb.connect(str(path), config={"autoinstall_known_extensions": "false"}) as connection:
        connection.execute(f"CREATE TABLE {TABLE} (document VARCHAR)")
        for line in lines:
            connection.execute(f"INSERT INTO {TABLE} VALUES (?)", [line])


def lists_in(
    connection: duckdb.DuckDBPyConnection, path: Path, catalog: str, tables: Mapping[str, Mapping[str, str]]
) -> tuple[CarriedList, ...]:
    """The rows of a received database's table; none where it has no such table. Raises BadFile."""
    if TABLE not in tables:
        return ()
    if tables[TABLE] != _TYPES:
        raise BadFile(path, f"its table {TABLE} is not that of an export")
    with told(path):
        asked = f"SELECT count(*), count(*) FILTER (length(document) > {_LONGEST}) FROM {catalog}.main.{TABLE}"
        ((count, long),) = connection.execute(asked).fetchall()
        if count > MOST_LISTS or long:
            raise BadFile(path, f"more lists than {MOST_LISTS:,}, or longer ones than are kept")
        rows = connection.execute(f"SELECT document FROM {catalog}.main.{TABLE} ORDER BY rowid").fetchall()
    return tuple(checked(path, parse(path, str(line).encode()), CarriedList) for (line,) in rows)

"""Texts as cells of a CSV file that a spreadsheet opens: nothing that a model or a person wrote is computed there.

An apostrophe goes before a text that begins as a formula does, after any apostrophes of its own. One that is taken off
again before such a beginning leaves every text as it was.
"""

from __future__ import annotations

import csv
import re

import pandas as pd

_FORMULA = r"'*[=+\-@\t\r]"
_COMPUTED = re.compile(_FORMULA)
_COMPUTED_PART = re.compile(rf"(?<=[,;])(?={_FORMULA})")

READ_BACK = f"""replace(r"^'(?={_FORMULA})", '', regex=True)"""
"""The method that gives a table, read by pandas from such a file, its texts back."""


def as_csv(table: pd.DataFrame) -> str:
    """A header and the rows, texts quoted and inert, be it in a column of texts, of categories or of anything. Numbers
    stay numbers."""
    inert = table.copy(deep=False)
    for place, (_, column) in enumerate(table.items()):
        if column.dtype == object or isinstance(column.dtype, (pd.StringDtype, pd.CategoricalDtype)):
            inert.isetitem(place, pd.Series([_inert(cell) for cell in column], table.index, dtype=object))
    # Python's csv quotes no text with a carriage return by itself, at which others then end the row.
    return inert.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")


def inert_line(line: str) -> str:
    """A line that is no table, but which a spreadsheet cuts at its commas and semicolons all the same."""
    return _COMPUTED_PART.sub("'", line)


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and _COMPUTED.match(cell) else cell

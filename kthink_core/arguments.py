"""What the command line is given, checked before anything is done with it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable

from kthink_core.config import check_name
from kthink_core.errors import BadValue, encodable, short


def check_text(arguments: Iterable[str]) -> None:
    """Raises BadValue for bytes that are not UTF-8: no database and no page takes them, not as a path either."""
    for argument in arguments:
        if encodable(argument) != argument:
            raise BadValue(f"argument '{short(argument)}' is no text: its bytes are not UTF-8")


def experiment_name(text: str) -> str:
    """The value of an option. Raises BadValue for what is no plain folder name."""
    check_name(text)
    return text


def whole_number(text: str) -> int:
    """The value of an option; of no more digits than a database's integers have."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"'{short(text)}' is no whole number of at most 18 digits")
    return int(text)

"""What every request to the worker is made of: text that can be encoded and tokenized, names, bounds."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from kthink_core.config import check_name
from kthink_core.errors import BadValue

MOST_CHARACTERS = 200_000
"""Longest text of a request; the limit that matters is in tokens and is the worker's to set."""
MOST_REFERENCE = 2000
"""Characters of a reference answer."""


def _whole(value: object) -> object:
    """Text that can be encoded: JSON can hold half of a surrogate pair, which is no character."""
    if isinstance(value, str) and (half := re.search("[\ud800-\udfff]", value)):
        raise ValueError(f"character {half.start()} is half a surrogate pair: remove it")
    return value


def _plain(text: str) -> str:
    """No control characters but newline and tab."""
    if control := re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text):
        code = ord(control.group())
        raise ValueError(f"character {control.start()} is the control character U+{code:04X}: remove it")
    return text


def _typed(text: str) -> str:
    """A text that can be tokenized: not blank."""
    if not text.strip():
        raise ValueError("it is empty: type something")
    return _plain(text.replace("\r\n", "\n").replace("\r", "\n"))


def _line(text: str) -> str:
    return _plain(" ".join(text.split()))


def _named(name: str) -> str:
    """A plain name of an experiment."""
    try:
        check_name(name)
    except BadValue as error:
        raise ValueError(str(error)) from error
    return name


_Whole = BeforeValidator(_whole)  # first of all: what pydantic itself says of such text names no character
Typed = Annotated[str, Field(max_length=MOST_CHARACTERS), _Whole, AfterValidator(_typed)]
Author = Annotated[str, Field(max_length=80), _Whole, AfterValidator(_line)]
Reference = Annotated[str, Field(max_length=MOST_REFERENCE), _Whole]
ExperimentName = Annotated[str, Field(max_length=100), _Whole, AfterValidator(_named)]
Hookpoint = Annotated[str, Field(max_length=200), _Whole, AfterValidator(_plain)]
Hookpoints = Annotated[tuple[Hookpoint, ...], Field(max_length=64)]


class Request(BaseModel):
    """Nothing in it that nobody asked for, no number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

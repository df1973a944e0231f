"""JSON that somebody else may have written: bounded in size and depth, and checked against a schema before it is used.

No library gets such a file to interpret: it gets values that were checked here. What is trusted, what is checked and
what is not: docs/trust.md.
"""

from __future__ import annotations

import stat
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from kthink_core.errors import BadFile, encodable

MOST_BYTES = 1_000_000
"""Longest document, unless asked otherwise."""

_SHOWN_PROBLEMS = 3
_SHOWN = 160
"""Characters that are repeated of what is wrong."""

Model = TypeVar("Model", bound=BaseModel)


def read_bounded(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a plain file. Raises BadFile where it is none or is longer than `most` bytes, OSError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a folder fails later anyhow, a pipe would wait for ever
        raise BadFile(path, "it is no plain file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise BadFile(path, f"it is longer than {most:,} bytes")
    return content


def parse(path: Path, content: bytes, *, infinite: bool = False) -> Any:
    """The value of a JSON text, at most some 200 levels deep. Raises BadFile, naming `path`.

    infinite: let it hold Infinity and NaN, which JSON has not, and Python's own writer writes.
    """
    try:
        return from_json(content.removeprefix(BOM_UTF8), allow_inf_nan=infinite)  # RFC 8259, section 8.1
    except ValueError as error:
        raise BadFile(path, f"it is no JSON: {_short(str(error))}") from error


def parse_object(path: Path, content: bytes, *, infinite: bool = False) -> dict[str, Any]:
    """As `parse`, of a text that holds one object."""
    value = parse(path, content, infinite=infinite)
    if not isinstance(value, dict):
        raise BadFile(path, f"it holds {_kind(value)}, not an object")
    return value


def checked(path: Path, value: object, model: type[Model]) -> Model:
    """A value of a document as a model. Raises BadFile, naming `path`, the fields and what is wrong with them."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise BadFile(path, told(error)) from error


class Line(NamedTuple):
    """One line of a file."""

    number: int
    """From 1."""
    start: int
    """Its first byte."""
    content: bytes


def lines(path: Path, longest: int) -> Iterator[Line]:
    """The lines of a file that are not blank, one after the other: no more than one is held. Raises BadFile for one
    longer than `longest` bytes, OSError."""
    start = 0
    with path.open("rb") as file:
        for number, content in enumerate(iter(lambda: file.readline(longest + 1), b""), start=1):
            if len(content) > longest:
                raise BadFile(path, f"line {number} is longer than {longest:,} bytes")
            if content.strip():
                yield Line(number, start, content)
            start += len(content)


def read_document(path: Path, model: type[Model], most: int = MOST_BYTES) -> Model:
    """A JSON file with one object as a model. Raises BadFile, OSError."""
    return checked(path, parse_object(path, read_bounded(path, most)), model)


def told(error: ValidationError) -> str:
    """What is wrong with some values, in one line of bounded length that does not repeat them."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    parts = [
        _short(f"{'.'.join(map(str, problem['loc'])) or 'it'}: {problem['msg'].removeprefix('Value error, ')}")
        for problem in problems[:_SHOWN_PROBLEMS]
    ]
    more = len(problems) - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more else "")


def _short(text: str) -> str:
    line = " ".join(encodable(text).split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _kind(value: object) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")

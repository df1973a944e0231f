"""Texts without reasoning, to put a feature's tokens into: token ids, all of one length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from kthink_core import demo
from kthink_core.config import DEMO, ExperimentConfig
from kthink_core.documents import parse
from kthink_core.errors import BadFile, BadValue, in_words
from kthink_core.precompute.problems import load_problems
from kthink_core.prompts import spelled_ids

_MOST_BYTES = 100_000_000
_LONGEST = 100_000
"""Characters that are read of a text."""


class PlainTexts(NamedTuple):
    token_ids: list[list[int]]
    short: int
    """How many were left out: fewer tokens than are asked for."""
    source: str
    """Where they come from, in words."""


def plain_texts(
    tokenizer: PreTrainedTokenizerBase, config: ExperimentConfig, file: Path | None, length: int, count: int
) -> PlainTexts:
    """Up to `count` texts of `length` tokens, cut from longer ones.

    From a file, a text a line, or `{"text": …}` a line where its name ends in `.jsonl`. Without one, the bundled texts
    for the demo's problems; for others the questions of the whole problem set, each with those behind it until it is
    long enough. Raises BadValue for a file that is no text, BadProblems, MissingFiles.
    """
    if file is not None:
        return _cut(tokenizer, _lines(file), length, count, str(file))
    if config.traces and config.model != DEMO:
        raise BadValue(
            f"its traces are of {config.traces}, which has no problems: name texts without reasoning (--texts)"
        )
    if config.problems == DEMO or config.traces:
        return _cut(tokenizer, _lines(demo.PLAIN_TEXTS), length, count, "questions and bypass answers of the demo")
    questions = [problem.question for problem in load_problems(config.problems, None)]
    return _cut(tokenizer, _joined(tokenizer, questions, length), length, count, f"questions of {config.problems}")


def _cut(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], length: int, count: int, source: str) -> PlainTexts:
    """Each text in pieces of `length` tokens; what is left of it counts for nothing."""
    cut: list[list[int]] = []
    short = 0
    for text in texts:
        ids = spelled_ids(tokenizer, text[:_LONGEST])
        pieces = [ids[first : first + length] for first in range(0, len(ids) - length + 1, length)]
        short += not pieces
        cut += pieces
        if len(cut) >= count:
            break
    return PlainTexts(cut[:count], short, source)


def _joined(tokenizer: PreTrainedTokenizerBase, questions: Iterable[str], length: int) -> Iterator[str]:
    growing = ""
    for question in questions:
        growing = f"{growing}\n\n{question}" if growing else question
        if len(spelled_ids(tokenizer, growing)) >= length:
            yield growing
            growing = ""


def _lines(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise BadValue(f"{path} is longer than {_MOST_BYTES:,} bytes; take a part of it")
        content = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadValue(f"{path} is no text in UTF-8") from error
    except OSError as error:
        raise BadValue(f"texts cannot be read: {in_words(error)}") from error
    rows = path.suffix == ".jsonl"  # JSON takes other line ends, such as U+2028, as parts of a text
    for number, line in enumerate(content.split("\n") if rows else content.splitlines(), start=1):
        if line.strip():
            yield _text(path, number, line) if rows else line


def _text(path: Path, number: int, line: str) -> str:
    try:
        row = parse(path, line.encode())
    except BadFile as error:
        raise BadValue(f"{path} line {number}: {error.reason}") from error
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise BadValue(f"{path} line {number}: `text` must be a text")
    return text

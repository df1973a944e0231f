"""Problem sets: the bundled one, GSM8K, or a JSONL file with `question` and optional `answer`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from math import isfinite
from pathlib import Path

from kthink_core import demo
from kthink_core.config import DEMO, MOST_INFERENCES
from kthink_core.documents import lines, parse
from kthink_core.errors import BadFile, BadProblems, MissingFiles
from kthink_core.records import Problem

GSM8K = "gsm8k"

_LONGEST = 1_000_000
"""Bytes of a line."""


def load_problems(source: str, limit: int | None) -> list[Problem]:
    """The first `limit` problems (None: all) of `demo`, `gsm8k` or a JSONL file, in file order.

    Raises BadProblems for a file that is missing, empty or has a broken line, MissingFiles where GSM8K is not at hand.
    """
    rows = _gsm8k(limit) if source == GSM8K else _jsonl(demo.PROBLEMS if source == DEMO else Path(source))
    problems = [Problem(index, *row) for index, row in enumerate(islice(rows, limit or MOST_INFERENCES + 1))]
    if len(problems) > MOST_INFERENCES:
        raise BadProblems(f"{source} holds more than {MOST_INFERENCES:,} problems; take some of them with --limit")
    if not problems:
        raise BadProblems(f"{source} holds no problems")
    return problems


def _gsm8k(limit: int | None) -> Iterable[tuple[str, str | None]]:
    from datasets import load_dataset

    try:
        columns = load_dataset("openai/gsm8k", "main", split="train")[:limit]
    except (OSError, RuntimeError, ValueError) as error:  # what `datasets` raises offline, by version and cache state
        raise MissingFiles(
            "GSM8K is neither in the local cache nor to be had from the hub; connect once, or give a JSONL file "
            "with `question` and `answer` as --problems"
        ) from error
    return zip(columns["question"], map(reference_in, columns["answer"]), strict=True)


def _jsonl(path: Path) -> Iterator[tuple[str, str | None]]:
    if not path.is_file():
        raise BadProblems(f"problem file {path} does not exist; --problems takes demo, gsm8k or a JSONL file")
    try:
        for line in lines(path, _LONGEST):
            yield _row(path, line.number, line.content)
    except BadFile as error:
        raise BadProblems(str(error)) from error


def _row(path: Path, number: int, line: bytes) -> tuple[str, str | None]:
    where = f"{path} line {number}"
    try:
        row = parse(path, line, infinite=True)  # in a field that is not read it does no harm
    except BadFile as error:
        raise BadProblems(f"{path} line {number}: {error.reason}") from error
    question = row.get("question") if isinstance(row, dict) else None
    if not isinstance(question, str) or not question.strip():
        raise BadProblems(f"{where}: `question` must be a text that is not empty")
    answer = row.get("answer")
    if answer is not None and not is_scalar(answer):
        raise BadProblems(f"{where}: `answer` must be a text or a number")
    return question, None if answer is None else reference_in(str(answer))


def is_scalar(value: object) -> bool:
    """Whether it is a text or a number. NaN, as pandas writes what is missing, is none, nor is infinity."""
    return isfinite(value) if isinstance(value, float) else isinstance(value, str | int) and not isinstance(value, bool)


def reference_in(answer: str) -> str | None:
    """GSM8K's solutions end in `#### ANSWER`; other sets give the answer alone. None where there is nothing."""
    return answer.rpartition("#### ")[2].strip() or None

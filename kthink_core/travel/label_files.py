"""Files of labels as others write them, read as they come: each label with its source and its score.

Three forms, told apart by what a line holds:

- kthink's own, as `labels export` writes it: a JSON object a line with `hookpoint`, `feature`, `label` and, where they
  are known, `source`, `score`, `author`.
- Neuronpedia's: the explanations of its exports (https://docs.neuronpedia.org/api-and-data/exports), `batch-N.jsonl.gz`
  with a JSON object a line, or the list that `/api/explanation/export` answered. `layer` names the SAE
  (`20-gemmascope-res-16k`), `index` is the feature, as a number or a text; `description` the label;
  `explanationModelName` and `typeName` the source; `scores` a list of objects with a `value`, of which the mean counts.
  A line may also be a feature with its `explanations`.
- delphi's (https://github.com/EleutherAI/delphi, `delphi/__main__.py`, `delphi/log/result_analysis.py`): see
  `delphi_folder`.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple, cast

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from kthink_core.documents import parse, told
from kthink_core.errors import BadFile, in_words

MOST_LABELS = 500_000
MOST_BYTES = 2_000_000_000
"""Of a file once it is unpacked; it is read line by line."""
_MOST_OF_A_LIST = 200_000_000
"""Bytes of a file that is one JSON list."""
_LONGEST_LINE = 4_000_000

_GZIP = b"\x1f\x8b"


class FoundLabel(NamedTuple):
    """A label as a file has it."""

    place: str
    """A hookpoint, or what the file calls the SAE."""
    feature: int
    """As it stands there: it may be one that does not exist."""
    text: str
    source: str
    """Empty where the file tells none."""
    score: float | None
    author: str


class Unread(NamedTuple):
    """What is no label, or was left out of one."""

    where: str
    """Such as `line 3`."""
    problem: str


Found = FoundLabel | Unread


def _number(given: object) -> object:
    """A score that is none is no reason to lose the label: NaN stands for it."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return math.nan
    try:
        return float(given)
    except OverflowError:
        return math.nan


_Text = Annotated[str, BeforeValidator(lambda given: "" if given is None else given), Field(max_length=100_000)]
_Score = Annotated[float, BeforeValidator(_number)]
_Feature = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _Own(BaseModel):
    hookpoint: _Text
    feature: _Feature
    label: _Text
    source: _Text = ""
    score: _Score | None = None
    author: _Text = ""


class _Scored(BaseModel):
    value: _Score | None = None


class _Explained(BaseModel):
    description: _Text = ""
    explanationModelName: _Text = ""
    typeName: _Text = ""
    scores: list[_Scored] | None = None


class _OfNeuronpedia(_Explained):
    layer: _Text = ""
    index: _Feature
    explanations: list[_Explained] | None = None


def read_labels(path: Path) -> Iterator[Found]:
    """What a file holds, in its order. Raises BadFile for what is none, is too long or has too many labels; OSError."""
    if not path.is_file():
        raise BadFile(path, "it is no plain file")
    count = 0
    with path.open("rb") as opened:
        for where, value in _values(path, _unpacking(opened)):
            for found in _labels(where, value):
                count += 1
                if count > MOST_LABELS:
                    raise BadFile(path, f"it has more than {MOST_LABELS:,} labels")
                yield found


def score_of(values: Iterable[float | None]) -> float | None:
    """The mean of those that are finite; None where none is."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else None


def _unpacking(file: BinaryIO) -> BinaryIO:
    packed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file


def _values(path: Path, file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Each object of a list, or of the lines, with where it stands; what is no JSON as a text that says so."""
    read, number = 0, 0
    for line in _lines(path, file):
        number += 1
        read += len(line)
        if read > MOST_BYTES:
            raise BadFile(path, f"it is longer than {MOST_BYTES:,} bytes")
        if number == 1 and line.lstrip()[:1] == b"[":
            yield from _of_list(path, line, file)
            return
        if len(line) > _LONGEST_LINE:
            raise BadFile(path, f"line {number} is longer than {_LONGEST_LINE:,} bytes")
        if not line.strip():
            continue
        try:
            value = parse(path, line, infinite=True)
        except BadFile:
            value = None
        yield f"line {number}", value


def _lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    while line := _unpacked(path, lambda: file.readline(_LONGEST_LINE + 1)):
        yield line


def _of_list(path: Path, begun: bytes, file: BinaryIO) -> Iterator[tuple[str, Any]]:
    content = begun + _unpacked(path, lambda: file.read(_MOST_OF_A_LIST + 1))
    if len(content) > _MOST_OF_A_LIST:
        raise BadFile(path, f"a list longer than {_MOST_OF_A_LIST:,} bytes: write an object a line instead")
    for number, value in enumerate(parse(path, content, infinite=True), start=1):
        yield f"entry {number}", value


def _unpacked(path: Path, read: Any) -> bytes:
    try:
        return read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFile(path, f"it cannot be unpacked: {in_words(error)}") from error


def _labels(where: str, value: Any) -> Iterator[Found]:
    """Those of one object."""
    if not isinstance(value, dict) or not ("index" in value or "feature" in value):
        yield Unread(where, "it is no object with `hookpoint`, `feature` and `label`, or with `layer` and `index`")
        return
    try:
        if "feature" in value:
            own = _Own.model_validate(value)
            yield FoundLabel(own.hookpoint, own.feature, own.label, own.source, score_of([own.score]), own.author)
            return
        theirs = _OfNeuronpedia.model_validate(value)
    except ValidationError as error:
        yield Unread(where, told(error))
        return
    for one in (theirs,) if theirs.explanations is None else theirs.explanations:
        source = " ".join(filter(None, ("neuronpedia", one.explanationModelName, one.typeName)))
        score = score_of(scored.value for scored in one.scores or ())
        yield FoundLabel(theirs.layer, theirs.index, one.description, source, score, "")

"""The texts that an SAE is trained on, as token ids.

A source is one of

    experiment:E    the traces of an experiment, prompt and generation, token by token as they are stored
    FILE.jsonl      an object a line: `token_ids`, or `text`, or `question` and perhaps `answer`, as problem files have
                    it (question, a blank line, answer)
    owner/name      a data set of the hub, or a folder of one: one column of text, one split. `owner/name:config` where
                    it has several

In a text nothing stands for a special token; before it comes the token that begins one, where the model has such.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kthink_core.config import OF_EXPERIMENT, experiment_named
from kthink_core.documents import lines, parse
from kthink_core.errors import BadFile, BadValue, in_words
from kthink_core.identity import source as weights
from kthink_core.model.data_sets import data_set
from kthink_core.model.language_model import LanguageModel
from kthink_core.prompts import spelled_ids
from kthink_core.store.reader import open_reader
from kthink_core.store.trainings import Source, TrainingConfig

_LONGEST = 10_000_000
"""Bytes of a line, and characters of a text that are read."""


class Piece(NamedTuple):
    """One text."""

    token_ids: NDArray[np.int32]
    group: str
    """Texts of one group, such as answers to one problem, are held out together or not at all."""


class Corpus(NamedTuple):
    pieces: list[Piece]
    sources: tuple[Source, ...]
    """In the order asked."""


def read_corpus(lm: LanguageModel, cache: Path, config: TrainingConfig) -> Corpus:
    """Texts of all sources, one of each in turn, until there are as many tokens as asked for; none twice.

    Raises BadValue where a source is broken, has no text, or is an experiment of another model; UnknownName,
    MissingFiles.
    """
    streams = {source: _pieces(source, lm, cache, config) for source in dict.fromkeys(config.data)}
    pieces: list[Piece] = []
    seen = set[bytes]()
    texts, tokens = Counter[str](), Counter[str]()
    while streams and tokens.total() < config.tokens:
        for source in list(streams):
            piece = next(streams[source], None)
            if piece is None:
                del streams[source]
                if not texts[source]:
                    raise BadValue(f"--data {source}: there is no text in it, or none that the others lack")
                continue
            kept = piece.token_ids[: config.tokens - tokens.total()]
            digest = hashlib.sha256(piece.token_ids.tobytes()).digest()
            if len(kept) == 0 or digest in seen:
                continue
            seen.add(digest)
            pieces.append(Piece(kept, piece.group))
            texts[source] += 1
            tokens[source] += len(kept)
    told = (Source(source=source, texts=texts[source], tokens=tokens[source]) for source in dict.fromkeys(config.data))
    return Corpus(pieces, tuple(told))


def _pieces(source: str, lm: LanguageModel, cache: Path, config: TrainingConfig) -> Iterator[Piece]:
    if (name := experiment_named(source)) is not None:
        return _traces(name, weights(config.model, lm.revision), cache)
    path = Path(source).expanduser()
    if path.is_file() or path.suffix == ".jsonl":
        return _of_lines(path, lm)
    return _of_texts(_column(source, config), lm)


def _traces(name: str, model: str, cache: Path) -> Iterator[Piece]:
    """Of an experiment of the same model: in another, token ids may mean other tokens."""
    with open_reader(cache, name) as reader:
        config, revisions = reader.experiment.config, reader.experiment.revisions
        stored = weights(config.model, revisions.model or config.model_revision)
        if stored != model:
            raise BadValue(f"--data {OF_EXPERIMENT}{name}: its traces are of model {stored}, not of {model}")
        for inference in reader.inference_ids:
            found = reader.inference(inference)
            yield Piece(found.token_ids.astype(np.int32), found.question)


def _of_lines(path: Path, lm: LanguageModel) -> Iterator[Piece]:
    try:
        for line in lines(path, _LONGEST):
            yield _piece(path, line.number, line.content, lm)
    except BadFile as error:
        raise BadValue(str(error)) from error
    except OSError as error:
        raise BadValue(f"--data {path}: {in_words(error)}") from error


def _piece(path: Path, number: int, line: bytes, lm: LanguageModel) -> Piece:
    where = f"{path} line {number}"
    try:
        row = parse(path, line, infinite=True)  # in a field that is not read it does no harm
    except BadFile as error:
        raise BadValue(f"{where}: {error.reason}") from error
    if not isinstance(row, dict) or not row.keys() & {"token_ids", "text", "question"}:
        raise BadValue(f"{where}: it needs `token_ids`, `text`, or `question` and perhaps `answer`")
    if "token_ids" in row:
        return _given(where, row["token_ids"], lm)
    if "text" in row:
        text = _text(where, "text", row["text"])
        return Piece(_ids(lm, text), text)
    question = _text(where, "question", row["question"])
    answer = row.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    text = question if answer is None else f"{question}\n\n{_text(where, 'answer', answer)}"
    return Piece(_ids(lm, text), question)


def _given(where: str, given: Any, lm: LanguageModel) -> Piece:
    vocabulary = lm.vocabulary
    known = isinstance(given, list) and all(type(one) is int and 0 <= one < vocabulary for one in given)
    if not known:
        raise BadValue(f"{where}: `token_ids` must be a list of ids that the model has, 0 to {vocabulary - 1}")
    return Piece(np.array(given, np.int32), f"{given}")


def _text(where: str, field: str, given: object) -> str:
    if not isinstance(given, str):
        raise BadValue(f"{where}: `{field}` must be a text")
    return given


def _column(source: str, config: TrainingConfig) -> Iterator[str]:
    """The texts of one column of a data set."""
    rows = data_set(source, config.split, "--data")
    if config.column not in rows.column_names:
        known = ", ".join(map(str, rows.column_names[:12]))
        raise BadValue(f"--column {config.column}: {source} has {known}")
    for text in rows.select_columns([config.column])[config.column]:
        if not isinstance(text, str):
            raise BadValue(f"--column {config.column}: not every row of {source} has a text in it")
        yield text


def _of_texts(texts: Iterable[str], lm: LanguageModel) -> Iterator[Piece]:
    return (Piece(_ids(lm, text), text) for text in texts)


def _ids(lm: LanguageModel, text: str) -> NDArray[np.int32]:
    """Empty where there is nothing but white space."""
    if not text.strip():
        return np.array([], np.int32)
    begin = lm.tokenizer.bos_token_id
    first = [begin] if isinstance(begin, int) else []
    return np.array([*first, *spelled_ids(lm.tokenizer, text[:_LONGEST])], np.int32)

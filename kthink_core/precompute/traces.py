"""Traces that were written elsewhere: from a JSONL file, a data set of the hub, or an experiment of the cache.

They are read twice: all of them at first, to refuse what cannot be used before anything is computed, when a few numbers
of each are kept; and each again when it is its turn. Memory holds one at a time.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from kthink_core.config import MOST_INFERENCES, ExperimentConfig, experiment_named
from kthink_core.documents import lines, parse
from kthink_core.errors import BadFile, BadProblems, in_words
from kthink_core.model.data_sets import data_set
from kthink_core.model.language_model import LanguageModel
from kthink_core.precompute.stored_traces import StoredTraces
from kthink_core.precompute.trace_rows import FIELDS, trace_row
from kthink_core.precompute.trace_tokens import TraceTokenizer
from kthink_core.records import Generation
from kthink_core.store.reader import open_reader

_LONGEST = 10_000_000
"""Bytes of a line."""
_TOLD = 3
"""Traces that are left out of which is told why."""


class Traces(Protocol):
    """What is passed through a model and encoded, in the place of what it writes."""

    @property
    def numbers(self) -> Sequence[int]:
        """[traces] the inference that each becomes, ascending."""
        ...

    @property
    def lengths(self) -> Sequence[int] | Mapping[int, int]:
        """Tokens of prompt and completion, by number."""
        ...

    @property
    def digest(self) -> str:
        """Of equal ones tokens are the same, and what is told of them."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """What the user should know of them, a line each."""
        ...

    def read(self, trace: int) -> Generation:
        """The one of a number. Raises BadProblems where it is not what it was."""
        ...


def check_there(source: str | None, cache: Path) -> None:
    """Before anything is loaded or read: raises BadProblems where there is no such file, and what opening an experiment
    raises where there is no such one."""
    if source is None:
        return
    if (name := experiment_named(source)) is not None:
        open_reader(cache, name).close()
    elif source.endswith(".jsonl") and not Path(source).expanduser().is_file():
        raise BadProblems(f"--traces {source}: there is no such file")


def open_traces(config: ExperimentConfig, lm: LanguageModel, cache: Path) -> Traces:
    """Those that a configuration names, all of them checked.

    Raises BadProblems, which says where a trace is that cannot be used; MissingFiles, BadValue, and what opening an
    experiment raises.
    """
    source = config.traces or ""
    if (name := experiment_named(source)) is not None:
        return StoredTraces(cache, name, config, lm)
    path = Path(source).expanduser()
    rows = _Lines(path) if path.is_file() or path.suffix == ".jsonl" else _DataSet(source, config.split)
    return _RowTraces(rows, config, TraceTokenizer(lm, config))


class _Found(NamedTuple):
    """A row."""

    where: int
    """What it is found again by."""
    number: int
    row: object


class _Rows(Protocol):
    """Where rows come from."""

    def __iter__(self) -> Iterator[_Found]:
        """Raises BadProblems."""
        ...

    def again(self, where: int) -> object: ...

    def named(self, number: int) -> str:
        """A row, in words."""
        ...


class _Lines(_Rows):
    """A JSONL file. Numbers are lines, from 1."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[_Found]:
        try:
            for line in lines(self._path, _LONGEST):
                yield _Found(line.start, line.number, line.content)
        except (BadFile, OSError) as error:
            raise BadProblems(f"--traces: {in_words(error)}") from error

    def again(self, where: int) -> object:
        with self._path.open("rb") as file:
            file.seek(where)
            return file.readline(_LONGEST)

    def named(self, number: int) -> str:
        return f"{self._path} line {number}"


class _DataSet(_Rows):
    """A data set of the hub. Numbers are rows, from 0."""

    def __init__(self, source: str, split: str) -> None:
        self._source = source
        rows: Any = data_set(source, split, "--traces")
        known = [name for name in FIELDS if name in rows.column_names]
        if not {"prompt", "completion"} <= set(known):
            columns = ", ".join(map(str, rows.column_names[:12]))
            raise BadProblems(f"--traces {source}: it has no columns `prompt` and `completion`, but {columns}")
        self._rows = rows.select_columns(known)

    def __iter__(self) -> Iterator[_Found]:
        for number in range(len(self._rows)):
            yield _Found(number, number, self._rows[number])

    def again(self, where: int) -> object:
        return self._rows[where]

    def named(self, number: int) -> str:
        return f"{self._source} row {number}"


class _RowTraces(Traces):
    """Of rows. What is kept of each are four numbers."""

    def __init__(self, rows: _Rows, config: ExperimentConfig, tokenizer: TraceTokenizer) -> None:
        """Raises BadProblems."""
        self._rows, self._tokenizer = rows, tokenizer
        self._where, self._numbers, self._problems, self._lengths = (array("q") for _ in range(4))
        self._notices: list[str] = []
        self._digest = self._checked(config)

    @property
    def numbers(self) -> Sequence[int]:
        return range(len(self._lengths))

    @property
    def lengths(self) -> Sequence[int]:
        return self._lengths

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def notices(self) -> Sequence[str]:
        return self._notices

    def read(self, trace: int) -> Generation:
        found = _Found(self._where[trace], self._numbers[trace], self._rows.again(self._where[trace]))
        made, _ = self._made(found, trace)
        made = made._replace(
            prompt=made.prompt._replace(problem=made.prompt.problem._replace(problem=self._problems[trace]))
        )
        if _length(made) != self._lengths[trace]:
            raise BadProblems(f"{self._rows.named(found.number)}: it has changed since the run began; start it again")
        return made

    def _checked(self, config: ExperimentConfig) -> str:
        """The digest of all that are of use."""
        whole = hashlib.sha256()
        problems: dict[bytes, int] = {}
        refused, left_out, cut_off = list[str](), 0, 0
        most = config.limit or MOST_INFERENCES + 1
        for found in self._rows:
            trace = len(self._lengths)
            try:
                made, asked = self._made(found, trace)
            except BadProblems as error:
                if not config.skip_bad:
                    raise
                left_out += 1
                refused += [str(error)] if left_out <= _TOLD else []
                continue
            whole.update(repr(made).encode())
            self._problems.append(problems.setdefault(asked, len(problems)))
            self._where.append(found.where)
            self._numbers.append(found.number)
            self._lengths.append(_length(made))
            cut_off += made.finish_reason == "length"
            if trace + 1 == most:
                break
        self._tell(config, left_out, refused, cut_off)
        return f"sha256:{whole.hexdigest()[:16]}"

    def _made(self, found: _Found, trace: int) -> tuple[Generation, bytes]:
        """The trace as an inference of the first problem, and what tells its prompt from others."""
        where = self._rows.named(found.number)
        value = found.row
        if isinstance(value, bytes):
            try:
                value = parse(Path(where), value, infinite=True)  # in a field that is not read it does no harm
            except BadFile as error:
                raise BadProblems(f"{where}: {error.reason}") from error
        row = trace_row(where, value)
        asked = hashlib.sha256(repr(row.prompt).encode()).digest()[:8]  # prompts themselves would not fit
        return self._tokenizer.generation(where, row, trace, 0), asked

    def _tell(self, config: ExperimentConfig, left_out: int, refused: Sequence[str], cut_off: int) -> None:
        """Raises BadProblems where there are none, or too many."""
        kept, source = len(self._lengths), config.traces
        if left_out:
            reasons = "; ".join(refused) + ("; …" if left_out > _TOLD else "")
            self._notices.append(f"{left_out:,} of {left_out + kept:,} traces are left out: {reasons}")
        if not kept:
            raise BadProblems(f"--traces {source} holds no traces" + "".join(f": {told}" for told in self._notices))
        if kept > MOST_INFERENCES:
            raise BadProblems(f"{source} holds more than {MOST_INFERENCES:,} traces; take some of them with --limit")
        if cut_off:
            self._notices.append(
                f"{cut_off:,} of {kept:,} traces never close their thought: it is all there is of them, and they count "
                "as cut off; take --mode bypass if they are answers without a thought"
            )


def _length(made: Generation) -> int:
    return len(made.prompt.token_ids) + len(made.token_ids)

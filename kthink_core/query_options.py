"""What a query can be asked with, by name: one list for the command line, the HTTP interface and the tools of MCP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field

from kthink_core.arguments import experiment_name, numbers, position_pair, whole_number, whole_numbers, whole_pair
from kthink_core.evidence.divides import BETWEEN, Between
from kthink_core.evidence.vocabulary import LONGEST_WORD, MOST_WORDS, read_vocabulary
from kthink_core.outline import GRAINS, Grain
from kthink_core.queries import RANKINGS, SORTS, Ranking, Sort
from kthink_core.store.scopes import SCOPES, Scope

_MOST_DIGITS = 10**18 - 1
_MOST_LISTED = 1000
"""Of a list of numbers; each query has its own bound, and says so."""


def _split(given: object) -> object:
    """The parts of `1,2` and of several such: in an address a list is written either way."""
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list | tuple):
        return given
    return [part for each in given for part in (each.split(",") if isinstance(each, str) else [each])]


_Number = Annotated[int, Field(ge=0, le=_MOST_DIGITS)]
_Line = Annotated[str, Field(max_length=1000)]
_Numbers = Annotated[tuple[_Number, ...], Field(max_length=_MOST_LISTED), BeforeValidator(_split)]
_Figure = Annotated[float, Field(allow_inf_nan=False)]
_Figures = Annotated[tuple[_Figure, ...], Field(max_length=_MOST_LISTED), BeforeValidator(_split)]
_Span = Annotated[str, Field(pattern=r"^[0-9]{1,9}(:[0-9]{1,9})?$"), AfterValidator(position_pair)]
_Window = Annotated[str, Field(pattern=r"^[0-9]{1,9},[0-9]{1,9}$"), AfterValidator(whole_pair)]
_Name = Annotated[str, Field(max_length=200)]
_Words = Annotated[
    tuple[Annotated[str, Field(max_length=LONGEST_WORD + 2)], ...], Field(min_length=1, max_length=MOST_WORDS)
]


class Option(NamedTuple):
    """One of a query's options."""

    kind: Any
    """Its type where it comes by HTTP or MCP; pydantic makes it of what was sent."""
    told: str
    metavar: str
    read: Callable[[str], object] = str
    """Makes it of an argument of the command line."""
    told_shell: str | None = None
    """What the command line says of it, where that is something else."""


def _vocabulary(path: str) -> tuple[str, ...]:
    return read_vocabulary(Path(path))


OPTIONS: dict[str, Option] = {
    "hookpoint": Option(_Name, "a module of the model whose output is encoded, such as layers.6.mlp", "H"),
    "feature": Option(_Number, "an index of the hookpoint's SAE", "F", whole_number),
    "inference": Option(_Number, "from 0", "I", whole_number),
    "features": Option(_Numbers, "such as 1,2,3", "F,F,…", whole_numbers),
    "maxima": Option(_Figures, "an activation for each of the features", "A,A,…", numbers),
    "against": Option(_Number, "another inference, of the same experiment or of `other`", "I", whole_number),
    "position": Option(_Number, "from 0 at the first prompt token", "P", whole_number),
    "span": Option(_Span, "from position A to B, both included", "A:B", position_pair),
    "opposite": Option(_Span, "another span, to compare the first one with", "A:B", position_pair),
    "text": Option(_Line, "what one of a feature's top tokens contains", "T"),
    "sort": Option(Sort, f"of feature-table: {', '.join(SORTS)}", "S"),
    "grain": Option(Grain, f"what a step is: {', '.join(GRAINS)}", "G"),
    "ranking": Option(Ranking, f"of ranked-features: {', '.join(RANKINGS)}", "R"),
    "pattern": Option(_Line, "what a label claims: words, as wait,hmm, or /[Ww]ait/", "P"),
    "scope": Option(Scope, f"which positions count: {', '.join(SCOPES)}", "S"),
    "top": Option(_Number, "the first so many", "N", whole_number),
    "pages": Option(_Number, "so many pages of contexts, each of other ones", "N", whole_number),
    "vocabulary": Option(
        _Words, "words, one each (ReasonScore's)", "FILE", _vocabulary, "a word a line (default: ReasonScore's)"
    ),
    "window": Option(_Window, "positions that belong to a word, before and after it (1,2)", "L,R", whole_pair),
    "alpha": Option(_Figure, "weight of ReasonScore's entropy (0.7)", "A", float),
    "between": Option(Between, f"the sides of a contrast: {', '.join(BETWEEN)}", "A:B"),
    "word": Option(_Line, "of before:after: 3 positions on either side of it", "W"),
    "other": Option(_Name, "another experiment to compare with", "E", experiment_name),
    "study": Option(_Name, "a stored result, as `query sweeps` names it", "ID"),
}

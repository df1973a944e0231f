"""Where the words of a vocabulary stand in the traces, told from the stored tokens alone.

A spelling is a sequence of token ids, and no tokenizer is at hand to say which. So it is read from the traces: a token
whose text is the spelling is one; several tokens whose texts, joined, are the spelling are one if they stand somewhere
in the experiment as a word of their own, with no letter or digit right before and after them (else `m` + `e` of
`ti` + `m` + `e` would be `me`). Where such a sequence stands is a match, whatever is beside it, as in a search by ids.
A word in which a character is spread over tokens is found by its ids only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import log
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kthink_core.errors import BadValue
from kthink_core.evidence import vocabulary as words
from kthink_core.evidence.vocabulary import Group
from kthink_core.queries.checks import in_scope
from kthink_core.signs import revealed
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import Scope

Window = tuple[int, int]
"""So many positions to the left and to the right belong to a match, too."""
WINDOW: Window = (1, 2)
WIDEST = 20

BEGINNINGS_AND_ENDS = frozenset(
    {
        "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>",
        "<|startoftext|>", "<|endoftext|>", "<|im_end|>", "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<end_of_turn>",
    }
)  # fmt: skip
"""Tokens that never count, on no side: those that begin, end or fill a sequence, by the texts that models give them."""

_Places = NDArray[np.int64]
"""Places in `Traces.token_ids`."""


class Traces(NamedTuple):
    """The tokens of all inferences, one inference after the other."""

    inferences: NDArray[np.int64]
    """[inferences] their ids, ascending."""
    starts: _Places
    """[inferences + 1] where each begins, and at last where all end."""
    token_ids: NDArray[np.int64]
    """[places]"""
    counted: NDArray[np.bool_]
    """[places] in scope, and neither beginning nor end of a sequence."""
    texts: dict[int, str]
    """By token id."""

    def places(self, inferences: NDArray[np.integer], positions: NDArray[np.integer]) -> _Places:
        """Where a position of an inference is."""
        return self.starts[np.searchsorted(self.inferences, inferences)] + positions

    def inference_at(self, places: _Places) -> _Places:
        """The index, in `inferences`, of what a place belongs to."""
        return np.searchsorted(self.starts, places, side="right") - 1


class Matches(NamedTuple):
    """The places of a group, first and last token of each match."""

    first: _Places
    last: _Places


def read_traces(reader: Reader, scope: Scope) -> Traces:
    """The stored tokens. Raises UnknownName for the scope."""
    sql = f"SELECT inference, token_id, {in_scope(scope)} AS inside FROM tokens ORDER BY inference, position"
    table = reader.query(sql)
    named = reader.query("SELECT token_id, min(text) AS text FROM tokens GROUP BY token_id ORDER BY token_id")
    texts = dict(zip(named["token_id"].tolist(), named["text"].tolist(), strict=True))
    token_ids = table["token_id"].to_numpy(np.int64)
    inferences, starts = np.unique(table["inference"].to_numpy(np.int64), return_index=True)
    edges = [token_id for token_id, text in texts.items() if text in BEGINNINGS_AND_ENDS]
    counted = table["inside"].to_numpy(np.bool_) & ~np.isin(token_ids, edges)
    return Traces(inferences, np.append(starts, len(token_ids)), token_ids, counted, texts)


def find(traces: Traces, groups: Sequence[Group]) -> list[Matches]:
    """The matches of each group, in the whole traces; those of one group may overlap."""
    runs = _spelled(traces, frozenset().union(*(group.spellings for group in groups)))
    return [_of_ids(traces, group.token_ids) if group.token_ids else _of_texts(runs, group) for group in groups]


def positive(traces: Traces, matches: Sequence[Matches], window: Window) -> NDArray[np.bool_]:
    """[groups, places] what counts and lies within a match of the group, widened by the window as far as the trace of
    that inference goes. Raises BadValue for a window that makes no sense."""
    check_window(window)
    within = np.zeros((len(matches), len(traces.token_ids)), np.bool_)
    for row, found in zip(within, matches, strict=True):
        inference = traces.inference_at(found.first)
        change = np.zeros(len(row) + 1, np.int64)
        np.add.at(change, np.maximum(found.first - window[0], traces.starts[inference]), 1)
        np.add.at(change, np.minimum(found.last + window[1] + 1, traces.starts[inference + 1]), -1)
        row[:] = (np.cumsum(change[:-1]) > 0) & traces.counted
    return within


def check_window(window: Window) -> None:
    """Raises BadValue."""
    if len(window) != 2 or not all(0 <= reach <= WIDEST for reach in window):
        given = ",".join(map(str, window))
        raise BadValue(f"window {given}: it must be two numbers from 0 to {WIDEST}, to the left and to the right")


def word_matches(
    reader: Reader,
    scope: Scope = "generated",
    vocabulary: tuple[str, ...] = words.DEFAULT,
    window: Window = WINDOW,
) -> pd.DataFrame:
    """What there is of each word, in the vocabulary's order: word, matches, positions, inferences, of.

    matches: in the whole traces, prompts included; positions: those of the scope that lie within them once widened by
    the window, in so many inferences, of so many. Raises UnknownName, and BadValue as `vocabulary.groups` does.
    """
    asked = words.groups(vocabulary)
    traces = read_traces(reader, scope)
    found = find(traces, asked)
    within = positive(traces, found, window)
    inference = traces.inference_at(np.arange(len(traces.token_ids)))
    return pd.DataFrame(
        {
            "word": [group.word for group in asked],
            "matches": [len(matches.first) for matches in found],
            "positions": within.sum(axis=1),
            "inferences": [len(np.unique(inference[row])) for row in within],
            "of": len(traces.inferences),
        }
    )


def missing_words(table: pd.DataFrame, scope: Scope) -> list[str]:
    """A line each for the words, of the answer of `word_matches`, that occur nowhere and nowhere in scope, and what
    they make of the entropy."""
    nowhere, outside = table["matches"] == 0, (table["matches"] > 0) & (table["positions"] == 0)
    told = {"in no trace": nowhere, f"at no position in scope {scope}": outside}
    named = {place: ", ".join(map(revealed, table.loc[rows, "word"].tolist())) for place, rows in told.items()}
    lines = [f"words that occur {place}: {names}" for place, names in named.items() if names]
    of, there = len(table), int((table["positions"] > 0).to_numpy().sum())
    if there == 1 < of:
        lines.append(
            f"only one of {of} words occurs in scope {scope}: H is 0 for every feature, and no score is above 0; leave "
            "out the words that do not occur"
        )
    elif 1 < there < of:
        lines.append(f"H counts all {of} words, of which {there} occur: it is {log(there) / log(of):.2f} at most")
    return lines


class _Runs(NamedTuple):
    """Stretches of tokens that spell something."""

    first: _Places
    last: _Places
    said: NDArray[np.int64]
    """Of `texts`."""
    texts: list[str]


def _spelled(traces: Traces, spellings: Collection[str]) -> _Runs:
    """Every stretch whose texts, joined, are a spelling, and whose ids are a sequence that stands for it."""
    parts = ["", *{text[:end] for text in spellings for end in range(1, len(text) + 1)}]
    number = {text: index for index, text in enumerate(parts)}
    whole = np.array([text in spellings for text in parts])
    ends = np.isin(np.arange(len(traces.token_ids)), traces.starts[1:] - 1)
    first = last = np.arange(len(traces.token_ids))
    said = np.zeros(len(first), np.int64)
    found: list[tuple[_Places, _Places, NDArray[np.int64]]] = []
    most = int(traces.token_ids.max(initial=0)) + 1
    while len(first):
        pairs, which = np.unique(said * most + traces.token_ids[last], return_inverse=True)
        grown = np.array([_grown(parts[pair // most], traces.texts[pair % most], number) for pair in pairs.tolist()])
        said = grown[which]
        first, last, said = (column[said > 0] for column in (first, last, said))
        done = whole[said]
        found.append((first[done], last[done], said[done]))
        more = ~ends[last]
        first, last, said = first[more], last[more] + 1, said[more]
    columns = [np.concatenate(parts_of) for parts_of in zip(*found, strict=True)] if found else [first, last, said]
    first, last, said = columns
    kept = _standing(traces, first, last)
    return _Runs(first[kept], last[kept], said[kept], parts)


def _grown(before: str, text: str, number: dict[str, int]) -> int:
    """The number of what is said with one more token; 0 where no spelling begins so."""
    return number.get(before + text, 0) if text else 0


def _standing(traces: Traces, first: _Places, last: _Places) -> NDArray[np.bool_]:
    """Which stretches are of one token, or of a sequence that is a word of its own somewhere."""
    sequences: dict[tuple[int, ...], list[int]] = {}
    for run in np.flatnonzero(last > first).tolist():
        sequence = tuple(traces.token_ids[first[run] : last[run] + 1].tolist())
        sequences.setdefault(sequence, []).append(run)
    kept = last == first
    for runs in sequences.values():
        kept[runs] = any(_alone(traces, int(first[run]), int(last[run])) for run in runs)
    return kept


def _alone(traces: Traces, first: int, last: int) -> bool:
    """Whether no letter or digit is right before or after."""
    inference = int(traces.inference_at(np.array([first]))[0])
    begin, end = int(traces.starts[inference]), int(traces.starts[inference + 1])
    texts = [traces.texts[int(token_id)] for token_id in traces.token_ids[max(begin, first - 1) : min(end, last + 2)]]
    before = texts[0][-1:] if first > begin else ""
    after = texts[-1][:1] if last + 1 < end else ""
    opens = texts[1 if first > begin else 0][:1]
    return not (before.isalnum() and opens.isalnum()) and not after.isalnum()


def _of_texts(runs: _Runs, group: Group) -> Matches:
    wanted = np.array([text in group.spellings for text in runs.texts])[runs.said]
    return Matches(runs.first[wanted], runs.last[wanted])


def _of_ids(traces: Traces, token_ids: tuple[int, ...]) -> Matches:
    first = np.arange(len(traces.token_ids) - len(token_ids) + 1)
    for offset, token_id in enumerate(token_ids):
        first = first[traces.token_ids[first + offset] == token_id]
    last = first + len(token_ids) - 1
    together = traces.inference_at(first) == traces.inference_at(last)
    return Matches(first[together], last[together])

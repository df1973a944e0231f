"""What features are called: by their label, else by their three top tokens. Wherever a feature's number stands, this
stands beside it; as text, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from sys import intern

import pandas as pd

from kthink_core import signs
from kthink_core.store.scopes import Scope

TOKENS = 3
SCOPES: tuple[Scope, ...] = ("generated", "all")
"""Of which the tokens are: of the first in which a feature fires, whatever scope the view has, so that a name stays."""
_SHOWN = 60
"""Characters of a name where it stands in a line with other things."""


def named(feature: int, names: Mapping[int, str]) -> str:
    """`32456 · wait, but, hmm`: the number, and the name where there is one."""
    name = names.get(feature, "")
    return f"{feature} · {brief(name)}" if name else str(feature)


def in_words(feature: int, names: Mapping[int, str]) -> str:
    """`32456 (wait, but, hmm)`: as `named`, where text goes on behind it."""
    name = names.get(feature, "")
    return f"{feature} ({brief(name)})" if name else str(feature)


def brief(name: str) -> str:
    return name if len(name) <= _SHOWN else f"{name[: _SHOWN - 1].rstrip()}…"


def of_tokens(texts: Sequence[str]) -> str:
    """The first three that differ by more than the space before a word, with commas between them; one that holds a
    comma itself is quoted."""
    return _line(tuple(texts))


@lru_cache(maxsize=1 << 14)
def _line(texts: tuple[str, ...]) -> str:
    """A trace has thousands of features, and the next one much the same."""
    words = dict.fromkeys([text.strip(" ") or text for text in texts])
    shown = [signs.visible(word) for word in islice(words, TOKENS)]
    return ", ".join([f"“{word}”" if "," in word else word for word in shown])


def by_feature(top_tokens: pd.DataFrame) -> dict[int, list[str]]:
    """The texts of each feature in an answer of `queries.top_tokens_of`. Many have the same: each is held once."""
    found: dict[int, list[str]] = {}
    for feature, text in zip(top_tokens["feature"].tolist(), map(intern, top_tokens["text"].tolist()), strict=True):
        found.setdefault(feature, []).append(text)
    return found

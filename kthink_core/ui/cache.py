"""Readers and answers, kept between reruns and shared by all visitors. Both are bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec

import pandas as pd
import streamlit as st

from kthink_core.store.reader import Reader, open_reader, store_version

Arguments = ParamSpec("Arguments")


class Source(NamedTuple):
    """One state of one experiment: as long as the version stays, every answer does."""

    cache: Path
    experiment: str
    version: str


def source(cache: Path, experiment: str) -> Source:
    """The newest state of an experiment. Raises KthinkError."""
    return Source(cache, experiment, store_version(cache, experiment))


def reader(source: Source) -> Reader:
    """A reader of that state. One that falls out of the cache closes when its last user lets go of it."""
    return _reader(str(source.cache), source.experiment, source.version)


def ask(
    source: Source,
    query: Callable[Concatenate[Reader, Arguments], pd.DataFrame],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> pd.DataFrame:
    """The answer to a function of `queries`; a copy, the caller's own."""
    return _answer(query, query.__name__, str(source.cache), source.experiment, source.version, args, kwargs)


@st.cache_resource(max_entries=8, show_spinner=False)
def _reader(cache: str, experiment: str, version: str) -> Reader:
    return open_reader(Path(cache), experiment)


@st.cache_data(max_entries=500, show_spinner=False)
def _answer(
    _query: Callable[..., pd.DataFrame],
    name: str,
    cache: str,
    experiment: str,
    version: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> pd.DataFrame:
    """`name` stands for the function in the key of the cache."""
    return _query(_reader(cache, experiment, version), *args, **kwargs)

"""Readers and answers, kept between reruns and shared by all visitors. Both are bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec

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
    key = repr((query.__name__, str(source.cache), *source[1:], args, sorted(kwargs.items())))
    return _answer(key, lambda: query(reader(source), *args, **kwargs))


@st.cache_resource(max_entries=8, show_spinner=False)
def _reader(cache: str, experiment: str, version: str) -> Reader:
    return open_reader(Path(cache), experiment)


@st.cache_data(max_entries=500, show_spinner=False)
def _answer(key: str, _find: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """`key` tells all answers apart: one text, since Streamlit hashes a hundred numbers one by one."""
    return _find()

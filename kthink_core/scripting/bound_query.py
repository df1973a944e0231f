"""A query as a method."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

import pandas as pd

from kthink_core.store.reader import Reader

P = ParamSpec("P")
Table = TypeVar("Table")
Table_co = TypeVar("Table_co", covariant=True)


class Answers(Protocol[Table_co]):
    """What has a reader, and a kind of table that it answers with."""

    @property
    def reader(self) -> Reader: ...

    def answer(self, query: str, table: pd.DataFrame, given: dict[str, Any]) -> Table_co:
        """Tell what there is to know of the answer to a query, and hand it over."""
        ...


class BoundQuery(Generic[P]):
    """A function `(reader, typed arguments) → table` as a method of what has a reader: with its signature, less the
    reader, and its documentation."""

    def __init__(self, ask: Callable[Concatenate[Reader, P], pd.DataFrame]) -> None:
        self._ask = ask
        self._signature = inspect.signature(ask)

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, asked: None, kind: type) -> Callable[Concatenate[Reader, P], pd.DataFrame]: ...
    @overload
    def __get__(self, asked: Answers[Table], kind: type) -> Callable[P, Table]: ...
    def __get__(self, asked: Answers[Table] | None, kind: type) -> Callable[..., Any]:
        if asked is None:
            return self._ask  # as help() shows a class: a function with its documentation

        @wraps(self._ask)
        def method(*positional: P.args, **named: P.kwargs) -> Table:
            bound = self._signature.bind(asked.reader, *positional, **named)
            table = self._ask(asked.reader, *positional, **named)
            given = dict(list(bound.arguments.items())[1:])
            if scope := self._signature.parameters.get("scope"):
                given.setdefault("scope", scope.default)
            return asked.answer(self._name.replace("_", "-"), table, given)

        parameters = list(self._signature.parameters.values())[1:]
        method.__name__ = self._name
        vars(method)["__signature__"] = self._signature.replace(parameters=parameters)
        return method

"""The tools that MCP offers: every query, the list of experiments, and live encoding; what each takes and answers.

What comes out is rows of a table, a part of them at a time. Token texts in them are data: whoever hands them to a
language model says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
from pydantic import BaseModel, Field

from kthink_core.access.person import Person
from kthink_core.errors import BadValue, UnknownName
from kthink_core.listing import QUERIES, as_json
from kthink_core.live.client import WorkerClient
from kthink_core.live.encoding import encode_by_worker, hookpoints_of, latents_table
from kthink_core.programs.answers import Answers, NoSuchExperiment
from kthink_core.programs.given_options import Given, checked, chosen_of, options_of, words_of
from kthink_core.settings import WorkerSettings, from_environment

LIST, ENCODE = "list_experiments", "encode"
_LIST_TOLD = """The experiments, by name: their model, SAE, hookpoints (with a blank between them), capture site, how
many inferences are stored, of how many, and what is wrong with one that cannot be read. Ask this first."""
_ENCODE_TOLD = """The active features of a text as it is, by the model and SAEs of an experiment, which the running
worker has: hookpoint, position, token_id, text, feature, activation.

In the order of the hookpoints, then by position (from 0), then by activation, largest first, then by feature. A
position at which nothing is active has no row. No template is put around the text, and nothing is generated or
stored."""


class _Part(Given):
    """Which rows of an answer."""

    limit: int = Field(default=50, ge=1, le=1000, description="most rows of this part")
    offset: int = Field(default=0, ge=0, lt=2**31, description="rows that are left out before it")


class _Rows(_Part):
    experiment: str = Field(max_length=200, description=f"as {LIST} names it")
    version: str | None = Field(
        default=None, max_length=40, description="of the part before, so that this one belongs to it"
    )


class _Encoding(_Part):
    experiment: str = Field(max_length=200, description=f"as {LIST} names it")
    text: str = Field(min_length=1, max_length=100_000, description="as it is, without a template")
    hookpoints: tuple[Annotated[str, Field(max_length=200)], ...] = Field(
        default=(), max_length=64, description="all of the experiment where none is given"
    )
    special: bool = Field(default=False, description="names of special tokens in it are these tokens")


class Tool(NamedTuple):
    """One that is offered."""

    name: str
    title: str
    told: str
    takes: type[BaseModel]

    @property
    def schema(self) -> dict[str, Any]:
        """Of its arguments, as JSON Schema."""
        return self.takes.model_json_schema()


def tools() -> tuple[Tool, ...]:
    """In a fixed order."""
    asked = [Tool(tool_name(query), *words_of(query), options_of(query, _Rows)) for query in QUERIES]
    return (
        Tool(LIST, "The experiments", _LIST_TOLD, _Part),
        *asked,
        Tool(ENCODE, "The active features of a text", _ENCODE_TOLD, _Encoding),
    )


def tool_name(query: str) -> str:
    return query.replace("-", "_")


class Toolbox:
    """Calls tools, over one cache folder; for threads."""

    def __init__(self, cache: Path, person: Person) -> None:
        """`person`: for whom; others' experiments do not exist."""
        self._answers, self._person = Answers(cache), person
        self._tools = {tool.name: tool for tool in tools()}
        self._queries = {tool_name(query): query for query in QUERIES}

    def call(self, name: str, sent: Mapping[str, Any]) -> dict[str, Any]:
        """What a tool answers: rows, how many there are in all, where the next part begins, what to know before
        believing it. Raises UnknownName, BadValue, NoSuchExperiment, and what queries and the worker raise."""
        if name not in self._tools:
            raise UnknownName("tool", name, self._tools)
        # A caller that means nothing by an argument may say so.
        given: Any = checked(self._tools[name].takes, {key: value for key, value in sent.items() if value is not None})
        if name == LIST:
            return _part(self._answers.experiments(self._person), given)
        try:
            return self._encoded(given) if name == ENCODE else self._asked(self._queries[name], given)
        except NoSuchExperiment as error:
            raise BadValue(f"{error}: {LIST} names those that there are") from error

    def _asked(self, query: str, given: Any) -> dict[str, Any]:
        asked = self._answers.asked(self._person, given.experiment, query, chosen_of(query, given))
        version = given.version or asked.version
        found = self._answers.answer(asked, version)
        return _part(found.table, given, found.remarks, version)

    def _encoded(self, given: _Encoding) -> dict[str, Any]:
        experiment = self._answers.experiment(self._person, given.experiment)
        hookpoints = hookpoints_of(experiment, given.hookpoints)
        with WorkerClient(from_environment(WorkerSettings), person=self._person) as client:
            trace = encode_by_worker(client, experiment, given.text, hookpoints, special=given.special)
        return _part(latents_table(trace, hookpoints), given)


def _part(table: pd.DataFrame, given: _Part, remarks: tuple[str, ...] = (), version: str = "") -> dict[str, Any]:
    total, end = len(table), given.offset + given.limit
    rows = json.loads(as_json(table.iloc[given.offset : end]))
    answer = {"rows": rows, "total": total, "offset": given.offset, "remarks": list(remarks)}
    if end < total:
        same = f" and version='{version}'" if version else ""
        answer["more"] = f"{total - end} rows are left: call again with offset={end}{same}"
    return answer

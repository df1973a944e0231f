"""What each query is asked with, as a model that checks it: of the one list of options, with the query's own needs and
defaults."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from kthink_core.errors import BadValue, short
from kthink_core.listing import QUERIES
from kthink_core.query_options import OPTIONS

Base = TypeVar("Base", bound=BaseModel)


class Given(BaseModel):
    """What every query may be asked with."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def options_of(query: str, base: type[Base]) -> type[Base]:
    """The model of a query's options, with what `base` has besides."""
    return _options_of(query, base)


@cache
def _options_of(query: str, base: Any) -> Any:
    chosen = QUERIES[query]
    defaults = inspect.signature(chosen.ask).parameters
    fields: dict[str, Any] = {}
    for name in (*chosen.needs, *chosen.takes):
        option = OPTIONS[name]
        if name in chosen.needs:
            fields[name] = option.kind, Field(description=option.told)
        else:
            default = defaults[name].default
            told = option.told if default is None else f"{option.told} (default: {_shown(default)})"
            fields[name] = option.kind, Field(default=None, description=told)
    return create_model(f"{query}-options", __base__=base, **fields)


def chosen_of(query: str, given: BaseModel) -> dict[str, Any]:
    """The query's own options among what was given; those alone that were."""
    known = QUERIES[query].needs + QUERIES[query].takes
    return {name: getattr(given, name) for name in known if name in given.model_fields_set}


def checked(model: type[Base], sent: Mapping[str, Any]) -> Base:
    """What was sent, as the model has it. Raises BadValue, in one line."""
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        raise BadValue(in_one_line(error.errors())) from error


def in_one_line(errors: Any) -> str:
    """What is wrong with the first of what was sent."""
    first = errors[0]
    place = [str(part) for part in first["loc"] if part not in ("query", "path")]
    name = short(".".join(place)) or "what was sent"
    if first["type"] == "missing":
        return f"{name}: it is missing"
    if first["type"] == "extra_forbidden":
        return f"{name}: it is not taken here"
    return f"{name}: {first['msg'].removeprefix('Value error, ')[:300]}; given '{short(first['input'])}'"


def words_of(query: str) -> tuple[str, str]:
    """The first sentence of a query's documentation, and all of it."""
    told = inspect.getdoc(QUERIES[query].ask) or ""
    first = " ".join(told.partition("\n\n")[0].split())
    return first.partition(": ")[0].partition(". ")[0].rstrip(".:"), told


def _shown(default: object) -> str:
    return ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)

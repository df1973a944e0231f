"""`mcp`: the queries and live encoding as tools of a language model's client."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from kthink_core.access.person import Person
from kthink_core.arguments import add_cache, cache_of, experiment_name
from kthink_core.errors import BadValue, UnknownName
from kthink_core.store.reader import list_experiments


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", type=experiment_name, metavar="E", help="the only one that it shows")
    add_cache(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if find_spec("mcp") is None:
        raise BadValue("`mcp` needs the package of that name: pip install -r requirements-mcp.txt, or kthink[mcp]")
    from kthink_core.programs.mcp_server import serve

    cache, only = cache_of(options), options.experiment
    known = [status.name for status in list_experiments(cache)]
    if only is not None and only not in known:
        raise UnknownName("experiment", only, known)
    serve(cache, Person("mcp", "", "owner", None if only is None else (only,)))

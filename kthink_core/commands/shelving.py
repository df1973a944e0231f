"""`lists`: lists of features shown, written into a file, and taken in from one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from kthink_core.arguments import add_cache, cache_of, experiment_name
from kthink_core.commands.telling import tell
from kthink_core.errors import BadFile, UnknownName
from kthink_core.listing import FORMATS, write_table
from kthink_core.notes import FILE, FeatureLists

_LISTS = ("list", "name", "features", "author", "updated", "experiment", "note")
_FEATURES = ("hookpoint", "feature", "sae", "sae_revision")


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    showing = actions.add_parser("show", help="all lists, or what one holds, in its order")
    showing.add_argument("which", nargs="?", metavar="LIST", help="its id, as in a link, or its name")
    showing.add_argument("--format", choices=FORMATS, default="table")
    showing.set_defaults(run=_show)
    writing = actions.add_parser("export", help="write lists, a JSON object a line")
    writing.add_argument("target", type=Path, metavar="OUT.jsonl")
    writing.add_argument(
        "--experiment", type=experiment_name, metavar="E", help="only what they hold of its SAEs (default: all)"
    )
    writing.set_defaults(run=_export)
    taking = actions.add_parser("import", help="take in the lists of a file; what stands here stays")
    taking.add_argument("source", type=Path, metavar="FILE.jsonl")
    taking.add_argument(
        "--experiment", type=experiment_name, required=True, metavar="E", help="whose SAEs the features are of"
    )
    taking.set_defaults(run=_import)
    for action in (showing, writing, taking):
        add_cache(action)


def _show(options: argparse.Namespace) -> None:
    lists = FeatureLists(cache_of(options) / FILE)
    standing = lists.all()
    if options.which is None:
        rows = [one._asdict() | {"list": one.id} for one in standing]
        write_table(pd.DataFrame(rows, columns=list(_LISTS)), options.format, sys.stdout)
        return
    named = [one for one in standing if options.which in (one.id, one.name)]
    if not named:
        raise UnknownName("list", options.which, [one.name for one in standing])
    rows = [tuple(getattr(about, name) for name in _FEATURES) for about in lists.features(named[0].id)]
    write_table(pd.DataFrame(rows, columns=list(_FEATURES)), options.format, sys.stdout)


def _export(options: argparse.Namespace) -> None:
    from kthink_core.store.files import write_atomically
    from kthink_core.store.reader import open_reader
    from kthink_core.travel.list_files import list_lines

    cache, experiment = cache_of(options), None
    if options.experiment:
        with open_reader(cache, options.experiment) as reader:
            experiment = reader.experiment
    lines = list(list_lines(FeatureLists(cache / FILE), experiment=experiment))
    write_atomically(options.target, "".join(lines).encode())
    print(f"{len(lines):,} lists written", file=sys.stderr)


def _import(options: argparse.Namespace) -> None:
    from kthink_core.store.reader import open_reader
    from kthink_core.travel.list_files import read_lists, take_lists

    cache = cache_of(options)
    carried = read_lists(options.source)
    with open_reader(cache, options.experiment) as reader:
        experiment = reader.experiment
    taken = take_lists(FeatureLists(cache / FILE), experiment, carried)
    for remark in taken.remarks:
        tell(f"left out: {remark}")
    if carried and not taken.lists and len(taken.remarks) == len(carried):
        raise BadFile(options.source, f"none of it is a list of features of experiment '{experiment.name}'")
    print(f"{taken.lists:,} of {len(carried):,} lists taken, with {taken.features:,} features that were not on them")

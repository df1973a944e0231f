"""`export`: an experiment as files for others, notes along if asked."""

from __future__ import annotations

import argparse
from pathlib import Path

from kthink_core.arguments import add_cache, cache_of, experiment_name
from kthink_core.config import GOODFIRE

OWN = "kthink"


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("--experiment", type=experiment_name, required=True, metavar="E")
    parser.add_argument("target", type=Path, metavar="OUT.duckdb|OUT.parquet|FOLDER")
    parser.add_argument(
        "--layout", choices=(OWN, GOODFIRE), default=OWN, help="goodfire: one database a hookpoint, into a folder"
    )
    parser.add_argument("--notes", action="store_true", help="labels and notes too")
    add_cache(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the files, and print where they are."""
    from kthink_core.store.export import export
    from kthink_core.store.reader import open_reader
    from kthink_core.travel.carried_notes import BESIDE, add_table, notes_of, write_carried
    from kthink_core.travel.goodfire import export_goodfire

    cache, name, target = cache_of(options), options.experiment, options.target
    notes = []
    if options.notes:
        with open_reader(cache, name) as reader:
            notes = notes_of(cache, reader.experiment)
    beside: Path | None = None
    if options.layout == GOODFIRE:
        print(*export_goodfire(cache, name, target), sep="\n")
        beside = target / BESIDE
    elif options.notes and target.suffix == ".duckdb":
        print(export(cache, name, target, lambda made: add_table(made, notes)))
    else:
        print(export(cache, name, target))
        beside = target.with_suffix(f".{BESIDE}")
    if options.notes and beside is not None:
        write_carried(beside, notes)
        print(beside)

"""`export`: an experiment as files for others, notes and studies along if asked."""

from __future__ import annotations

import argparse
from pathlib import Path

from kthink_core.arguments import add_cache, cache_of, experiment_name
from kthink_core.commands.telling import tell
from kthink_core.config import GOODFIRE
from kthink_core.errors import BadValue

OWN = "kthink"


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("--experiment", type=experiment_name, required=True, metavar="E")
    parser.add_argument("target", type=Path, metavar="OUT.duckdb|OUT.parquet|FOLDER")
    parser.add_argument(
        "--layout", choices=(OWN, GOODFIRE), default=OWN, help="goodfire: one database a hookpoint, into a folder"
    )
    parser.add_argument("--notes", action="store_true", help="labels, notes and lists of features too")
    parser.add_argument("--studies", action="store_true", help="sweeps, ablations, attributions and sentences too")
    add_cache(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Write the files, and print where they are."""
    from kthink_core.notes import FILE, FeatureLists
    from kthink_core.store.export import export
    from kthink_core.store.files import write_atomically
    from kthink_core.store.reader import open_reader
    from kthink_core.travel import carried_lists
    from kthink_core.travel.carried_lists import add_lists
    from kthink_core.travel.carried_notes import BESIDE, add_table, notes_of, write_carried
    from kthink_core.travel.carried_studies import add_studies, studies_of
    from kthink_core.travel.goodfire import export_goodfire
    from kthink_core.travel.list_files import list_lines

    cache, name, target = cache_of(options), options.experiment, options.target
    into_database = options.layout == OWN and target.suffix == ".duckdb"
    if options.studies and not into_database:
        raise BadValue("--studies: they go along in a .duckdb of kthink's own layout only")
    notes, lists, studies = [], [], []
    with open_reader(cache, name) as reader:
        if options.notes:
            notes = notes_of(cache, reader.experiment)
            lists = list(list_lines(FeatureLists(cache / FILE), experiment=reader.experiment))
        if options.studies:
            studies, left = studies_of(reader)
            for line in left:
                tell(f"left out: {line}")

    def add(made: Path) -> None:
        if options.notes:
            add_table(made, notes)
            add_lists(made, lists)
        if options.studies:
            add_studies(made, studies)

    if into_database:
        print(export(cache, name, target, add))
        return
    if options.layout == GOODFIRE:
        print(*export_goodfire(cache, name, target), sep="\n")
        beside, of_lists = target / BESIDE, target / carried_lists.BESIDE
    else:
        print(export(cache, name, target))
        beside, of_lists = target.with_suffix(f".{BESIDE}"), target.with_suffix(f".{carried_lists.BESIDE}")
    if options.notes:
        write_carried(beside, notes)
        print(beside)
        if lists:
            write_atomically(of_lists, "".join(lists).encode())
            print(of_lists)

"""`import`: an experiment of a received file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from kthink_core.arguments import add_cache, cache_of, experiment_name
from kthink_core.commands.telling import tell

if TYPE_CHECKING:
    from kthink_core.travel.imports import Imported


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument(
        "source", type=Path, metavar="FILE.duckdb|FOLDER", help="what `export` wrote, or files of Goodfire's layout"
    )
    parser.add_argument(
        "--experiment", type=experiment_name, metavar="NAME", help="its name here (default: as the file has it)"
    )
    parser.add_argument("--notes", action="store_true", help="take the labels, notes and lists that came along, too")
    parser.add_argument("--studies", action="store_true", help="and the sweeps, ablations, attributions and sentences")
    add_cache(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Make the experiment, and print its name."""
    from kthink_core.travel.carried_notes import take
    from kthink_core.travel.imports import import_experiment

    cache = cache_of(options)
    with tqdm(unit="inference", leave=False, disable=not sys.stderr.isatty()) as bar:

        def hear(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        made = import_experiment(cache, options.source, options.experiment, hear, options.studies)
    if options.notes:
        taken, left = take(cache, made.experiment, made.notes)
        print(f"{taken} of {len(made.notes)} labels and notes taken", file=sys.stderr)
        for line in left:
            tell(f"left out: {line}")
    elif made.notes:
        print(
            f"{len(made.notes)} labels and notes are left out: an import with --notes takes them",
            file=sys.stderr,
        )
    _lists(options, made)
    if made.studies:
        done = "studies taken" if options.studies else "studies are left out: an import with --studies takes them"
        print(f"{made.studies} {done}", file=sys.stderr)
    print(f"{made.experiment.name}: {made.inferences} inferences", file=sys.stderr)
    print(made.experiment.name)


def _lists(options: argparse.Namespace, made: Imported) -> None:
    """Takes the lists of features that came along, or says that there are some."""
    from kthink_core.notes import FILE, FeatureLists
    from kthink_core.travel.list_files import take_lists

    if options.notes and made.lists:
        taken = take_lists(FeatureLists(cache_of(options) / FILE), made.experiment, made.lists)
        print(f"{taken.lists} of {len(made.lists)} lists of features taken", file=sys.stderr)
        for line in taken.remarks:
            tell(f"left out: {line}")
    elif made.lists:
        print(f"{len(made.lists)} lists are left out: an import with --notes takes them", file=sys.stderr)

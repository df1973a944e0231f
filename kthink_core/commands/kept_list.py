"""`kept`: the runs that were kept, listed; one of them deleted."""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from kthink_core import queries
from kthink_core.access.audit_log import AuditLog
from kthink_core.access.secret_key import FOLDER
from kthink_core.arguments import add_cache, cache_of, experiment_name, whole_number
from kthink_core.errors import BadValue
from kthink_core.listing import write_table
from kthink_core.store.kept_memory import KeptMemory, read_memory
from kthink_core.store.kept_runs import check_kept, delete_kept
from kthink_core.store.reader import open_reader

LIVE = "live"
COLUMNS = ("inference", "kept", "author", "watched", "compared", "question")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", type=experiment_name, default=LIVE, metavar="E", help="default: live")
    parser.add_argument("--delete", type=whole_number, metavar="I", help="delete this inference for good")
    parser.add_argument("--yes", action="store_true", help="do not ask first")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    add_cache(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    cache, name, inference = cache_of(options), options.experiment, options.delete
    if inference is None:
        with open_reader(cache, name) as reader:
            if not reader.experiment.open_ended:
                raise BadValue(f"experiment '{name}' holds no kept runs: `query inferences` lists what was computed")
            rows = queries.inferences(reader).to_dict("records")
            found = [_row(row, read_memory(reader.layout, int(row["inference"]))) for row in rows]
        write_table(pd.DataFrame(found, columns=list(COLUMNS)), options.format, sys.stdout)
        return
    check_kept(cache, name, inference)
    if not options.yes:
        if not sys.stdin.isatty():
            raise BadValue("deleting cannot be undone: say --yes")
        if input(f"Delete inference {inference} of '{name}' for good? [y/N] ").strip().lower() not in ("y", "yes"):
            print("kthink: nothing is deleted", file=sys.stderr)
            return
    delete_kept(cache, name, inference, "")
    if (cache / FOLDER).is_dir():
        AuditLog(cache).write("delete", None, experiment=name, inference=inference, way="shell")
    print(f"kthink: inference {inference} of '{name}' is deleted", file=sys.stderr)


def _row(row: dict, memory: KeptMemory | None) -> tuple:
    known = memory or KeptMemory()
    compared = ", ".join(dict.fromkeys(each.experiment for each in known.compared)) or None
    kept = None if memory is None else memory.kept
    return (int(row["inference"]), kept, row["author"], len(known.watched), compared, str(row["question"])[:80])

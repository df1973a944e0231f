"""`labels`: labels of features from files, into files, and found by what they say."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kthink_core import signs
from kthink_core.arguments import add_cache, cache_of, experiment_name, whole_number
from kthink_core.commands.telling import tell
from kthink_core.errors import BadFile, BadValue
from kthink_core.listing import FORMATS, write_table

if TYPE_CHECKING:
    from kthink_core.notes import Label
    from kthink_core.store.reader import Reader


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    taking = actions.add_parser("import", help="take in the labels of a file")
    taking.add_argument(
        "source", type=Path, metavar="FILE|FOLDER",
        help="of `labels export`, Neuronpedia's explanations (.jsonl, .jsonl.gz, .json), or the folder of a delphi run",
    )  # fmt: skip
    taking.add_argument(
        "--hookpoint", action="append", default=[], metavar="[NAME=]H",
        help="the hookpoint that the file calls NAME; without NAME, the one SAE of the file",
    )  # fmt: skip
    taking.add_argument("--source", dest="named", metavar="S", help="of labels that tell none (default: the file)")
    taking.add_argument("--author", default="", metavar="NAME", help="who takes them in")
    taking.set_defaults(run=_import)
    writing = actions.add_parser("export", help="write all labels of an experiment's SAEs, a JSON object a line")
    writing.add_argument("target", type=Path, metavar="OUT.jsonl")
    writing.set_defaults(run=_export)
    finding = actions.add_parser("find", help="features whose label or one of whose top tokens contains a text")
    finding.add_argument("text", metavar="TEXT")
    finding.add_argument("--hookpoint", required=True, metavar="H")
    finding.add_argument("--top", type=whole_number, default=50, metavar="N")
    finding.add_argument("--format", choices=FORMATS, default="table")
    finding.set_defaults(run=_find)
    for action in (taking, writing, finding):
        action.add_argument("--experiment", type=experiment_name, required=True, metavar="E")
        add_cache(action)


def _import(options: argparse.Namespace) -> None:
    from kthink_core.notes import FILE, Notebook
    from kthink_core.store.reader import open_reader
    from kthink_core.travel.delphi_folder import read_delphi
    from kthink_core.travel.label_files import read_labels
    from kthink_core.travel.label_import import take_labels

    path: Path = options.source
    found = read_delphi(path) if path.is_dir() else read_labels(path)
    with open_reader(cache_of(options), options.experiment) as reader:
        experiment = reader.experiment
    notebook = Notebook(cache_of(options) / FILE)
    places = _places(options.hookpoint)
    taken = take_labels(notebook, experiment, found, places, options.named or path.name, options.author)
    for remark in taken.remarks:
        tell(remark)
    if not taken.labels and not taken.stood:
        raise BadFile(path, f"none of it is a label of a feature of experiment '{experiment.name}'")
    stood = f", {taken.stood:,} stood here already" if taken.stood else ""
    print(f"{taken.labels:,} labels taken{stood}; sources: {signs.revealed(', '.join(taken.sources))}")


def _places(given: list[str]) -> dict[str, str]:
    """Hookpoints by what a file calls them. Raises BadValue."""
    places: dict[str, str] = {}
    for each in given:
        name, _, hookpoint = each.rpartition("=")
        if places.setdefault(name, hookpoint) != hookpoint:
            raise BadValue(f"--hookpoint {each}: '{name}' is {places[name]} already")
    return places


def _export(options: argparse.Namespace) -> None:
    from kthink_core.notes import FILE, Notebook
    from kthink_core.store.files import write_atomically
    from kthink_core.store.reader import open_reader
    from kthink_core.travel.label_import import label_lines

    with open_reader(cache_of(options), options.experiment) as reader:
        experiment = reader.experiment
    lines = list(label_lines(Notebook(cache_of(options) / FILE), experiment, experiment.saes))
    write_atomically(options.target, "".join(lines).encode())
    print(f"{len(lines):,} labels written", file=sys.stderr)


def _find(options: argparse.Namespace) -> None:
    from kthink_core import queries
    from kthink_core.notes import FILE, Notebook, of_feature
    from kthink_core.queries.checks import check_hookpoint, check_top
    from kthink_core.store.reader import open_reader

    check_top(options.top)
    with open_reader(cache_of(options), options.experiment) as reader:
        check_hookpoint(reader, options.hookpoint)
        about = of_feature(reader.experiment, options.hookpoint, 0)
        notebook, text = Notebook(cache_of(options) / FILE), options.text
        named = notebook.all_labels(about, containing=text.strip()) if text.strip() else []
        by_token = queries.feature_search(reader, options.hookpoint, text=text, top=options.top)["feature"].tolist()
        features = tuple(dict.fromkeys([*(label.feature for label in named), *by_token]))[: options.top]
        table = _found(reader, options.hookpoint, features, notebook.all_labels(about, features))
    write_table(table, options.format, sys.stdout)


def _found(reader: Reader, hookpoint: str, features: tuple[int, ...], labels: list[Label]) -> pd.DataFrame:
    """Features in their order, with the label that pages show, its source and score, and the top tokens."""
    from kthink_core import queries

    shown: dict[int, Label] = {}
    for label in labels:
        shown.setdefault(label.feature, label)
    texts = queries.top_tokens_of(reader, hookpoint, features).groupby("feature")["text"].agg(list)
    rows = [
        {
            "feature": feature,
            "label": shown[feature].value if feature in shown else None,
            "source": (shown[feature].source or "people") if feature in shown else None,
            "score": shown[feature].score if feature in shown else None,
            "top_tokens": json.dumps(texts.get(feature, []), ensure_ascii=False),
        }
        for feature in features
    ]
    return pd.DataFrame(rows, columns=["feature", "label", "source", "score", "top_tokens"])

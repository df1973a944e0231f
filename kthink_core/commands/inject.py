"""`inject`: is a feature more than its words?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from kthink_core.arguments import add_cache, cache_of, experiment_name, whole_number, whole_numbers
from kthink_core.commands.loading import load
from kthink_core.config import Device
from kthink_core.errors import BadValue, UnknownName
from kthink_core.listing import FORMATS, write_table

if TYPE_CHECKING:
    from kthink_core.evidence.injection_run import Reading
    from kthink_core.store.reader import Reader

_MOST = 1000
"""Features of one command."""

Ranking = Callable[["Reader", str, int], list[int]]


def _by_sort(sort: str) -> Ranking:
    def ranked(reader: Reader, hookpoint: str, top: int) -> list[int]:
        from kthink_core import queries

        return queries.feature_table(reader, hookpoint, sort=sort, top=top)["feature"].tolist()  # type: ignore[arg-type]

    return ranked


def _by_reason_score(reader: Reader, hookpoint: str, top: int) -> list[int]:
    from kthink_core.evidence.reason_score import reason_score

    return reason_score(reader, hookpoint, top=top)["feature"].tolist()


RANKINGS: dict[str, Ranking] = {
    "count": _by_sort("inferences"),
    "max": _by_sort("maximum"),
    "think": _by_sort("think"),
    "answer": _by_sort("answer"),
    "right": _by_sort("right"),
    "wrong": _by_sort("wrong"),
    "reason-score": _by_reason_score,
}
"""What `--by` takes: the tables that the best features can be taken of."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", type=experiment_name, required=True, metavar="E")
    parser.add_argument("--hookpoint", required=True, metavar="H")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--features", type=whole_numbers, metavar="F,F,…", help="such as 1,2,3")
    which.add_argument("--top", type=whole_number, metavar="N", help="the first N by --by")
    parser.add_argument("--by", default="count", metavar="TABLE", help=f"{', '.join(RANKINGS)} (default: count)")
    parser.add_argument(
        "--texts", type=Path, metavar="FILE",
        help="texts without reasoning, one a line (default: the demo's own, or the questions of the problem set)",
    )  # fmt: skip
    parser.add_argument("--seed", type=whole_number, default=0, metavar="S")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--format", choices=FORMATS, default="table")
    add_cache(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from kthink_core.queries.checks import check_feature, check_hookpoint
    from kthink_core.store.reader import open_reader

    if not 0 <= options.seed < 2**31:
        raise BadValue(f"--seed {options.seed}: from 0 to {2**31 - 1}")
    if options.by not in RANKINGS:
        raise UnknownName("table", options.by, RANKINGS)
    if options.texts is not None and not options.texts.is_file():  # before anything is loaded
        raise BadValue(f"--texts {options.texts}: there is no such file")
    with open_reader(cache_of(options), options.experiment) as reader:
        check_hookpoint(reader, options.hookpoint)
        if options.top is not None and not 1 <= options.top <= _MOST:
            raise BadValue(f"--top {options.top}: from 1 to {_MOST}")
        features: list[int] | None = options.features
        if features is None:
            features = RANKINGS[options.by](reader, options.hookpoint, options.top or 1)
        if not 1 <= len(features) <= _MOST:
            raise BadValue(f"{len(features)} features: test from 1 to {_MOST}")
        for feature in features:
            check_feature(reader, options.hookpoint, feature)
        _test(reader, options, features)


def _test(reader: Reader, options: argparse.Namespace, features: list[int]) -> None:
    from kthink_core.evidence.injection_results import table
    from kthink_core.evidence.injection_run import Materials, check_texts, run
    from kthink_core.evidence.injection_test import LENGTH, TEXTS
    from kthink_core.model.feature_maxima import FeatureMaxima
    from kthink_core.model.language_model import token_text
    from kthink_core.precompute.plain_texts import plain_texts

    experiment, hookpoint = reader.experiment, options.hookpoint
    config = experiment.config
    lm, saes = load(experiment, [hookpoint], options.device)
    texts = plain_texts(lm.tokenizer, config, options.texts, LENGTH, TEXTS)
    check_texts(texts.token_ids, texts.short, texts.source)
    if texts.short:
        print(f"kthink: {texts.short} texts of fewer than {LENGTH} tokens are left out", file=sys.stderr)
    probe: Reading = FeatureMaxima(lm, saes.by_hookpoint[hookpoint], hookpoint, config.site, texts.token_ids)
    materials = Materials(
        reader, hookpoint, probe, lambda token_id: token_text(lm.tokenizer, token_id), texts.source, options.seed
    )
    found = []
    for step in run(materials, features):
        if sys.stderr.isatty():
            print(f"\r{step.done} of {step.of} features", end="\n" if step.done == step.of else "", file=sys.stderr)
        if step.result is not None:
            found.append(step.result)
    write_table(table(found), options.format, sys.stdout)

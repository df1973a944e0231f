"""`ablate`: what becomes of a trace's later tokens without a feature?"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, get_args

from kthink_core.arguments import (
    add_cache,
    cache_of,
    experiment_name,
    position_pair,
    whole_number,
    whole_numbers,
)
from kthink_core.config import Device
from kthink_core.errors import BadValue
from kthink_core.listing import FORMATS, write_table
from kthink_core.store.causal_studies import MOST_ABLATED

if TYPE_CHECKING:
    from kthink_core.store.reader import Reader


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", type=experiment_name, required=True, metavar="E")
    parser.add_argument("--inference", type=whole_number, required=True, metavar="I")
    parser.add_argument("--hookpoint", required=True, metavar="H")
    parser.add_argument("--features", type=whole_numbers, required=True, metavar="F,F,…", help="each by itself")
    parser.add_argument(
        "--span", type=position_pair, metavar="A:B", help="set to 0 from position A to B (default: everywhere)"
    )
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--format", choices=FORMATS, default="table")
    add_cache(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from kthink_core.queries.checks import check_features, check_inference
    from kthink_core.store.reader import open_reader

    with open_reader(cache_of(options), options.experiment) as reader:
        check_inference(reader, options.inference)
        if not 1 <= len(options.features) <= MOST_ABLATED:
            raise BadValue(f"{len(options.features)} features: ablate from 1 to {MOST_ABLATED}")
        check_features(reader, options.hookpoint, options.features)
        _ablate(reader, options)


def _ablate(reader: Reader, options: argparse.Namespace) -> None:
    from kthink_core.commands.causal_subject import subject_of
    from kthink_core.evidence.ablation_results import ablation_table
    from kthink_core.interventions.ablating import ablate
    from kthink_core.store.causal_studies import ABLATION, AblationQuestion, AblationStudy, causal_id
    from kthink_core.store.studies import save_study

    asked = AblationQuestion(hookpoint=options.hookpoint, features=tuple(options.features), span=options.span)
    subject = subject_of(reader, options.inference, [options.hookpoint], options.device)
    for step in ablate(subject, asked, lambda: None):
        if isinstance(step, AblationStudy):
            save_study(reader.layout, ABLATION, causal_id(step.trace, asked, step.made), step)
            write_table(ablation_table(step), options.format, sys.stdout)

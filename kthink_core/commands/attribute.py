"""`attribute`: which features does a trace's answer owe its probability to?"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, get_args

from kthink_core.arguments import add_cache, cache_of, experiment_name, whole_number
from kthink_core.commands.telling import tell
from kthink_core.config import Device
from kthink_core.errors import BadValue, short
from kthink_core.listing import FORMATS, write_table
from kthink_core.store.causal_studies import LONGEST_RIVAL, RUNNER_UP

if TYPE_CHECKING:
    from kthink_core.store.causal_studies import AttributionStudy
    from kthink_core.store.reader import Reader


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", type=experiment_name, required=True, metavar="E")
    parser.add_argument("--inference", type=whole_number, required=True, metavar="I")
    parser.add_argument("--hookpoints", nargs="+", metavar="H", help="default: all of the experiment")
    parser.add_argument(
        "--position", type=whole_number, metavar="P", help="of the token that is explained (default: the final answer)"
    )
    explained = parser.add_mutually_exclusive_group()
    explained.add_argument(
        "--rival", nargs="?", const=RUNNER_UP, default=RUNNER_UP, metavar="TOKEN",
        help="explain the logit less this token's (default, and without a value: less the runner-up's)",
    )  # fmt: skip
    explained.add_argument(
        "--log-probability", dest="rival", action="store_const", const=None, help="explain the log-probability"
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="S", help="of the features drawn as controls")
    parser.add_argument("--top", type=whole_number, metavar="N", help="features listed a hookpoint (default: 20)")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--format", choices=FORMATS, default="table")
    add_cache(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from kthink_core.queries.checks import check_hookpoint, check_inference, check_top
    from kthink_core.store.reader import open_reader

    if not 0 <= options.seed < 2**31:
        raise BadValue(f"--seed {options.seed}: from 0 to {2**31 - 1}")
    if options.position is not None and not 0 <= options.position < 2**31:
        raise BadValue(f"--position {options.position}: a position of the trace")
    if options.rival is not None and len(options.rival) > LONGEST_RIVAL:
        raise BadValue(f"--rival {short(options.rival)}: at most {LONGEST_RIVAL} characters")
    top = 20 if options.top is None else options.top
    check_top(top)
    with open_reader(cache_of(options), options.experiment) as reader:
        check_inference(reader, options.inference)
        hookpoints = list(dict.fromkeys(options.hookpoints or reader.experiment.saes))
        for hookpoint in hookpoints:
            check_hookpoint(reader, hookpoint)
        _attribute(reader, options, hookpoints, top)


def _attribute(reader: Reader, options: argparse.Namespace, hookpoints: list[str], top: int) -> None:
    import pandas as pd

    from kthink_core.commands.causal_subject import subject_of
    from kthink_core.evidence.attribution_results import attribution_table
    from kthink_core.interventions.attributing import attribute
    from kthink_core.store.causal_studies import ATTRIBUTION, AttributionQuestion, AttributionStudy, causal_id
    from kthink_core.store.studies import save_study

    subject = subject_of(reader, options.inference, hookpoints, options.device)
    questions = [
        AttributionQuestion(hookpoint=name, position=options.position, rival=options.rival, seed=options.seed)
        for name in hookpoints
    ]
    found = []
    for step in attribute(subject, questions, lambda: None):
        if isinstance(step, AttributionStudy):
            save_study(reader.layout, ATTRIBUTION, causal_id(step.trace, step.question, step.made), step)
            _tell(step)
            found.append(attribution_table(step, top))
    write_table(pd.concat(found, ignore_index=True), options.format, sys.stdout)


def _tell(study: AttributionStudy) -> None:
    """How far it is to be believed."""
    from kthink_core.evidence.attribution_results import doubts, in_words

    for line in (in_words(study), *doubts(study)):
        tell(f"{study.question.hookpoint}: {line}")

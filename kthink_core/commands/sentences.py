"""`sentences`: which sentences of a thought does its answer depend on?"""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING, get_args

import pandas as pd

from kthink_core.arguments import add_cache, cache_of, experiment_name, whole_number
from kthink_core.commands.telling import tell
from kthink_core.config import Device
from kthink_core.errors import BadValue, short
from kthink_core.listing import FORMATS, write_table
from kthink_core.records import Intervention
from kthink_core.steer_options import check_interventions, check_steering

if TYPE_CHECKING:
    from kthink_core.evidence.rollout_plan import Cost, Question
    from kthink_core.records import Inference
    from kthink_core.store.reader import Reader

_ALWAYS = 1
"""Tokens written at least by whoever steers from the first one on."""
_CLAMP = re.compile(r"(?P<hookpoint>[\w.]+):(?P<feature>[0-9]{1,9})(?:=(?P<value>[0-9]{1,18}(?:\.[0-9]{1,18})?))?")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", type=experiment_name, required=True, metavar="E")
    parser.add_argument("--inference", type=whole_number, required=True, metavar="I")
    parser.add_argument("--rollouts", type=whole_number, metavar="N", help="from each place (default: 100)")
    parser.add_argument(
        "--clamp", type=clamp, metavar="HOOKPOINT:FEATURE=V",
        help="again with this feature held at V (0): how much of a sentence's importance passes it?",
    )  # fmt: skip
    parser.add_argument(
        "--steer-residual", action="store_true", help="clamp with an MLP's SAE at site residual nevertheless"
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="S", help="rollouts have the seeds from S on")
    parser.add_argument(
        "--estimate", action="store_true",
        help="say what it will cost and end; where nothing tells how fast this machine is, the first place is done",
    )  # fmt: skip
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--format", choices=FORMATS, default="table")
    add_cache(parser)
    parser.set_defaults(run=_run)


def clamp(text: str) -> Intervention:
    """`layers.6.mlp:12=0`: the value of an option. Raises BadValue."""
    given = _CLAMP.fullmatch(text)
    if given is None:
        raise BadValue(f"--clamp {short(text)}: HOOKPOINT:FEATURE=VALUE, such as layers.6.mlp:12=0")
    return Intervention(given["hookpoint"], int(given["feature"]), "clamp", float(given["value"] or 0))


def _run(options: argparse.Namespace) -> None:
    from kthink_core.evidence.rollout_plan import ROLLOUTS, Question, left, standing
    from kthink_core.evidence.sentence_results import doubts, failures, table
    from kthink_core.queries.checks import check_feature, check_inference
    from kthink_core.store.reader import open_reader

    if not 0 <= options.seed < 2**31:
        raise BadValue(f"--seed {options.seed}: from 0 to {2**31 - 1}")
    rollouts = ROLLOUTS if options.rollouts is None else options.rollouts
    question = Question(options.inference, rollouts, options.seed, options.clamp)
    with open_reader(cache_of(options), options.experiment) as reader:
        check_inference(reader, question.inference)
        if (held := question.clamp) is not None:
            check_feature(reader, held.hookpoint, held.feature)
            site, wanted = reader.experiment.config.site, options.steer_residual
            check_steering((held,), _ALWAYS, site, at_residual=wanted, flag="--steer-residual")
        trace = reader.inference(question.inference)
        if held is not None:
            check_interventions((*trace.interventions, held))
        cost = left(reader, standing(reader, trace, question))
        if cost.places and not (options.estimate and cost.seconds):
            cost = _make(reader, trace, question, options)
        if options.estimate:
            write_table(pd.DataFrame([cost]), options.format, sys.stdout)
            return
        found = standing(reader, trace, question)
        for doubt in (*doubts(found[0]), *(broken for one in found[1:] for broken in failures(one))):
            tell(doubt)
        write_table(table(*found), options.format, sys.stdout)


def _make(reader: Reader, trace: Inference, question: Question, options: argparse.Namespace) -> Cost:
    """Make what is missing, with `--estimate` one place of it. Returns what is left."""
    from kthink_core.commands.loading import load
    from kthink_core.evidence.rollout_plan import hookpoints_of
    from kthink_core.interventions.sentence_run import Engaged, run

    hookpoints = hookpoints_of(trace, question) or list(reader.experiment.saes)[:1]
    loaded = load(reader.experiment, hookpoints, options.device)
    steps = run(reader, question, Engaged(loaded.lm, loaded.saes.by_hookpoint))
    step = next(steps)
    tell(_told(step.left, question))
    places, known = step.left.places, step.left.seconds is not None
    for step in steps:
        if options.estimate and step.left.places < places:
            break
        if sys.stderr.isatty():
            end = "\n" if step.done == step.of else ""
            print(f"\r{step.done} of {step.of} rollouts, {_duration(step.left)} left   ", end=end, file=sys.stderr)
        elif not known and step.left.seconds:
            known = True
            tell(_told(step.left, question))
    return step.left


def _told(cost: Cost, question: Question) -> str:
    return (
        f"{cost.places} places, {question.rollouts} rollouts from each: about {cost.tokens:,} tokens to write, "
        f"{_duration(cost)}"
    )


def _duration(cost: Cost) -> str:
    if cost.seconds is None:
        return "how long is known once the first place is done"
    minutes, seconds = divmod(round(cost.seconds), 60)
    return f"about {minutes} min {seconds} s" if minutes else f"about {seconds} s"

"""`steer-eval`: does steering a feature change how many problems are solved?"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, get_args

from kthink_core.arguments import add_cache, add_problems, cache_of, experiment_name, numbers, whole_number
from kthink_core.commands.loading import load
from kthink_core.commands.telling import tell
from kthink_core.config import Device
from kthink_core.errors import BadValue, short
from kthink_core.listing import FORMATS, write_table
from kthink_core.records import ACTIONS

if TYPE_CHECKING:
    from kthink_core.evidence.sweep_question import ProblemSet
    from kthink_core.store.reader import Reader
    from kthink_core.store.sweeps import Asked, Sweep


def named_features(text: str) -> list[tuple[str, int]]:
    """`layers.6.mlp:767,layers.4.mlp:12`: the value of an option."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        hookpoint, colon, feature = part.rpartition(":")
        if not colon or not hookpoint:
            raise argparse.ArgumentTypeError(f"'{short(part)}' is not a feature such as layers.6.mlp:767")
        found.append((hookpoint, whole_number(feature)))
    return found


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", type=experiment_name, required=True, metavar="E")
    parser.add_argument(
        "--features", type=named_features, required=True, metavar="H:F,H:F,…",
        help="each is steered alone, such as layers.6.mlp:767",
    )  # fmt: skip
    parser.add_argument("--action", choices=ACTIONS, default="clamp", help="default: clamp")
    parser.add_argument(
        "--strengths", type=numbers, default=[], metavar="V,V,…",
        help="in units of the feature's maximum in the experiment, such as 0,0.5,2",
    )  # fmt: skip
    parser.add_argument("--start", type=whole_number, default=0, metavar="N", help="first generated position steered")
    parser.add_argument(
        "--steer-residual", action="store_true", help="steer with an MLP's SAE at site residual nevertheless"
    )
    add_problems(parser)
    parser.add_argument("--samples", type=whole_number, default=1, metavar="N", help="runs of each problem (1)")
    parser.add_argument("--seed", type=whole_number, metavar="S", help="default: the experiment's")
    parser.add_argument("--batch-size", type=whole_number, metavar="B", help="default: 32")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--format", choices=FORMATS, default="table")
    add_cache(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from kthink_core.evidence.steer_table import steer_table, too_few
    from kthink_core.evidence.sweep_figures import remarks
    from kthink_core.evidence.sweep_question import Wish, asked_of, begun
    from kthink_core.store.reader import open_reader
    from kthink_core.store.studies import made_with

    if options.batch_size is not None and options.batch_size < 1:
        raise BadValue(f"--batch-size {options.batch_size}: at least 1")
    wish = Wish(
        options.features, options.action, options.strengths, options.start, options.samples, options.seed,
        options.steer_residual,
    )  # fmt: skip
    with open_reader(cache_of(options), options.experiment) as reader:
        problems = _problems(reader, options)
        asked = asked_of(reader, wish, problems, "--steer-residual")
        hookpoints = [target.hookpoint for target in asked.targets]
        _, sweep = begun(reader, asked, problems, made_with(reader.experiment, hookpoints, "", ""))
        if not sweep.complete:
            sweep = _complete(reader, options, asked, problems)
    table = steer_table(sweep)
    for remark in (*remarks(sweep), *too_few(table)):
        tell(remark)
    write_table(table, options.format, sys.stdout)


def _problems(reader: Reader, options: argparse.Namespace) -> ProblemSet:
    """Those of a file, or the experiment's own. Raises BadProblems, BadValue, MissingFiles."""
    from kthink_core.evidence.sweep_question import ProblemSet, own_problems

    if options.limit is not None and options.limit < 1:
        raise BadValue(f"--limit {options.limit}: at least 1")
    if options.problems is None:
        return own_problems(reader, options.limit)
    from kthink_core.precompute.problems import load_problems

    problems = load_problems(options.problems, options.limit)
    return ProblemSet(problems, options.problems, len(problems))


def _complete(reader: Reader, options: argparse.Namespace, asked: Asked, problems: ProblemSet) -> Sweep:
    """Make what is missing, stored batch by batch."""
    from kthink_core.evidence.sweep_question import KIND, begun
    from kthink_core.interventions.sweep import BATCH, Machine, run_sweep
    from kthink_core.store.studies import made_with, save_study

    experiment = reader.experiment
    hookpoints = list(dict.fromkeys(target.hookpoint for target in asked.targets))
    lm, saes = load(experiment, hookpoints, options.device)
    made = made_with(experiment, hookpoints, str(lm.device), lm.dtype_name)
    id, begin = begun(reader, asked, problems, made)
    machine = Machine(lm, saes.by_hookpoint, experiment.config.site)
    sweep = begin
    for sweep in run_sweep(machine, begin, problems.problems, options.batch_size or BATCH):
        save_study(reader.layout, KIND, id, sweep)
        if sys.stderr.isatty():
            end = "\n" if sweep.complete else ""
            print(f"\r{len(sweep.runs):,} of {sweep.of:,} runs", end=end, file=sys.stderr)
    return sweep

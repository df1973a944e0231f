"""`--steer`: what is done to features while a model writes, as it is given on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kthink_core.arguments import cache_of, experiment_name
from kthink_core.config import ExperimentConfig
from kthink_core.errors import BadValue
from kthink_core.identity import same_features
from kthink_core.steer_options import Asked, asked, check_interventions, check_steering, in_activations

if TYPE_CHECKING:
    from kthink_core.config import Experiment
    from kthink_core.records import Intervention


def add(parser: argparse.ArgumentParser) -> None:
    """`interventions` reads it."""
    parser.add_argument(
        "--steer", action="append", default=[], metavar="HOOKPOINT:FEATURE=clamp:V|add:V|ablate[@START]",
        help="do this to a feature while the model writes, from generated token START (0) on; V is an activation, or "
        "2x: twice its maximum in --steer-scale; one more @HOOKPOINT:FEATURE: only once that one has fired; repeatable",
    )  # fmt: skip
    parser.add_argument("--steer-scale", type=experiment_name, metavar="E", help="the experiment that 2x refers to")
    parser.add_argument(
        "--steer-residual", action="store_true", help="steer with an MLP's SAE at site residual nevertheless"
    )


def with_steering(config: ExperimentConfig, options: argparse.Namespace) -> ExperimentConfig:
    """A configuration with what is to be steered. Raises BadValue, and what opening an experiment raises."""
    wanted = [asked(text) for text in options.steer]
    if not wanted:
        return config
    found = _scaled(wanted, options)
    check_interventions(found)
    check_steering(
        found, config.max_new_tokens, config.site, at_residual=options.steer_residual, flag="--steer-residual"
    )
    return config.model_copy(update={"steering": found})


def _scaled(wanted: Sequence[Asked], options: argparse.Namespace) -> tuple[Intervention, ...]:
    if not any(one.scaled for one in wanted):
        return in_activations(wanted, lambda hookpoint, feature: None, "")
    if options.steer_scale is None:
        raise BadValue("--steer with a strength such as 2x: name the experiment that it is of with --steer-scale E")
    from kthink_core import queries
    from kthink_core.store.reader import open_reader

    with open_reader(cache_of(options), options.steer_scale) as reader:

        def maximum(hookpoint: str, feature: int) -> float | None:
            table = queries.feature_maxima(reader, hookpoint, (feature,))
            return float(table["max_activation"].iloc[0]) if len(table) else None

        return in_activations(wanted, maximum, f"experiment '{options.steer_scale}'")


def check_scale(options: argparse.Namespace, made: Experiment) -> None:
    """Raises BadValue where the maxima that strengths refer to are of another SAE than the experiment to be made."""
    scaled = {one.intervention.hookpoint for text in options.steer if (one := asked(text)).scaled}
    if not scaled:
        return
    from kthink_core.store.reader import open_reader

    with open_reader(cache_of(options), options.steer_scale) as reader:
        for hookpoint in sorted(scaled):
            if not same_features(reader.experiment, made, hookpoint):
                raise BadValue(
                    f"--steer-scale {options.steer_scale}: it has another SAE at {hookpoint} than '{made.name}'; its "
                    "features are others"
                )

"""`--traces`: what is read instead of being generated, as it is given on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from kthink_core.arguments import config_of
from kthink_core.config import ExperimentConfig, check_name, experiment_named
from kthink_core.errors import BadValue
from kthink_core.store.repair import known_experiment

_GENERATING = (
    "problems", "samples", "temperature", "top_p", "max_new_tokens", "seed", "instruction", "system", "steer",
    "steer_scale", "steer_residual",
)  # fmt: skip
"""Options that say what the model is to write, and how."""
_OF_TOKENS = ("mode", "grade")
"""What the very tokens of an experiment have from there."""
_OF_TRACES = ("split", "skip_bad", "by_id")


def add(parser: argparse.ArgumentParser) -> None:
    """`config_with_traces` reads it."""
    parser.add_argument(
        "--traces", metavar="T",
        help="instead of generating, take what was written elsewhere: FILE.jsonl (prompt and completion a line), a "
        "data set of the hub (owner/name or owner/name:config), or experiment:E, whose very tokens are read again",
    )  # fmt: skip
    parser.add_argument("--split", help="of a data set of traces (default: train)")
    parser.add_argument(
        "--skip-bad", action="store_true", default=None, help="leave traces out that cannot be used, and say which"
    )
    parser.add_argument(
        "--by-id", action="store_true", default=None,
        help="take the token ids of experiment:E as they are, though this model's tokenizer reads some otherwise",
    )  # fmt: skip


def config_with_traces(options: argparse.Namespace) -> ExperimentConfig:
    """What an experiment is made with. Raises BadValue."""
    if options.traces is None:
        if odd := [name for name in _OF_TRACES if getattr(options, name) is not None]:
            raise BadValue(f"{_flags(odd)}: only --traces takes it")
        return config_of(options)
    if odd := [name for name in _GENERATING if _is_given(getattr(options, name, None))]:
        raise BadValue(f"--traces generates nothing: leave out {_flags(odd)}")
    if experiment_named(options.traces) is not None and (
        odd := [name for name in _OF_TOKENS if getattr(options, name)]
    ):
        raise BadValue(f"--traces {options.traces} is as it was written there: leave out {_flags(odd)}")
    config = config_of(options)
    return config.model_copy(update={"problems": config.traces, "limit": options.limit})


def as_written(config: ExperimentConfig, cache: Path) -> ExperimentConfig:
    """Of the mode that the experiment has whose tokens are read, and graded as it is; as it is where there is none.
    Raises what reading that experiment raises."""
    if (name := experiment_named(config.traces)) is None:
        return config
    check_name(name)
    source = known_experiment(cache, name)
    return (
        config
        if source is None
        else config.model_copy(update={each: getattr(source.config, each) for each in _OF_TOKENS})
    )


def _is_given(value: object) -> bool:
    """0 is; a switch that is off and a list without anything are not."""
    return value is not None and value is not False and value != []


def _flags(names: list[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in names)

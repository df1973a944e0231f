"""`train-sae`: SAEs of a model, trained by sparsify's Trainer."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

import pandas as pd
from pydantic import ValidationError

from kthink_core.arguments import add_cache, cache_of, whole_number
from kthink_core.config import Device, Dtype, Site, check_name
from kthink_core.errors import BadValue
from kthink_core.listing import FORMATS, Format, write_table
from kthink_core.store.trainings import HeldOut, Training, TrainingConfig, folder_of

NAME = "trained"
SAVE_EVERY = 100
COLUMNS = tuple(HeldOut.model_fields)
_DEFAULTS = {name: field.default for name, field in TrainingConfig.model_fields.items()}


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("--model", metavar="M", help="hub id or folder (default: demo)")
    parser.add_argument("--model-revision", metavar="R", help="commit, tag or branch on the hub")
    parser.add_argument("--dtype", choices=get_args(Dtype), help="of the model")
    parser.add_argument("--hookpoints", nargs="+", metavar="H", required=True, help="modules such as layers.10.mlp")
    parser.add_argument("--site", choices=get_args(Site), help="the module's output, or its layer's input")
    parser.add_argument(
        "--data", nargs="+", metavar="D", required=True,
        help="experiment:E (its traces), FILE.jsonl (token_ids, text, or question and answer a line), or a data set of "
        "the hub, owner/name or owner/name:config",
    )  # fmt: skip
    parser.add_argument("--split", help=f"of data sets of the hub (default: {_DEFAULTS['split']})")
    parser.add_argument("--column", help=f"of these, the one with texts (default: {_DEFAULTS['column']})")
    _number(parser, "tokens", "most that are taken of the data")
    _number(parser, "window", "tokens; longer texts are cut")
    _number(parser, "latents", "features of each SAE")
    _number(parser, "k", "features kept at a position")
    _number(parser, "batch-size", "windows a step")
    parser.add_argument("--steps", type=whole_number, metavar="N", help="default: all data once")
    parser.add_argument("--lr", type=float, metavar="R", help="default: 2e-4 · √(16384 / latents), sparsify's")
    parser.add_argument("--warmup", type=whole_number, metavar="N", help="steps (default: a tenth, at most 1000)")
    parser.add_argument("--auxk-alpha", type=float, metavar="A", help="weight of the loss that wakes dead features (0)")
    parser.add_argument("--seed", type=whole_number, metavar="S")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument(
        "--save-every", type=whole_number, default=SAVE_EVERY, metavar="N", help=f"steps (default: {SAVE_EVERY})"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--name", default=NAME, metavar="NAME", help=f"folder saes/NAME of the cache (default: {NAME})")
    where.add_argument("--out", type=Path, metavar="DIR", help="another folder")
    parser.add_argument("--format", choices=FORMATS, default="table")
    add_cache(parser)
    parser.set_defaults(run=run)


def _number(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    default = _DEFAULTS[name.replace("-", "_")]
    parser.add_argument(f"--{name}", type=whole_number, metavar="N", help=f"{what} (default: {default:,})")


def run(options: argparse.Namespace) -> None:
    """Train, or go on, and print the figures on texts that were held out."""
    given = {name: getattr(options, name) for name in TrainingConfig.model_fields}
    config = _config({name: value for name, value in given.items() if value is not None})
    check_name(options.name, "training")
    cache = cache_of(options)
    folder: Path = options.out or folder_of(cache, options.name)

    from kthink_core.training.training_bar import TrainingBar
    from kthink_core.training.training_run import train

    bar = TrainingBar()
    try:
        training = train(config, options.device, cache, folder, options.save_every, bar)
    finally:
        bar.close()
    _print(training, folder, options.format)


def _config(given: dict[str, object]) -> TrainingConfig:
    """Settings with the options that were given. Raises BadValue, naming the option."""
    try:
        return TrainingConfig.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = first["msg"].removeprefix("Value error, ")
        where = f"--{str(first['loc'][0]).replace('_', '-')}: " if first["loc"] else ""
        raise BadValue(f"{where}{reason}") from error


def _print(training: Training, folder: Path, form: Format) -> None:
    table = pd.DataFrame([figures.model_dump() for figures in training.figures], columns=list(COLUMNS))
    table = table.astype({"fvu": float, "loss_recovered": float})  # either may be null in all rows
    write_table(table.round(4) if form == "table" else table, form, sys.stdout)
    data, config = training.data, training.config
    site = " --site residual" if config.site == "residual" else ""
    print(
        f"{training.steps:,} steps on {training.positions:,} positions in {training.seconds or 0:,.0f} s; figures: on "
        f"{data.held_out_tokens:,} positions of texts that were held out\n"
        f"use it: --sae {folder} --hookpoints {' '.join(config.hookpoints)}{site}",
        file=sys.stderr,
    )

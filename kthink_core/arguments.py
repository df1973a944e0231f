"""What the command line is given, checked before anything is done with it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from kthink_core.config import DEMO, MOST_ACTIVE, Dtype, ExperimentConfig, Site, check_name
from kthink_core.documents import read_bounded
from kthink_core.errors import BadFile, BadValue, encodable, in_words, short
from kthink_core.presets import PRESETS, preset
from kthink_core.prompts import INSTRUCTION, NONE, Grade, Mode
from kthink_core.settings import Settings, from_environment

_CONFIG_OPTIONS = (
    "model", "model_revision", "sae", "sae_revision", "hookpoints", "site", "problems", "limit", "mode",
    "temperature", "top_p", "max_new_tokens", "seed", "samples", "dtype", "traces", "split", "skip_bad", "by_id",
    "instruction", "system", "grade", "chat_template", "most_active",
)  # fmt: skip

_LONGEST_TEMPLATE = 100_000
"""Bytes."""


def check_text(arguments: Iterable[str]) -> None:
    """Raises BadValue for bytes that are not UTF-8: no database and no page takes them, not as a path either."""
    for argument in arguments:
        if encodable(argument) != argument:
            raise BadValue(f"argument '{short(argument)}' is no text: its bytes are not UTF-8")


def experiment_name(text: str) -> str:
    """The value of an option. Raises BadValue for what is no plain folder name."""
    check_name(text)
    return text


def whole_number(text: str) -> int:
    """The value of an option; of no more digits than a database's integers have."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"'{short(text)}' is no whole number of at most 18 digits")
    return int(text)


def whole_pair(text: str) -> tuple[int, int]:
    """The value of an option: two whole numbers with a comma between them."""
    parts = text.split(",")
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f"'{short(text)}' is not two whole numbers such as 1,2")
    return whole_number(parts[0]), whole_number(parts[1])


def whole_numbers(text: str) -> list[int]:
    """`1,2,3`: the value of an option."""
    return [whole_number(part.strip()) for part in text.split(",") if part.strip()]


def numbers(text: str) -> list[float]:
    """`0,0.5,2`: the value of an option."""
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{short(text)}' is not a list of numbers such as 0,0.5,2") from None


def position_pair(text: str) -> tuple[int, int]:
    """`12:20`, or `12` for one position: the value of an option. Raises BadValue."""
    first, _, last = text.partition(":")
    if not all(part.isdecimal() and part.isascii() and len(part) < 10 for part in (first, last or first)):
        raise BadValue(f"{short(text)} is no span: it has a first and last position, such as 12:20")
    return int(first), int(last or first)


def add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, default=None, metavar="DIR", help="folder of the experiments")


def add_preset(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--preset", default=DEMO, help=", ".join(PRESETS))


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Model and SAEs; `config_of` reads them."""
    parser.add_argument("--model", metavar="M", help="hub id or folder")
    parser.add_argument("--model-revision", metavar="R", help="commit, tag or branch on the hub")
    parser.add_argument("--sae", metavar="S", help="hub id or folder")
    parser.add_argument("--sae-revision", metavar="R", help="commit, tag or branch on the hub")
    parser.add_argument("--dtype", choices=get_args(Dtype), help="of the model")


def add_problems(parser: argparse.ArgumentParser) -> None:
    """`config_of` reads them."""
    parser.add_argument("--problems", metavar="P", help="demo, gsm8k or a JSONL file")
    parser.add_argument("--limit", type=whole_number, metavar="N", help="number of problems")


def add_chat(parser: argparse.ArgumentParser) -> None:
    """How a question becomes a prompt and an answer is graded; `config_of` reads it."""
    parser.add_argument(
        "--instruction", metavar="TEXT", help="appended to each question in either mode, or none (default: to reason "
        "step by step and box the answer)"
    )  # fmt: skip
    parser.add_argument("--system", metavar="TEXT", help="what a system message says, or none")
    parser.add_argument("--chat-template", metavar="FILE", help="instead of the model's own (Jinja), or none")
    parser.add_argument(
        "--grade", choices=get_args(Grade),
        help="compare answers as numbers where the reference is one (default), as texts, or not at all",
    )  # fmt: skip


def add_config(parser: argparse.ArgumentParser) -> None:
    """What an experiment is made with; `config_of` reads it."""
    add_weights(parser)
    parser.add_argument("--hookpoints", nargs="+", metavar="H", help="modules such as layers.10.mlp")
    parser.add_argument(
        "--most-active", type=whole_number, metavar="N",
        help=f"features kept at a position, the strongest, of SAEs without a fixed k ({MOST_ACTIVE:,})",
    )  # fmt: skip
    parser.add_argument(
        "--site", choices=get_args(Site), help="what is captured: the module's output, or its layer's input"
    )
    add_problems(parser)
    parser.add_argument("--mode", choices=get_args(Mode), help="with or without thinking")
    parser.add_argument("--temperature", type=float, metavar="T", help="0: the most likely token")
    parser.add_argument("--top-p", type=float, metavar="P")
    parser.add_argument("--max-new-tokens", type=whole_number, metavar="N")
    parser.add_argument("--seed", type=whole_number, metavar="S", help="inference i is sampled with seed S + i")
    parser.add_argument(
        "--samples", type=whole_number, metavar="N", help="run each problem N times, every time with another seed"
    )
    add_chat(parser)


def cache_of(options: argparse.Namespace) -> Path:
    return options.cache or from_environment(Settings).cache


def config_of(options: argparse.Namespace) -> ExperimentConfig:
    """The preset with the options that were given. Raises BadValue."""
    return config_with(preset(options.preset), options)


def config_with(base: ExperimentConfig, options: argparse.Namespace) -> ExperimentConfig:
    """A configuration with the options that were given. Raises BadValue."""
    given = {name: value for name in _CONFIG_OPTIONS if (value := getattr(options, name, None)) is not None}
    given |= _chat_given(base, given)
    try:
        return ExperimentConfig.model_validate(base.model_dump() | given)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        raise BadValue(f"{flag} {short(first['input'])}: {first['msg'].removeprefix('Value error, ')}") from error


def _chat_given(base: ExperimentConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """What options of `add_chat` are in a configuration. What is as it would be without them is left out, so that
    experiments which older versions made are the same. Raises BadValue."""
    mode, model = given.get("mode", base.mode), given.get("model", base.model)
    found: dict[str, Any] = {}
    if "instruction" in given:
        text = given["instruction"]
        text = "" if text == NONE else text if text[:1].isspace() else f" {text}"
        found["instruction"] = None if text == (INSTRUCTION if mode == "think" else "") else text
    elif mode == "bypass" and model != DEMO and base.instruction is None and not given.get("traces"):
        found["instruction"] = INSTRUCTION
    if given.get("system") == NONE:
        found["system"] = None
    if given.get("chat_template") not in (None, NONE):
        found["chat_template"] = _template(Path(given["chat_template"]))
    return found


def _template(path: Path) -> str:
    try:
        return read_bounded(path, _LONGEST_TEMPLATE).decode()
    except (BadFile, OSError, UnicodeDecodeError) as error:
        raise BadValue(f"--chat-template {short(path)}: {in_words(error)}") from error

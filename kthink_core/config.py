"""The configuration of an experiment, and what is stored of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from kthink_core.errors import BadValue
from kthink_core.prompts import INSTRUCTION, Chat, Grade, Mode
from kthink_core.records import Intervention
from kthink_core.revisions import Revisions

Site = Literal["hookpoint", "residual"]
Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

JOURNAL_SCHEMA = 6
"""Version of what is kept: experiment.json, manifest.json, segment files and directions. Raised with every change that
an older kthink would misread; what older ones wrote is read as it is.
2: whose prompt it was and its own sampling. 3: interventions; a manifest with increments. 4: triggers and receipts of
interventions. 5: tags. 6: alternatives; of a branch its parent."""

DATABASE_SCHEMA = 7
"""Version of the tables of a database; raised with every change of them. Those of another version are built again.
2: features by inference and by token, decoder directions. 3: interventions; a trace that was cut off is not wrong.
4: fidelity. 5: triggers and receipts of interventions. 6: tags.
7: alternatives; of a branch its parent."""

MOST_ACTIVE = 2048
"""Features of an SAE without a fixed k that are kept at a position, unless asked otherwise."""

BATCH_SIZE = 32
"""Inferences generated at once, unless asked otherwise."""

MOST_INFERENCES = 1_000_000
"""Of one experiment."""

MOST_LATENTS = 2**26
MOST_WIDTH = 2**20
"""Of an SAE: far above what there is, far below what no memory holds."""

OF_EXPERIMENT = "experiment:"
"""What a source of traces, problems or texts begins with that is an experiment of the cache."""

DEMO = "demo"
"""As a model, SAE or problem source: the bundle that comes with the package."""


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds a NUL, which no path and no name has")
    return text


Text = Annotated[str, Field(max_length=4096), AfterValidator(_without_nul)]
"""Pydantic itself refuses what is no text, such as an argument of bytes that are not UTF-8."""


MOST_NAME = 100
"""Characters of an experiment's name."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MODULE = re.compile(r"\w+(\.\w+)*", re.ASCII)


def check_name(name: str, kind: str = "experiment") -> None:
    """Raises BadValue for a name, of an experiment unless told, that is no plain folder name: it never leads out of the
    cache."""
    if len(name) > MOST_NAME:
        raise BadValue(f"{kind} name of {len(name):,} characters: at most {MOST_NAME} characters")
    if not _NAME.fullmatch(name):
        raise BadValue(f"{kind} name '{name}': use letters, digits, '.', '-' and '_'; begin with letter or digit")


def _module(name: str) -> str:
    if not _MODULE.fullmatch(name):
        raise ValueError("no name of a module such as layers.10.mlp: use letters, digits and '_', and '.' between")
    return name


Hookpoint = Annotated[str, Field(max_length=200), AfterValidator(_module)]


def _is_none(value: object) -> bool:
    return value is None


def _is_no(value: object) -> bool:
    return value is False


def experiment_named(source: str | None) -> str | None:
    """The experiment that a source of traces, problems or texts is; None where it is something else."""
    return source.removeprefix(OF_EXPERIMENT) if source and source.startswith(OF_EXPERIMENT) else None


def source_told(source: str, sees: Callable[[str], bool]) -> str:
    """A source of problems or traces, for somebody who sees some experiments only."""
    name = experiment_named(source)
    return source if name is None or sees(name) else "another experiment"


class ExperimentConfig(BaseModel):
    """What makes an experiment: two runs with equal configurations may share a store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Text = Field(default=DEMO, min_length=1, description="hub id, local folder, or `demo`")
    model_revision: Text | None = None
    sae: Text = Field(default=DEMO, min_length=1, description="hub id, local folder, or `demo`")
    sae_revision: Text | None = None
    hookpoints: tuple[Hookpoint, ...] = Field(
        default=("layers.2.mlp", "layers.4.mlp", "layers.6.mlp"), min_length=1, max_length=64
    )
    site: Site = "hookpoint"
    problems: Text = Field(default=DEMO, min_length=1, description="`demo`, `gsm8k`, or a JSONL file")
    limit: int | None = Field(default=32, ge=1, description="number of problems; None: all")
    mode: Mode = "think"
    temperature: float = Field(default=0.6, ge=0, le=10, allow_inf_nan=False, description="0: greedy")
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_new_tokens: int = Field(default=400, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31, description="inference i is sampled with seed + i")
    samples: int = Field(
        default=1,
        ge=1,
        le=MOST_INFERENCES,
        description="how often each problem is run: of P problems, inference i is of problem i mod P",
        exclude_if=lambda samples: samples == 1,  # as what has no such setting was written, and is read by older ones
    )
    dtype: Dtype = "auto"
    steering: tuple[Intervention, ...] = Field(default=(), max_length=64, description="done while the model writes")
    # What follows is written only where it says something, for the same reason.
    most_active: int = Field(
        default=MOST_ACTIVE,
        ge=1,
        le=MOST_LATENTS,
        description="features kept at a position, the largest, of SAEs without a fixed k",
        exclude_if=lambda most: most == MOST_ACTIVE,
    )
    instruction: str | None = Field(
        default=None,
        max_length=20_000,
        description="appended to each question; None: the article's, in think mode and with a worker's typed prompts",
        exclude_if=_is_none,
    )
    system: str | None = Field(default=None, max_length=20_000, description="a system message", exclude_if=_is_none)
    chat_template: str | None = Field(
        default=None, max_length=100_000, description="instead of the model's own; `none`: none", exclude_if=_is_none
    )
    grade: Grade = Field(
        default="number", description="how answers are compared", exclude_if=lambda grade: grade == "number"
    )
    traces: Text | None = Field(
        default=None,
        min_length=1,
        description="a JSONL file, a data set of the hub or `experiment:E`: nothing is generated",
        exclude_if=_is_none,
    )
    split: Text = Field(
        default="train", description="of a data set of traces", exclude_if=lambda split: split == "train"
    )
    skip_bad: bool = Field(default=False, description="leave traces out that cannot be used", exclude_if=_is_no)
    by_id: bool = Field(
        default=False, description="take an experiment's ids though they read otherwise", exclude_if=_is_no
    )

    @property
    def chat(self) -> Chat:
        """How a text becomes a prompt. Where no instruction is named, think mode has the article's; bypass mode has
        none where the experiment is of that mode, as older ones are, or the model is the bundled one, which learned it
        so; else the same."""
        if self.instruction is not None:
            think = bypass = self.instruction
        else:
            think = INSTRUCTION
            bypass = "" if self.mode == "bypass" or self.model == DEMO else INSTRUCTION
        return Chat(think, bypass, self.system, self.chat_template)

    def told_to(self, sees: Callable[[str], bool]) -> ExperimentConfig:
        """As somebody reads it who sees some experiments only: which other one it has its traces of is left out."""
        told = {"problems": source_told(self.problems, sees), "traces": source_told(self.traces or "", sees) or None}
        return self.model_copy(update=told)


GENERATING = {"problems", "temperature", "top_p", "max_new_tokens", "seed"}
"""Settings that say nothing of traces which were written elsewhere."""

IMPORTED, LAYOUT = "imported", "layout"
"""What the provenance of an imported experiment has: of what file it was made and when, and how that was laid out."""
GOODFIRE = "goodfire"
"""A layout other than that of `export`."""


class SaeShape(BaseModel):
    """The outline of one SAE."""

    model_config = ConfigDict(frozen=True)

    num_latents: int = Field(ge=1, le=MOST_LATENTS)
    k: int | None = Field(default=None, ge=1)
    """Features kept at every position; None where their number is not fixed."""
    d_in: int = Field(ge=1, le=MOST_WIDTH)
    activation: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")
    """`topk`, `groupmax`, … as its format calls it."""
    most: int | None = Field(default=None, ge=1, exclude_if=_is_none)
    """Where their number is not fixed: no more than so many are kept at a position, the largest; None: all."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.k is not None and self.k > self.num_latents:
            raise ValueError(f"k is {self.k}, more than the {self.num_latents} latents there are")
        return self


class Experiment(BaseModel):
    """Configuration and provenance of one experiment: the content of its `experiment.json`."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = JOURNAL_SCHEMA
    name: str = Field(max_length=200)
    config: ExperimentConfig
    inferences: int = Field(ge=0, le=MOST_INFERENCES)
    """How many inferences the finished experiment has; 0 where it is open-ended."""
    open_ended: bool = False
    """Whether inferences are added for ever, as to `live`."""
    saes: dict[Hookpoint, SaeShape] = Field(min_length=1, max_length=64)
    """By hookpoint, in the order of the configuration."""
    revisions: Revisions = Revisions()
    provenance: dict[str, str]
    """created, kthink, python and library versions, digest of the problems, device, dtype, …"""

    @model_validator(mode="before")
    @classmethod
    def _revisions_of_older(cls, fields: Any) -> Any:
        facts = fields.get("provenance") if isinstance(fields, dict) and "revisions" not in fields else None
        if not isinstance(facts, dict) or not all(isinstance(fact, str) for fact in facts.values()):
            return fields
        revisions = Revisions.of_facts(facts)
        rest = {name: fact for name, fact in facts.items() if name not in revisions.facts()}
        return fields | {"revisions": revisions, "provenance": rest}

    @property
    def is_imported(self) -> bool:
        """Whether it was made of a received file: what it lacks is not to be had."""
        return IMPORTED in self.provenance

    @property
    def is_bare(self) -> bool:
        """Whether it was made of files of Goodfire's layout: tokens and activations, and hardly anything is known of
        what made them."""
        return self.is_imported and self.provenance.get(LAYOUT) == GOODFIRE

    @property
    def bounds(self) -> dict[str, int]:
        """How many features a position has at most, where an SAE does not fix their number: the configuration leaves
        the usual bound out."""
        bounded = any(sae.most is not None for sae in self.saes.values())
        return {"most_active": self.config.most_active} if bounded else {}

    @property
    def facts(self) -> dict[str, str]:
        """Revisions and provenance, as databases have them in one column."""
        return self.provenance | self.revisions.facts()

    @property
    def mark(self) -> str:
        """What its files bear, so that one of another experiment is not taken for its own: 16 hexadecimal digits."""
        shapes = {hookpoint: sae.model_dump() for hookpoint, sae in self.saes.items()}
        facts = json.dumps([self.name, shapes, self.facts], sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

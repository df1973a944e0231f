"""Trainings of SAEs on disk: what each was made with, how it went, and how good it came out.

A training is a folder, `saes/NAME` in a cache unless it was put elsewhere:

    training.json            settings and provenance; once it is complete, figures on texts that it never saw
    progress.jsonl           a line for each hookpoint and stretch of steps
    checkpoint.safetensors   what going on takes; gone once it is complete
    <hookpoint>/             cfg.json and sae.safetensors, as every command takes them, from the first checkpoint on

Somebody else may have written them: they are bounded and checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kthink_core.config import MOST_LATENTS, Dtype, Hookpoint, Site, Text
from kthink_core.documents import parse_object, read_bounded, read_document, told
from kthink_core.errors import BadFile, in_words
from kthink_core.store.files import disk_full, write_atomically

VERSION = 1
FOLDER = "saes"
"""Of a cache: where trainings lie, unless they were put elsewhere."""
TRAINING = "training.json"
PROGRESS = "progress.jsonl"
CHECKPOINT = "checkpoint.safetensors"
MOST_LISTED = 1_000
"""Trainings of a cache that are listed."""
MOST_PROGRESS = 50_000_000
"""Bytes of progress.jsonl that are read."""

Count = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fact = Annotated[str, Field(max_length=8192)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingConfig(_Document):
    """What is asked of a training: two with equal settings are one."""

    model: Text = Field(default="demo", min_length=1)
    model_revision: Text | None = None
    dtype: Dtype = "auto"
    hookpoints: tuple[Hookpoint, ...] = Field(min_length=1, max_length=64)
    site: Site = "hookpoint"
    data: tuple[Text, ...] = Field(min_length=1, max_length=64)
    """`experiment:E`, a JSONL file, or a data set of the hub."""
    split: Text = Field(default="train", min_length=1)
    column: Text = Field(default="text", min_length=1)
    """Of data sets of the hub: what is read of them."""
    tokens: int = Field(default=10_000_000, ge=2, le=2**40)
    """Most tokens that are taken of the data."""
    window: int = Field(default=512, ge=2, le=2**20)
    """Longest stretch of a text that goes through the model at once."""
    latents: int = Field(default=2048, ge=1, le=MOST_LATENTS)
    k: int = Field(default=16, ge=1, le=MOST_LATENTS)
    batch_size: int = Field(default=16, ge=1, le=2**20)
    steps: int | None = Field(default=None, ge=1, le=10**9)
    """None: the data once."""
    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """None: sparsify's own for so many latents."""
    warmup: int | None = Field(default=None, ge=0, le=10**9)
    """Steps; None: a tenth of them, a thousand at most."""
    auxk_alpha: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.k > self.latents:
            raise ValueError(f"k is {self.k}, more than the {self.latents} latents there are")
        if len(set(self.hookpoints)) < len(self.hookpoints):
            raise ValueError("a hookpoint is named twice")
        return self


class Source(_Document):
    """One source of texts, and what was taken of it."""

    source: Fact
    texts: Count
    tokens: Count


class Data(_Document):
    """What there is to train on, and what is held out."""

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    """Of all token ids, in order, and of what is held out."""
    sources: tuple[Source, ...] = Field(max_length=64)
    windows: Count
    tokens: Count
    held_out_windows: Count
    held_out_tokens: Count


class HeldOut(_Document):
    """How good an SAE is on texts that it was not trained on."""

    hookpoint: Hookpoint
    positions: Count
    fvu: Finite | None
    """Σ ‖x − x̂‖² / Σ ‖x − x̄‖²; None where the vectors do not vary."""
    l0: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    dead_share: Share
    """Share of its features that fire at none of these positions."""
    loss_recovered: Finite | None
    """As the passport has it; None where 0 in the place of what is captured costs the model nothing."""
    predictions: Count
    """That it was measured on."""


class Training(_Document):
    """The content of `training.json`."""

    version: Literal[1] = VERSION
    config: TrainingConfig
    model_revision: Fact
    data: Data
    steps: Count
    positions: Count
    """That all steps together train on."""
    provenance: dict[str, Fact] = Field(max_length=64)
    complete: bool = False
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Of training; None until it is complete."""
    figures: tuple[HeldOut, ...] = Field(default=(), max_length=64)


class Progressed(_Document):
    """A line of `progress.jsonl`: one hookpoint over the steps since the line before."""

    step: Count
    """The last of them, counted from 1."""
    positions: Count
    """Trained on so far."""
    hookpoint: Hookpoint
    loss: Finite
    """What is made smaller, mean over these steps."""
    fvu: Finite
    """Of each batch by itself, mean over these steps."""
    dead_share: Share
    """Share of its features that have not fired for `DEAD_AFTER` positions, or at all while there were fewer."""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


COLUMNS = tuple(Progressed.model_fields)
DEAD_AFTER = 100_000


class TrainingStatus(NamedTuple):
    """One line in the list of trainings."""

    name: str
    training: Training | None
    """None where `problem` says why."""
    problem: str | None


def folder_of(cache: Path, name: str) -> Path:
    return cache / FOLDER / name


def read_training(folder: Path) -> Training | None:
    """None where there is none. Raises BadFile, OSError."""
    try:
        return read_document(folder / TRAINING, Training)
    except FileNotFoundError:
        return None


def write_training(folder: Path, training: Training) -> None:
    """Raises DiskFull."""
    content = json.dumps(training.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, indent=1)
    write_atomically(folder / TRAINING, content.encode())


def append_progress(folder: Path, lines: Iterable[Progressed]) -> None:
    """Raises DiskFull."""
    path = folder / PROGRESS
    with disk_full(path), path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line.model_dump_json()}\n" for line in lines))


def cut_progress(folder: Path, step: int) -> None:
    """Leaves the lines up to a step: what a killed run wrote after its checkpoint is written again. Raises BadFile,
    DiskFull."""
    kept = [line for line in _lines(folder / PROGRESS) if line.step <= step]
    write_atomically(folder / PROGRESS, "".join(f"{line.model_dump_json()}\n" for line in kept).encode())


def read_progress(folder: Path) -> pd.DataFrame:
    """A row a line, in order: COLUMNS. Empty where there is none yet. Raises BadFile, OSError."""
    return pd.DataFrame([line.model_dump() for line in _lines(folder / PROGRESS)], columns=list(COLUMNS))


def _lines(path: Path) -> list[Progressed]:
    try:
        content = read_bounded(path, MOST_PROGRESS)
    except FileNotFoundError:
        return []
    *whole, _begun = content.split(b"\n")  # a killed run may leave the beginning of a line
    try:
        return [Progressed.model_validate(parse_object(path, line)) for line in whole]
    except ValidationError as error:
        raise BadFile(path, told(error)) from error


def list_trainings(cache: Path) -> list[TrainingStatus]:
    """The trainings of a cache by name; those that cannot be read are listed with the reason. Raises OSError."""
    folder = cache / FOLDER
    if not folder.is_dir():
        return []
    named = sorted(path.parent for path in folder.glob(f"*/{TRAINING}"))[:MOST_LISTED]
    return [_status(path) for path in named]


def _status(folder: Path) -> TrainingStatus:
    try:
        return TrainingStatus(folder.name, read_training(folder), None)
    except (BadFile, OSError) as error:
        return TrainingStatus(folder.name, None, in_words(error))

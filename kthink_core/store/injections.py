"""Stored results of token injection: one JSON document a feature, beside the experiment's database.

`injections/<hookpoint>/<feature>.json`; `controls.json` holds the verdicts of the features that others are compared to.
Somebody else may have written them: they are bounded and checked. Those of another model or SAE than the experiment's
do not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kthink_core.config import MOST_LATENTS, Experiment
from kthink_core.documents import read_document
from kthink_core.errors import BadFile, in_words
from kthink_core.identity import Maker, maker
from kthink_core.store.files import Layout, write_atomically

VERSION = 1
FOLDER = "injections"
MOST_STORED = 10_000
"""Documents of a hookpoint that are listed."""
_DOCUMENT = re.compile(r"(?:0|[1-9][0-9]{0,8})\.json")
_CONTROLS = "controls.json"

Verdict = Literal[
    "token-driven", "partly token-driven", "weakly token-driven", "context-dependent", "silent", "untested"
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Feature = Annotated[int, Field(ge=0, lt=MOST_LATENTS)]
Word = Annotated[str, Field(max_length=200)]
Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(_Document):
    """What a result was made with."""

    model: str = Field(max_length=8192)
    sae: str = Field(max_length=8192)
    site: Literal["hookpoint", "residual"]
    hookpoint: str = Field(max_length=200)
    kthink: str = Field(max_length=40)
    created: str = Field(max_length=40)
    seed: int = Field(ge=0, lt=2**31)
    texts: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    """Digest of the token ids of the texts."""
    texts_from: str = Field(max_length=4096)

    @property
    def maker(self) -> Maker:
        return Maker(self.model, self.sae, self.site)

    def same_test(self, other: Origin) -> bool:
        """Whether both are results of one test: model, SAE, texts, seed."""
        return self.maker == other.maker and (self.texts, self.seed) == (other.texts, other.seed)


class Tried(_Document):
    """One strategy."""

    strategy: Word
    texts: Count
    d: Finite
    p: Share
    mean_injected: Finite
    mean_baseline: Finite
    fires_in_injected: Share | None = None
    """Share of these texts, with its tokens in them, in which the feature fires; None in older documents."""


class Shown(_Document):
    """A text as it was tested, with the feature's activation at each token."""

    strategy: Word
    texts: tuple[Word, ...] = Field(max_length=1000)
    token_ids: tuple[Count, ...]
    injected: tuple[bool, ...]
    activations: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if len({len(self.texts), len(self.token_ids), len(self.injected), len(self.activations)}) != 1:
            raise ValueError("its lists are not of one length")
        return self


class Control(_Document):
    """The verdict of one feature drawn at random."""

    feature: Feature
    verdict: Verdict


class Controls(_Document):
    """Verdicts of features drawn at random among those that fire."""

    version: Literal[1] = VERSION
    origin: Origin
    controls: tuple[Control, ...] = Field(max_length=1000)


class Injection(_Document):
    """The result of one feature."""

    version: Literal[1] = VERSION
    origin: Origin
    feature: Feature
    verdict: Verdict
    strategy: Word | None
    """Of those tried, the one that counts; None where nothing was tried."""
    d: Finite | None
    p: Share | None
    p_best: Share | None
    n: Count
    """Texts on which it was measured."""
    fires_in: Share
    """Share of the texts, as they were, in which the feature fires."""
    reasoning_positions: Count
    """Positions of what the model wrote at which it fires."""
    reasoning_max: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Its largest activation there."""
    tokens: tuple[Word, ...] = Field(max_length=100)
    """Its top tokens, as text."""
    tried: tuple[Tried, ...] = Field(max_length=100)
    other: Feature | None = None
    other_d: Finite | None = None
    other_p: Share | None = None
    controls: tuple[Control, ...] = Field(max_length=1000)
    shown: tuple[Shown, ...] = Field(max_length=20)

    @property
    def fires_in_injected(self) -> float | None:
        """Share of the texts in which it fires once its tokens are in, by the way that counts; None where nothing was
        measured, and in older documents."""
        return next((way.fires_in_injected for way in self.tried if way.strategy == self.strategy), None)

    @property
    def compared(self) -> list[Control]:
        """The controls that were measured, without the feature itself; none where that was not."""
        others = [
            control
            for control in self.controls
            if control.feature != self.feature and control.verdict not in ("silent", "untested")
        ]
        return others if self.strategy is not None else []

    @property
    def same_verdict(self) -> float | None:
        """Share of the compared controls that have the same verdict; None without any."""
        others = self.compared
        return sum(control.verdict == self.verdict for control in others) / len(others) if others else None


class Stored(NamedTuple):
    """What lies there of a hookpoint."""

    found: list[Injection]
    """By feature, ascending."""
    problems: list[str]
    """A line for each document that does not count, with the reason."""


def folder_of(layout: Layout, hookpoint: str) -> Path:
    return layout.folder / FOLDER / hookpoint


def save(layout: Layout, document: Injection | Controls) -> Path:
    """Store a result, in place of an earlier one. Raises BadFile, DiskFull, OSError."""
    folder = folder_of(layout, document.origin.hookpoint)
    _check_no_link(layout.folder / FOLDER, folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (_CONTROLS if isinstance(document, Controls) else f"{document.feature}.json")
    content = json.dumps(document.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
    write_atomically(path, content.encode())
    return path


def read_controls(layout: Layout, origin: Origin) -> Controls | None:
    """The controls of the same test; None where there are none, or none that can be read: they are made again."""
    path = folder_of(layout, origin.hookpoint) / _CONTROLS
    try:
        found = read_document(path, Controls)
    except (BadFile, OSError):
        return None
    return found if found.origin.same_test(origin) and found.origin.hookpoint == origin.hookpoint else None


def read_injection(layout: Layout, experiment: Experiment, hookpoint: str, feature: int) -> Injection | None:
    """The result of one feature; None where there is none. Raises BadFile for a document that is none, or is about
    another feature, model or SAE; OSError."""
    path = folder_of(layout, hookpoint) / f"{feature}.json"
    _check_no_link(layout.folder / FOLDER, path.parent, path)
    try:
        found = read_document(path, Injection)
    except FileNotFoundError:
        return None
    if (found.origin.hookpoint, found.feature) != (hookpoint, feature):
        raise BadFile(path, f"it is about feature {found.feature} of {found.origin.hookpoint}")
    if found.origin.maker != maker(experiment, hookpoint):
        raise BadFile(path, "it was made with another model, SAE or capture site than the experiment")
    return found


def read_injections(layout: Layout, experiment: Experiment, hookpoint: str) -> Stored:
    """All results of a hookpoint, `MOST_STORED` at most. Those that do not count are told."""
    found, problems = [], []
    for feature in _features(folder_of(layout, hookpoint)):
        try:
            injection = read_injection(layout, experiment, hookpoint, feature)
        except (BadFile, OSError) as error:
            problems.append(in_words(error))
            continue
        if injection is not None:
            found.append(injection)
    return Stored(found, problems)


def injections_state(layout: Layout, hookpoint: str) -> int:
    """A number that changes when a result is stored: cheap to poll."""
    try:
        return folder_of(layout, hookpoint).stat().st_mtime_ns
    except OSError:
        return 0


def _check_no_link(*paths: Path) -> None:
    """Nothing is written or read outside the experiment's folder. Raises BadFile."""
    for path in paths:
        if path.is_symlink():
            raise BadFile(path, "it is a link: put what it leads to in its place")


def _features(folder: Path) -> Iterator[int]:
    if not folder.is_dir():
        return iter(())
    named = (path.name for path in folder.iterdir() if _DOCUMENT.fullmatch(path.name))
    return iter(sorted(int(name.removesuffix(".json")) for name in named)[:MOST_STORED])

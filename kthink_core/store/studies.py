"""Results of what was asked of an experiment and took long: one JSON document each, beside its database.

`studies/<kind>/<id>.json`. The id is a digest of what was asked and of what it was asked of, so that the same question
finds the same document: one that is not complete is gone on with. Somebody else may have written them: they are bounded
and checked, and those of another model, SAE or capture site than the experiment's do not count.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field

import kthink_core
from kthink_core.config import Experiment, Site
from kthink_core.documents import parse_object, read_bounded, read_document
from kthink_core.errors import BadFile, in_words
from kthink_core.identity import maker
from kthink_core.store.files import Layout, remove, write_atomically

FOLDER = "studies"
MOST_BYTES = 64 * 2**20
"""Of one document."""
MOST_LISTED = 1000
"""Documents of a kind that are read for a list: those that were stored last."""

Kind = Literal["sweep", "ablation", "attribution", "sentences"]
_LOCK_PATIENCE = 60.0
_ID = re.compile(r"[0-9a-f]{12}")


class Document(BaseModel):
    """A part of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Made(Document):
    """What a study was made with: what makes the same latents, and where and when it was."""

    model: Annotated[str, Field(max_length=8192)]
    saes: dict[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=8192)]] = Field(max_length=64)
    """By hookpoint that it is about."""
    site: Site
    kthink: str = Field(max_length=40)
    created: str = Field(max_length=40)
    device: str = Field(max_length=40)
    dtype: str = Field(max_length=40)


class Study(Document):
    """What all studies have."""

    version: Literal[1] = 1
    made: Made
    complete: bool = True
    """Whether all is in it that was asked for."""

    @property
    def id(self) -> str:
        """Of its question: what its file is called (`study_id`)."""
        raise NotImplementedError


AnyStudy = TypeVar("AnyStudy", bound=Study)


class Stored(NamedTuple):
    """Studies of one kind."""

    found: dict[str, Any]
    """By id, the newest first; values are of the model that was asked for."""
    problems: list[str]
    """A line for each document that does not count, with the reason."""


def made_with(experiment: Experiment, hookpoints: Collection[str], device: str, dtype: str) -> Made:
    """Of an experiment's model and SAEs, now. Hookpoints are the experiment's own."""
    makers = {hookpoint: maker(experiment, hookpoint) for hookpoint in hookpoints}
    saes = {hookpoint: found.sae for hookpoint, found in makers.items() if found is not None}
    model = next(found.model for found in (*makers.values(), maker(experiment, next(iter(experiment.saes)))) if found)
    return Made(
        model=model,
        saes=saes,
        site=experiment.config.site,
        kthink=kthink_core.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        device=device,
        dtype=dtype,
    )


def study_id(asked: Mapping[str, Any], made: Made) -> str:
    """Twelve hexadecimal digits that stand for a question. `asked`: all that changes its answer, as JSON has it."""
    content = [asked, made.model, made.saes, made.site]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def trace_digest(token_ids: Iterable[int]) -> str:
    """Of the tokens of a trace that a study is about: the experiment may be made anew under its name."""
    return "sha256:" + hashlib.sha256(",".join(map(str, token_ids)).encode()).hexdigest()


def save_study(layout: Layout, kind: Kind, id: str, study: Study) -> Path:
    """Store a study, in place of an earlier state of it. Raises BadFile, DiskFull, OSError."""
    path = _path(layout, kind, id)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(study.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
    # Worker and command line may be at the same study: each saves a whole one, and the later one stays.
    with FileLock(path.with_name(".lock"), timeout=_LOCK_PATIENCE):
        write_atomically(path, content.encode())
    return path


def read_study(layout: Layout, experiment: Experiment, kind: Kind, id: str, model: type[AnyStudy]) -> AnyStudy | None:
    """One study; None where there is none. Raises BadFile for a document that is none, or was made with another model,
    SAE or capture site than the experiment, or answers another question than its name says; OSError."""
    path = _path(layout, kind, id)
    try:
        found = read_document(path, model, MOST_BYTES)
    except FileNotFoundError:
        return None
    if not is_of(found, experiment):
        raise BadFile(path, "it was made with another model, SAE or capture site than the experiment")
    if found.id != id:
        raise BadFile(path, "it answers another question than the one that its name stands for")
    return found


def is_of(study: Study, experiment: Experiment) -> bool:
    """Whether it was made with the experiment's model, SAEs and capture site."""
    now = made_with(experiment, study.made.saes, "", "")
    return (study.made.model, study.made.saes, study.made.site) == (now.model, now.saes, now.site)


def list_studies(layout: Layout, experiment: Experiment, kind: Kind, model: type[AnyStudy]) -> Stored:
    """All studies of a kind, `MOST_LISTED` at most. Those that do not count are told."""
    found: dict[str, AnyStudy] = {}
    problems = []
    for id in _ids(layout.folder / FOLDER / kind):
        try:
            study = read_study(layout, experiment, kind, id, model)
        except (BadFile, OSError) as error:
            problems.append(in_words(error))
            continue
        if study is not None:
            found[id] = study
    newest = sorted(found, key=lambda id: (found[id].made.created, id), reverse=True)
    return Stored({id: found[id] for id in newest}, problems)


def forget_studies(layout: Layout, inference: int) -> None:
    """Removes what was found about one inference. Raises OSError."""
    for path in sorted((layout.folder / FOLDER).glob("*/*.json")):
        try:
            fields = parse_object(path, read_bounded(path, MOST_BYTES))
        except BadFile:
            continue
        trace = fields.get("trace")
        if inference in (fields.get("inference"), trace.get("inference") if isinstance(trace, dict) else None):
            remove(path)


def studies_state(layout: Layout, kind: Kind) -> int:
    """A number that changes when a study is stored: cheap to poll."""
    try:
        return (layout.folder / FOLDER / kind).stat().st_mtime_ns
    except OSError:
        return 0


def _path(layout: Layout, kind: Kind, id: str) -> Path:
    """Raises BadFile for what leads out of the experiment's folder."""
    folder = layout.folder / FOLDER / kind
    path = folder / f"{id}.json"
    if not _ID.fullmatch(id):
        raise BadFile(path, "no study is called so: twelve hexadecimal digits")
    for part in (folder.parent, folder, path):
        if part.is_symlink():
            raise BadFile(part, "it is a link: put what it leads to in its place")
    return path


def _ids(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix == ".json" and _ID.fullmatch(path.stem)]
    return [path.stem for path in sorted(found, key=lambda path: (-path.lstat().st_mtime_ns, path.stem))[:MOST_LISTED]]

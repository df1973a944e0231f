"""What can be written about, named by what stays when an experiment is computed again.

A feature belongs to its SAE, so that experiments with the same SAE share its label; an inference or a span belongs to
the experiment of that name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from kthink_core.config import Experiment
from kthink_core.identity import sae_revision, source


@dataclass(frozen=True)
class FeatureSubject:
    """A feature, in whatever experiment it is looked at."""

    sae: str
    """Hub id or folder, as the configuration has it."""
    sae_revision: str
    """Hub commit, or `sha256:…` of the files."""
    hookpoint: str
    feature: int


@dataclass(frozen=True)
class InferenceSubject:
    experiment: str
    inference: int


@dataclass(frozen=True)
class SpanSubject:
    """Neighbouring tokens of an inference."""

    experiment: str
    inference: int
    first: int
    """Position of the first token."""
    last: int
    """Position of the last token, which belongs to the span."""


Subject = FeatureSubject | InferenceSubject | SpanSubject

_KINDS: dict[str, type[Subject]] = {"feature": FeatureSubject, "inference": InferenceSubject, "span": SpanSubject}

PLACES = ("sae", "sae_revision", "hookpoint", "feature", "inference", "first", "last")
"""Columns that name a subject, apart from its kind and its experiment."""


def kind(subject: Subject) -> str:
    return next(name for name, subjects in _KINDS.items() if isinstance(subject, subjects))


def columns(subject: Subject) -> dict[str, str | int]:
    """The columns that name a subject, with their values."""
    return {"kind": kind(subject)} | asdict(subject)


def identity(subject: Subject) -> dict[str, str | int]:
    """The columns by which what was written about a subject is found again."""
    named = columns(subject)
    if isinstance(subject, FeatureSubject) and source(subject.sae, subject.sae_revision) == subject.sae_revision:
        del named["sae"]  # the files may lie in another folder now
    return named


def subject(row: dict[str, str | int]) -> Subject:
    """The subject that a row with its columns is about."""
    subjects = _KINDS[str(row["kind"])]
    values: dict = {field.name: row[field.name] for field in fields(subjects)}
    return subjects(**values)


def of_feature(experiment: Experiment, hookpoint: str, feature: int) -> FeatureSubject:
    """A feature of an experiment's, as the subject of what is written about it."""
    return FeatureSubject(experiment.config.sae, sae_revision(experiment, hookpoint), hookpoint, feature)

"""What was made by the same: the one place in which model, SAEs, revisions and capture sites are compared."""

from __future__ import annotations

from typing import NamedTuple

from kthink_core.config import Experiment, ExperimentConfig, Site, experiment_named
from kthink_core.errors import ExperimentMismatch, ImportedExperiment, NotComparable


class Maker(NamedTuple):
    """What made the latents of one hookpoint: of equal makers the same text has the same latents."""

    model: str
    sae: str
    """Of equal ones a feature's number means the same feature, whatever model and site it looks at."""
    site: Site


def source(name: str, revision: str | None) -> str:
    """Weights by one text. A digest tells files by their content, wherever they lie; a commit needs its repository."""
    return revision if revision and revision.startswith("sha256:") else f"{name}@{revision or ''}"


def maker(experiment: Experiment, hookpoint: str) -> Maker | None:
    """None where the experiment does not have the hookpoint."""
    if hookpoint not in experiment.saes:
        return None
    config = experiment.config
    model = source(config.model, experiment.revisions.model or config.model_revision)
    return Maker(model, source(config.sae, sae_revision(experiment, hookpoint)), config.site)


def sae_revision(experiment: Experiment, hookpoint: str) -> str:
    """What identifies the SAE of one hookpoint, whichever others the experiment has; empty where nothing does."""
    return experiment.revisions.sae_of(hookpoint) or experiment.config.sae_revision or ""


def same_features(one: Experiment, other: Experiment, hookpoint: str) -> bool:
    """Whether a feature's number means the same in both: they have the same SAE at the hookpoint."""
    makers = maker(one, hookpoint), maker(other, hookpoint)
    return makers[0] is not None and makers[1] is not None and makers[0].sae == makers[1].sae


def check_comparable(one: Experiment, other: Experiment, hookpoint: str) -> None:
    """Raises NotComparable unless model, SAE and capture site are the same at the hookpoint."""
    here, there = maker(one, hookpoint), maker(other, hookpoint)
    if here is None or there is None:
        hookpoints = " ".join(one.saes), " ".join(other.saes)
        raise NotComparable(one.name, other.name, {"hookpoints": hookpoints})
    if here != there:
        pairs = zip(Maker._fields, here, there, strict=True)
        raise NotComparable(one.name, other.name, {name: (a, b) for name, a, b in pairs if a != b})


def settings_apart(one: Experiment, other: Experiment) -> dict[str, tuple[object, object]]:
    """The settings that differ between two experiments and may show in what the model wrote: not how many inferences
    there are, nor of what seeds, nor what names its files have. A third one is not named: not everybody sees it."""
    left_out = {"model", "model_revision", "sae", "sae_revision", "hookpoints", "limit", "seed", "samples"}
    differing = _differing(one.config, other.config)
    told = [each.config.told_to({one.name, other.name}.__contains__) for each in (one, other)]
    pairs = {name: (getattr(told[0], name), getattr(told[1], name)) for name in differing if name not in left_out}
    return {name: pair if pair[0] != pair[1] else (pair[0], "a third one") for name, pair in pairs.items()}


def sites_apart(one: Experiment, other: Experiment, hookpoint: str) -> bool:
    """Whether both ask the same SAE about what the same model wrote, captured at different sites: problems, seed and
    sampling are the same too, or the one read the other's tokens. One may have fewer problems, or other hookpoints
    besides."""
    makers = maker(one, hookpoint), maker(other, hookpoint)
    if makers[0] is None or makers[1] is None or one.open_ended or other.open_ended:
        return False
    if one.name == source_of(other) or other.name == source_of(one):
        return makers[0][:2] == makers[1][:2] and makers[0].site != makers[1].site
    weights = {"model", "model_revision", "sae", "sae_revision"}
    differing = _differing(one.config, other.config).keys() - weights - {"hookpoints", "limit"}
    return makers[0][:2] == makers[1][:2] and differing == {"site"}


def same_makers(one: Experiment, other: Experiment) -> bool:
    """Whether inferences of both could stand in one experiment: same configuration, SAEs and weights."""
    return not _differing(one.config, other.config) and not _differing_weights(one, other)


def source_of(experiment: Experiment) -> str | None:
    """The experiment whose tokens it passed through another model; None where it has tokens of its own."""
    return experiment_named(experiment.config.traces)


def check_same(stored: Experiment, asked: Experiment) -> None:
    """Raises ExperimentMismatch unless `asked` would make just what `stored` is: configuration, SAEs, weights,
    problems, and how many inferences of them. What is typed is none of the problems of an open-ended one. Raises
    ImportedExperiment where `stored` was imported and `asked` is to be made here."""
    if stored.is_imported and not asked.is_imported:
        raise ImportedExperiment(stored.name)
    differing = _differing(stored.config, asked.config) | _differing_weights(stored, asked)
    facts: dict[str, tuple[object, object]] = {"inferences": (stored.inferences, asked.inferences)}
    if not stored.open_ended:
        facts["problems"] = stored.provenance.get("problems"), asked.provenance.get("problems")
    differing |= {name: pair for name, pair in facts.items() if pair[0] != pair[1]}
    if differing:
        raise ExperimentMismatch(stored.name, differing)


def check_same_config(name: str, stored: ExperimentConfig, asked: ExperimentConfig) -> None:
    """Raises ExperimentMismatch unless both are the same, weights and problems aside, which may not be at hand."""
    if differing := _differing(stored, asked):
        raise ExperimentMismatch(name, differing)


def _differing(stored: ExperimentConfig, asked: ExperimentConfig) -> dict[str, tuple[object, object]]:
    pairs = {name: (getattr(stored, name), getattr(asked, name)) for name in ExperimentConfig.model_fields}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _differing_weights(stored: Experiment, asked: Experiment) -> dict[str, tuple[object, object]]:
    pairs: dict[str, tuple[object, object]] = {"saes": (stored.saes, asked.saes)}
    was, now = stored.revisions, asked.revisions
    pairs["model_revision"] = was.model, now.model
    pairs["sae_revision"] = was.sae, now.sae
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

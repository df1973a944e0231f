"""The model and SAEs that an experiment was made with, loaded again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from kthink_core.config import Device, Experiment
from kthink_core.errors import ExperimentMismatch
from kthink_core.identity import Maker, maker, source

if TYPE_CHECKING:
    from kthink_core.model.language_model import LanguageModel
    from kthink_core.model.sae import LoadedSaes


class Loaded(NamedTuple):
    lm: LanguageModel
    saes: LoadedSaes


def load(experiment: Experiment, hookpoints: Sequence[str], device: Device) -> Loaded:
    """Of some hookpoints of the experiment. Raises what loading raises, ExperimentMismatch where other files lie in
    their place now."""
    from kthink_core.model.language_model import load_model, pick_device
    from kthink_core.model.sae_folders import load_saes

    config, where = experiment.config, pick_device(device)
    saes = load_saes(config.sae, config.sae_revision, hookpoints, where, config.most_active)
    lm = load_model(config.model, config.model_revision, where, config.dtype, config.chat)
    for hookpoint in hookpoints:
        made = Maker(source(config.model, lm.revision), source(config.sae, saes.revisions[hookpoint]), config.site)
        _check_maker(experiment, hookpoint, made)
    return Loaded(lm, saes)


def _check_maker(experiment: Experiment, hookpoint: str, made: Maker) -> None:
    stored = maker(experiment, hookpoint)
    assert stored is not None  # the caller has checked the hookpoint
    differing: dict[str, tuple[object, object]] = {
        name: (was, now) for name, was, now in zip(Maker._fields, stored, made, strict=True) if was != now
    }
    if differing:
        raise ExperimentMismatch(experiment.name, differing)

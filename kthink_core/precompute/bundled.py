"""An experiment of the bundle's SAEs, where kthink brings others now: it makes way for what these make.

Of the presets of the bundle alone, which cost seconds: whatever else has other weights than are asked for is refused.
"""

from __future__ import annotations

from pathlib import Path

from kthink_core import demo
from kthink_core.config import DEMO, Experiment, ExperimentConfig
from kthink_core.model.sources import locate
from kthink_core.presets import PRESETS
from kthink_core.store.files import Layout, backup_folder, disk_full
from kthink_core.store.lock import writer_lock
from kthink_core.store.manifest import read_experiment
from kthink_core.store.repair import Tell, known_experiment

_FILES = ("cfg.json", "sae.safetensors")


def is_outlived(cache: Path, name: str, config: ExperimentConfig) -> bool:
    """Whether a stored preset is of SAEs of the bundle that do not come along any more. Needs no torch. Raises
    CorruptFile, SchemaTooNew, OSError."""
    stored = read_experiment(cache, name) if _is_bundled(name, config) else None
    if stored is None or not demo.SAES.is_dir():  # an app without a model has none to make it anew with
        return False
    patterns = [f"{hookpoint}/{file}" for hookpoint in config.hookpoints for file in _FILES]
    return stored.revisions.sae != locate(config.sae, demo.SAES, None, patterns).revision


def make_way(cache: Path, asked: Experiment, tell: Tell) -> None:
    """Moves a stored preset of the bundle that is of other weights than `asked` into a folder `backup-DATE`, with all
    that was found in it; `tell` hears of it. Raises ExperimentBusy, CorruptFile, SchemaTooNew, DiskFull, OSError."""
    layout = Layout(cache / asked.name)
    if not _is_bundled(asked.name, asked.config) or not layout.experiment.exists():
        return
    with writer_lock(layout):
        stored = known_experiment(cache, asked.name)
        if stored is None or stored.is_imported or stored.config != asked.config:
            return
        was, now = stored.revisions, asked.revisions
        if (was.model, was.sae) == (now.model, now.sae):
            return
        backup = backup_folder(cache)
        with disk_full(cache):
            backup.mkdir()
            layout.folder.rename(backup / asked.name)
    tell(f"experiment '{asked.name}' is of weights that kthink brings no more: made anew; as it was it is in {backup}")


def _is_bundled(name: str, config: ExperimentConfig) -> bool:
    return config.sae == DEMO and PRESETS.get(name) == config

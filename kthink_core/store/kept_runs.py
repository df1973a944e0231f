"""Runs that were kept, listed and deleted."""

from __future__ import annotations

from pathlib import Path

from kthink_core.config import Experiment
from kthink_core.errors import BadValue, UnknownName
from kthink_core.store.deletion import deleted_inferences
from kthink_core.store.files import Layout
from kthink_core.store.manifest import read_experiment
from kthink_core.store.writer import open_writer


def check_kept(cache: Path, name: str, inference: int) -> Experiment:
    """The experiment of a run that can be deleted.

    Raises UnknownName where there is no such experiment or inference, BadValue where the experiment was
    computed.
    """
    layout = Layout(cache / name)
    experiment = read_experiment(cache, name) if layout.is_inside(cache) else None
    if experiment is None:
        raise UnknownName("experiment", name, ())
    if not experiment.open_ended:
        raise BadValue(f"experiment '{name}' holds no kept runs: only these can be deleted one by one")
    there = layout.segments().keys() - set(deleted_inferences(layout))
    if inference not in there:
        raise UnknownName("kept run", str(inference), [str(number) for number in sorted(there)])
    return experiment


def delete_kept(cache: Path, name: str, inference: int, by: str) -> None:
    """Delete a kept run for good: when this returns nobody finds it any more, be it in a file. `by`: who does it.
    Raises as `check_kept`, ExperimentBusy, DiskFull, and what opening a writer raises."""
    experiment = check_kept(cache, name, inference)
    with open_writer(cache, experiment, verify=False, merge=False) as writer:
        if inference in writer.committed:
            writer.delete(inference, by)

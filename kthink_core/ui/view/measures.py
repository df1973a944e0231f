"""Which experiments typed prompts can be measured by. Pure: knows nothing of Streamlit."""

from __future__ import annotations

from collections.abc import Iterable

from kthink_core.config import Experiment
from kthink_core.identity import maker
from kthink_core.store.reader import ExperimentStatus


def measures_of(experiment: Experiment, hookpoint: str, statuses: Iterable[ExperimentStatus]) -> list[str]:
    """The experiments with inferences that the same model, SAE and capture site made of a problem set, the best first:
    those with the same settings, then those with most inferences."""
    made, settings = maker(experiment, hookpoint), _settings(experiment)
    whole = [
        (_settings(other) != settings, -status.committed, status.name)
        for status in statuses
        if (other := status.experiment) is not None
        and not other.open_ended
        and status.committed
        and maker(other, hookpoint) == made
    ]
    return [name for *_, name in sorted(whole)]


def choice_of(experiment: Experiment, hookpoint: str, statuses: Iterable[ExperimentStatus]) -> list[str]:
    """The experiments that a trace beside an experiment can be measured by, the one that is taken unless the link says
    otherwise first: itself, but for kept runs, which are chosen by hand and say nothing of what is usual."""
    own = [] if experiment.open_ended else [experiment.name]
    return [*own, *(name for name in measures_of(experiment, hookpoint, statuses) if name not in own)]


def _settings(experiment: Experiment) -> dict[str, object]:
    """What runs of one worker share, whatever they are asked."""
    return experiment.config.model_dump(exclude={"problems", "limit", "seed"})

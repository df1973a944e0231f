"""Whether the worker can go on with what an experiment was made with."""

from __future__ import annotations

from kthink_core.errors import PromptRefused
from kthink_core.identity import maker
from kthink_core.precompute.pipeline import Plan
from kthink_core.store.reader import Reader


def check_made_by(reader: Reader, plan: Plan, hookpoints: tuple[str, ...]) -> None:
    """Raises PromptRefused where the worker has another model, SAE or capture site than an experiment."""
    for hookpoint in hookpoints:
        if maker(reader.experiment, hookpoint) != maker(plan.experiment, hookpoint):
            raise PromptRefused(
                f"experiment '{reader.experiment.name}' was made with another model, SAE or capture site than this "
                f"worker has at {hookpoint}; start a worker with --experiment {reader.experiment.name}"
            )

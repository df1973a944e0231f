"""What typed prompts are measured by: kept runs are chosen by hand, and say nothing of what is usual."""

from __future__ import annotations

from contextlib import suppress

from kthink_core.config import Experiment
from kthink_core.errors import KthinkError
from kthink_core.identity import maker
from kthink_core.ui.view.page import Page, beside


def yardstick(page: Page) -> Page | None:
    """The page itself; of kept runs, the experiment that the same model, SAE and capture site made of a problem set:
    with the same settings where there is one, then the one with most inferences. None where none is stored."""
    experiment, hookpoint = page.experiment, page.view.hookpoint
    if not experiment.open_ended:
        return page
    made, settings = maker(experiment, hookpoint), _settings(experiment)
    whole = [
        (_settings(other) != settings, -status.committed, status.name)
        for status in page.statuses
        if (other := status.experiment) is not None and not other.open_ended and maker(other, hookpoint) == made
    ]
    for _, committed, name in sorted(whole):
        with suppress(KthinkError, OSError):  # the list of experiments says what is wrong with it
            if committed:
                return beside(page, name)
    return None


def _settings(experiment: Experiment) -> dict[str, object]:
    """What runs of one worker share, whatever they are asked."""
    return experiment.config.model_dump(exclude={"problems", "limit", "seed"})

"""What typed prompts are measured by: kept runs are chosen by hand, and say nothing of what is usual."""

from __future__ import annotations

from contextlib import suppress

from kthink_core.errors import KthinkError
from kthink_core.ui.view.measures import measures_of
from kthink_core.ui.view.page import Page, beside


def yardstick(page: Page) -> Page | None:
    """The page itself; of kept runs, the experiment that the same model, SAE and capture site made of a problem set:
    with the same settings where there is one, then the one with most inferences. None where none is stored."""
    experiment, hookpoint = page.experiment, page.view.hookpoint
    if not experiment.open_ended:
        return page
    for name in measures_of(experiment, hookpoint, page.statuses):
        with suppress(KthinkError, OSError):  # the list of experiments says what is wrong with it
            return beside(page, name)
    return None

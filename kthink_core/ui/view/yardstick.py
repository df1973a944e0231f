"""What typed prompts are measured by: kept runs are chosen by hand, and say nothing of what is usual."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from kthink_core.errors import KthinkError
from kthink_core.ui.view.measures import choice_of
from kthink_core.ui.view.page import Page, beside


def yardstick(page: Page) -> Page | None:
    """The page itself; of kept runs, the experiment that the same model, SAE and capture site made of a problem set:
    with the same settings where there is one, then the one with most inferences. None where none is stored. Features
    are named by it, too."""
    return _first(page, choice(page))


def compared(page: Page) -> Page | None:
    """What *Unusual here* compares with, and nothing else: the experiment that the view names for it, else the
    yardstick."""
    names, chosen = choice(page), page.view.measure
    return _first(page, [*([chosen] if chosen in names else []), *names])


def choice(page: Page) -> list[str]:
    """The experiments that a trace of the page can be measured by, the one that is taken unless the link says otherwise
    first."""
    return choice_of(page.experiment, page.view.hookpoint, page.statuses)


def _first(page: Page, names: Sequence[str]) -> Page | None:
    """The first that can be read."""
    for name in names:
        if name == page.experiment.name:
            return page
        with suppress(KthinkError, OSError):  # the list of experiments says what is wrong with it
            return beside(page, name)
    return None

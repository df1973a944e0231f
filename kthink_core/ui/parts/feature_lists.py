"""Lists of features as a page has them: those that there are for whoever looks, and the one that the link names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kthink_core import notes
from kthink_core.errors import KthinkError
from kthink_core.notes import FILE, FeatureList, FeatureLists, FeatureSubject
from kthink_core.ui.view.list_link import MOST, NONE, ListLink
from kthink_core.ui.view.page import Page


class Chosen(NamedTuple):
    """What the view's list shows at the view's hookpoint."""

    name: str
    """Empty: only the link knows these features."""
    features: tuple[int, ...]
    """In the list's order."""
    elsewhere: int
    """How many it holds of other hookpoints and SAEs."""
    problem: str
    """Why it is not as the link says; empty where it is."""


def lists(page: Page) -> FeatureLists:
    """Who is signed in signs what is begun there."""
    return FeatureLists(page.source.cache / FILE, page.person.name, page.person.experiments)


def standing(page: Page) -> list[FeatureList]:
    """All lists, the one changed last first; none where the file cannot be read: the panels of notes say so."""
    try:
        return lists(page).all()
    except KthinkError:
        return []


def subjects(page: Page, hookpoint: str, features: Iterable[int]) -> list[FeatureSubject]:
    return [notes.of_feature(page.experiment, hookpoint, int(feature)) for feature in features]


def beside(page: Page, id: str, hookpoint: str) -> tuple[int, ...]:
    """What a list holds of an SAE of the page's experiment, in its order; nothing where the file cannot be read."""
    try:
        return _beside(page, id, hookpoint)
    except KthinkError:
        return ()


def here(page: Page) -> dict[str, int]:
    """How many features of the view's hookpoint each list holds that holds any, by id; nothing where the file cannot be
    read."""
    try:
        return lists(page).counts(notes.of_feature(page.experiment, page.view.hookpoint, 0))
    except KthinkError:
        return {}


def link(page: Page, id: str, hookpoint: str | None = None) -> ListLink:
    """What a link says of a list, for those who have no such list, too; nothing for an empty id."""
    hookpoint = hookpoint or page.view.hookpoint
    features = beside(page, id, hookpoint)[:MOST] if id else ()
    return ListLink(id, hookpoint if features else "", features)


def chosen(page: Page) -> Chosen | None:
    """None where the link names no list."""
    given, hookpoint = page.view.list, page.view.hookpoint
    if given == NONE:
        return None
    if not given.id:
        return _of_link(given, hookpoint, "")
    try:
        found = lists(page).find(given.id)
        if found is not None and not found.deleted:
            features = _beside(page, found.id, hookpoint)
            return Chosen(found.name, features, found.features - len(features), "")
    except KthinkError as error:
        return _of_link(given, hookpoint, str(error))
    if found is None:
        return _of_link(given, hookpoint, "The link's list is not among those here: it may be of another cache.")
    return _of_link(given, hookpoint, f"The list '{found.name}' was deleted on {found.updated[:10]}.")


def _beside(page: Page, id: str, hookpoint: str) -> tuple[int, ...]:
    size = page.experiment.saes[hookpoint].num_latents
    held = lists(page).beside(id, notes.of_feature(page.experiment, hookpoint, 0))
    return tuple(feature for feature in held if feature < size)


def _of_link(given: ListLink, hookpoint: str, why: str) -> Chosen:
    """The features that the link holds, as far as they are of the hookpoint."""
    count = len(given.features)
    if not count:
        return Chosen("", (), 0, f"{why} The link holds none of its features.")
    if given.hookpoint != hookpoint:
        told = f"{why} The link holds {count} of its features, of {given.hookpoint}: choose that hookpoint."
        return Chosen("", (), count, told.strip())
    told = f"{why} Showing the {count} of its features that the link holds." if why else ""
    return Chosen("", given.features, 0, told)

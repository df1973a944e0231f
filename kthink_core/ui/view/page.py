"""Opening a page: what the link names is found, or the visitor is told what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Concatenate, Literal, ParamSpec

import pandas as pd
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from kthink_core.access.person import LOCAL, Person
from kthink_core.config import Experiment
from kthink_core.errors import KthinkError, UnknownName, in_words
from kthink_core.identity import same_features
from kthink_core.settings import Settings, from_environment
from kthink_core.store.reader import ExperimentStatus
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import cache, experiments, permalink, visitor
from kthink_core.ui.view.measures import choice_of
from kthink_core.ui.view.permalink import MOST_FEATURES, View

Arguments = ParamSpec("Arguments")
Target = Literal["inference", "feature", "across", "compare", "live", "reasoning", "steer", "quality"]


@dataclass(frozen=True)
class Page:
    """An opened experiment and the view of it that the link names."""

    source: cache.Source
    statuses: list[ExperimentStatus]
    """All experiments of the cache that there are for this person."""
    experiment: Experiment
    inferences: tuple[int, ...]
    """Those committed so far, ascending; damaged ones are missing."""
    view: View
    person: Person = LOCAL
    """Who looks at it."""

    def ask(
        self,
        query: Callable[Concatenate[cache.Reader, Arguments], pd.DataFrame],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> pd.DataFrame:
        """The answer to a function of `queries` about this experiment."""
        return cache.ask(self.source, query, *args, **kwargs)


@contextmanager
def errors_shown() -> Iterator[None]:
    """A mistake that a user can understand, and what the operating system refuses, shows as one line."""
    try:
        yield
    except (KthinkError, OSError) as error:
        st.error(plain(in_words(error)), icon=":material/error:")


def open_page(*, of_run: bool = False) -> Page:
    """The experiment and view that the link names. Ends the run where there is no experiment. `of_run`: the page shows
    a live run; to all others a link says nothing of one. Raises KthinkError, OSError."""
    _under_navigation()
    person = visitor.person()
    visitor.told(person)
    settings = from_environment(Settings)
    statuses = experiments.of(person, settings.cache)
    readable = [status.name for status in statuses if status.experiment is not None]
    if not readable:
        experiments.missing(person, settings.cache, statuses)
        st.stop()
    parameters = _parameters(of_run)
    name, problems = permalink.parse_experiment(parameters, readable, settings.experiment)
    with st.sidebar:
        experiments.choose(readable, name)
        experiments.unreadable(statuses)
    source = cache.source(settings.cache, name)
    reader = cache.reader(source)
    others = [other for other in readable if other != name]
    latents = {hookpoint: sae.num_latents for hookpoint, sae in reader.experiment.saes.items()}
    view, more = permalink.parse(parameters, permalink.Bounds(name, reader.inference_ids, latents, others))
    view = view if of_run else permalink.without_run(view)
    if not of_run and not reader.experiment.open_ended:  # its inferences are measured by itself
        view = replace(view, measure=None)
    if view.measure is not None and view.measure not in choice_of(reader.experiment, view.hookpoint, statuses):
        more.append(f"The link's measure '{view.measure}' has no inference of the same model, SAEs and capture site.")
        view = replace(view, measure=None)
    wanted = parameters.get("experiment", settings.experiment)
    unreadable = [status.problem for status in statuses if status.problem and status.name == wanted]
    if unreadable:  # it is there, whatever the link's parser thinks
        problems = [f"Experiment '{wanted}' cannot be read: {unreadable[0]}. Showing '{name}'."]
    problems = [*problems, *experiments.deleted(reader.layout, parameters)]
    for message in [*problems, *more]:
        st.warning(plain(message), icon=":material/link_off:")
    for message in reader.warnings:
        st.warning(plain(message), icon=":material/warning:")
    experiments.lacking(reader.experiment)
    st.session_state["view"] = view
    return Page(source, statuses, reader.experiment, reader.inference_ids, view, person)


def beside(page: Page, name: str) -> Page:
    """Another experiment of the cache under the same view, as far as it has the same hookpoint and inference. Raises
    KthinkError: one that there is not for this person is unknown like any other."""
    if name not in (known := [status.name for status in page.statuses]):
        raise UnknownName("experiment", name, known)
    source = cache.source(page.source.cache, name)
    reader = cache.reader(source)
    saes, inferences, view = reader.experiment.saes, reader.inference_ids, page.view
    hookpoint = view.hookpoint if view.hookpoint in saes else next(reversed(saes))
    inference = view.inference if view.inference in inferences or not inferences else inferences[0]
    same = same_features(page.experiment, reader.experiment, hookpoint) and hookpoint == view.hookpoint
    there = replace(view, experiment=name, hookpoint=hookpoint, inference=inference, other=None, against=None)
    if not same:
        there = replace(there, feature=None, also=(), watch=(), locked=None, sought=None)
    return Page(source, page.statuses, reader.experiment, inferences, there, page.person)


def require_inferences(page: Page) -> None:
    """Ends the run, saying so, where the experiment has no inference yet."""
    if not page.inferences:
        st.info(
            f"No inference of this experiment is committed yet (0 of {page.experiment.inferences}). "
            "They appear on the overview as they come.",
            icon=":material/hourglass_empty:",
        )
        st.stop()


def go(view: View) -> None:
    """Make the link name another view; the rerun that follows shows it."""
    st.query_params.from_dict(permalink.format_view(view))


def lead(to: Target, view: View) -> None:
    """Open another page at a view. For callbacks, and for the end of a run."""
    st.switch_page(f"pages/{to}.py", query_params=_parameters_of(to, view))


def link(to: Target, view: View, label: str, icon: str = ":material/arrow_forward:") -> None:
    """A link to another page at a view."""
    st.page_link(f"pages/{to}.py", label=label, icon=icon, query_params=_parameters_of(to, view))


def _parameters_of(to: Target, view: View) -> dict[str, str]:
    return permalink.format_view(view if to == "live" else permalink.without_run(view))


def at_inference(view: View, inference: int, position: int | None = None) -> View:
    """The view of another inference. Positions of the last one mean nothing there, and no feature is locked."""
    return replace(view, inference=inference, position=position, span=None, locked=None)


def with_features(view: View, features: Sequence[int]) -> View:
    """The view with these features shown, the first one the main one; without any, the page takes one. None is locked:
    that one would be lit alone."""
    distinct = tuple(dict.fromkeys(features))[:MOST_FEATURES]
    return replace(view, feature=distinct[0] if distinct else None, also=distinct[1:], locked=None, pages=1)


def _under_navigation() -> None:
    """Begins again with app.py where Streamlit runs a page without it: a new server takes every file in `pages/` for a
    page of its own until app.py has run once, and its first visitor may come with a link to a page."""
    if PagesManager.uses_pages_directory:
        PagesManager.uses_pages_directory = False
        st.rerun()


def _parameters(of_run: bool) -> dict[str, str]:
    """The link's parameters. The navigation bar drops them; then the last view of this visit stands in."""
    last = st.session_state.get("view")
    if not st.query_params and isinstance(last, View):
        go(last if of_run else permalink.without_run(last))
    return st.query_params.to_dict()

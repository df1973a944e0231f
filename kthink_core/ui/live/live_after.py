"""What can be asked of a live run once it has ended: what is unusual in it, the article's plots, and to keep it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kthink_core import queries
from kthink_core.errors import KthinkError
from kthink_core.live.api import Kept
from kthink_core.queries.histogram import histogram
from kthink_core.ui.inference import inference_charts
from kthink_core.ui.live.live_run import LiveRun
from kthink_core.ui.live.presence import Worker
from kthink_core.ui.parts import feature_tables, header, plot, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import Page, go, link, with_features
from kthink_core.ui.view.permalink import AFTER, View

TITLES: dict[str, str] = dict(zip(AFTER, ("Unusual here", "Features", *inference_charts.BY_NAME), strict=True))
_KEPT = "live_kept"
"""With the job: where it is stored, or why it is not."""


def draw(page: Page, worker: Worker, run: LiveRun, shown: tuple[int, ...], span: tuple[int, int] | None) -> None:
    """Nothing where the run left nothing to ask of."""
    if not len(run.trace):
        return
    if run.end is not None and run.end.finish_reason is not None and worker.answers:
        _keep(page, worker, run, shown, span)
    if span is not None:
        _span(page, run, shown, *span)
    with choices.tab("after", TITLES, page) as tab:
        _tab(page, run, tab, shown)


def _tab(page: Page, run: LiveRun, tab: str, shown: tuple[int, ...]) -> None:
    if tab == "unusual":
        _unusual(page, run, shown)
    elif tab == "features":
        measures = ("rank", "max_activation", "mean_activation", "positions", "share")
        ranked = run.trace.ranked(page.view.hookpoint, run.scope, 100)
        _features(page, ranked, measures, shown, "features of a live run")
    else:
        name = TITLES[tab]
        table = _plotted(page.view.hookpoint, run, name, shown)
        plot.draw(page, name, table, shown, lambda to: _choose(page, shown, to), of=f"live run {run.job}")


def _choose(page: Page, shown: tuple[int, ...], feature: int) -> None:
    """Make a feature the main one."""
    go(with_features(page.view, (feature, *shown[1:])))


def _features(page: Page, table: pd.DataFrame, measures: tuple[str, ...], shown: tuple[int, ...], name: str) -> None:
    """A table of features. A click makes one the main one."""
    if table.empty:
        header.nothing("No feature fires here.")
        return
    feature_tables.draw(page, table, measures, lambda to: _choose(page, shown, to), name=name)


def _span(page: Page, run: LiveRun, shown: tuple[int, ...], first: int, last: int) -> None:
    """What stands out in the marked stretch of tokens."""
    with st.container(border=True):
        st.header(f"What stands out from position {first} to {last}", help=terms.help("span_lift"))
        table = run.trace.span(page.view.hookpoint, first, last)
        _features(page, table, feature_tables.SPAN, shown, "span of a live run")


def _keep(page: Page, worker: Worker, run: LiveRun, shown: tuple[int, ...], span: tuple[int, int] | None) -> None:
    """What stores a run that has all hookpoints, then what leads to where it is stored."""
    if run.job is None or not set(run.request.hookpoints or worker.health.hookpoints) >= set(worker.health.hookpoints):
        return
    kept: Kept | str | None = st.session_state.get(f"{_KEPT} {run.job}")
    if isinstance(kept, Kept):
        at = View(experiment=kept.experiment, hookpoint=page.view.hookpoint, inference=kept.inference, span=span)
        link("inference", with_features(at, shown), f"Kept as inference {kept.inference} of {kept.experiment}")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Your name", key="live_author", max_chars=80)
        st.button(
            "Keep", icon=":material/bookmark_add:", help="Store it, with a link of its own.", key="live_keep",
            on_click=_store, args=(worker, run.job),
        )  # fmt: skip
    if kept is not None:
        st.error(plain(kept), icon=":material/error:")


def _store(worker: Worker, job: str) -> None:
    try:
        kept = worker.client.keep(job, st.session_state["live_author"])
    except KthinkError as error:
        kept = str(error)
    st.session_state[f"{_KEPT} {job}"] = kept


def _unusual(page: Page, run: LiveRun, shown: tuple[int, ...]) -> None:
    """The features of this run by how rarely a stored inference has a larger maximum."""
    ranked = run.trace.ranked(page.view.hookpoint, run.scope, 200)
    maxima = dict(sorted(zip(ranked["feature"].tolist(), ranked["max_activation"].tolist(), strict=True)))
    if not page.inferences:
        header.nothing("There is no stored inference yet to compare with.")
        return
    table = page.ask(queries.feature_percentiles, page.view.hookpoint, tuple(maxima), tuple(maxima.values()), run.scope)
    number = len(page.inferences)
    st.caption(
        f"Compared with the {number} inferences of {plain(page.experiment.name)}. One in {number + 1} features exceeds "
        "them all by chance alone: look at by how much, and at what else is different, such as the length."
    )
    measures = ("percentile", "max_activation", "stored_maximum", "excess", "active_inferences")
    _features(page, table.head(50), measures, shown, "unusual features of a live run")


def _plotted(hookpoint: str, run: LiveRun, name: str, shown: tuple[int, ...]) -> pd.DataFrame:
    """What one of `inference_charts.BY_NAME` draws."""
    if name == inference_charts.TOP:
        return run.trace.activations(hookpoint, run.scope)
    if name == inference_charts.FREQUENCIES:
        return run.trace.frequencies(hookpoint, run.scope)
    if name == inference_charts.HISTOGRAM:
        return histogram(run.trace.latents(hookpoint, run.scope), 50)
    return run.trace.token_activations(hookpoint, run.scope, shown)

"""What can be asked of a live run once it has ended: what is unusual in it, the article's plots, and to keep it."""

from __future__ import annotations

import streamlit as st

from kthink_core import queries
from kthink_core.errors import KthinkError
from kthink_core.queries.histogram import histogram
from kthink_core.ui import charts, download, feature_tables, header, inference_charts, notes
from kthink_core.ui.live_run import LiveRun
from kthink_core.ui.page import Page, go, link, with_features
from kthink_core.ui.permalink import View
from kthink_core.ui.text import plain
from kthink_core.ui.worker import Worker


def draw(page: Page, worker: Worker, run: LiveRun, shown: tuple[int, ...]) -> None:
    """Nothing where the run left nothing to ask of."""
    if not len(run.trace):
        return
    if run.end is not None and run.job is not None and run.end.finish_reason is not None:
        _keep(page, worker, run)
    names = ("Unusual here", inference_charts.TOP, inference_charts.FREQUENCIES, inference_charts.HISTOGRAM)
    for name, tab in zip(names, st.tabs(names, key="live_tabs", on_change="rerun"), strict=True):
        if tab.open:
            with tab:
                _unusual(page, run) if name == names[0] else _plot(page, run, name, shown)


def _keep(page: Page, worker: Worker, run: LiveRun) -> None:
    kept: dict[str, tuple[str, int]] = st.session_state.setdefault("live_kept", {})
    assert run.job is not None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if run.job in kept:
            experiment, inference = kept[run.job]
            view = View(experiment=experiment, hookpoint=page.view.hookpoint, inference=inference)
            link("inference", view, f"Kept as inference {inference} of {experiment}")
            return
        author = st.text_input("Your name", key="live_author", max_chars=80)
        if st.button("Keep", icon=":material/bookmark_add:", help="Store it, with a link of its own.", key="live_keep"):
            try:
                found = worker.client.keep(run.job, author)
            except KthinkError as error:
                st.error(plain(str(error)), icon=":material/error:")
                return
            kept[run.job] = (found.experiment, found.inference)
            st.rerun()


def _unusual(page: Page, run: LiveRun) -> None:
    """The features of this run by how rarely a stored inference has a larger maximum."""
    view = page.view
    ranked = run.trace.ranked(view.hookpoint, "generated", 200)
    if ranked.empty:
        header.nothing("No feature fires here.")
        return
    maxima = dict(zip(ranked["feature"].tolist(), ranked["max_activation"].tolist(), strict=True))
    features, values = tuple(sorted(maxima)), tuple(maxima[feature] for feature in sorted(maxima))
    table = page.ask(queries.feature_percentiles, view.hookpoint, features, values, "generated").head(50)
    st.caption(f"Compared with the {len(page.inferences)} inferences of {plain(page.experiment.name)}.")
    measures = ("percentile", "max_activation", "active_inferences")

    def choose(feature: int) -> None:
        go(with_features(view, (feature, *view.also)))

    feature_tables.draw(page, table, measures, choose, name="unusual features")


def _plot(page: Page, run: LiveRun, name: str, shown: tuple[int, ...]) -> None:
    hookpoint = page.view.hookpoint
    if name == inference_charts.TOP:
        table = run.trace.activations(hookpoint)
    elif name == inference_charts.FREQUENCIES:
        table = run.trace.frequencies(hookpoint)
    else:
        table = histogram(run.trace.latents(hookpoint, "generated"), 50)
    if table.empty:
        header.nothing("No feature fires here.")
        return
    labels = notes.labels(page, hookpoint, table["feature"].tolist() if "feature" in table else ())
    charts.draw(inference_charts.BY_NAME[name](table, shown, labels), name)
    download.buttons(page, f"{name} of a live run", table, chart=True)

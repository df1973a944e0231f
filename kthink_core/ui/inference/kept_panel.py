"""A kept run as it was when it was kept: what was watched, what it was compared with; and the way to delete it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kthink_core.errors import KthinkError
from kthink_core.live.api import Kept
from kthink_core.live.watchlist import Firing, Watch, firings
from kthink_core.queries.trace import Trace
from kthink_core.store.kept_memory import Comparison, KeptMemory, read_memory
from kthink_core.ui.inference.trace_parts import Reading
from kthink_core.ui.live import presence
from kthink_core.ui.parts import feature_names, feature_tables
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import cache
from kthink_core.ui.view.page import Page, go
from kthink_core.ui.view.permalink import View
from kthink_core.ui.view.yardstick import yardstick

_PROBLEM = "kept_problem"


def memory(page: Page) -> KeptMemory | None:
    """Of the view's inference; None where it was not kept, or an older version kept it."""
    if not page.experiment.open_ended:
        return None
    return read_memory(cache.reader(page.source).layout, page.view.inference)


def fired(page: Page, trace: Trace) -> list[Firing]:
    """Where the features fire that were watched when it was kept, unless the link watches some."""
    found = None if page.view.watch else memory(page)
    return firings(trace, [Watch(*each) for each in found.watched]) if found else []


def draw(page: Page, read: Reading) -> None:
    """Nothing of what was computed."""
    if not page.experiment.open_ended:
        return
    found = memory(page)
    if found is not None and (found.watched or found.compared):
        st.header("When it was kept")
        if found.watched:
            watched = ", ".join(
                f"{feature_names.in_words(page, each.hookpoint, each.feature)} of {each.hookpoint} above "
                f"{each.threshold:g}"
                for each in found.watched
            )
            st.caption(plain(f"Watched were {watched}."))
        for compared in found.compared:
            if compared.hookpoint == page.view.hookpoint:
                _compared(read, compared)
    _deleting(page, found)


def _compared(read: Reading, compared: Comparison) -> None:
    seen = read.page.person.sees(compared.experiment)
    st.caption(
        plain(
            f"Compared then with the {compared.inferences} inferences of "
            f"{compared.experiment if seen else 'an experiment that is not here'}, "
            f"in scope {compared.scope}; above is what is to be said now."
        )
    )
    table = pd.DataFrame(compared.features)
    if not table.empty:
        table = table.assign(excess=table["max_activation"] / table["stored_maximum"].astype(float))
        measures = ("percentile", "max_activation", "stored_maximum", "excess")
        name = f"unusual features of {read.called} when it was kept"
        feature_tables.draw(
            read.page, table, measures, read.choose, name=name, whole=yardstick(read.page), scope=compared.scope
        )


def _deleting(page: Page, found: KeptMemory | None) -> None:
    person = page.person
    is_own = found is not None and found.keeper == person.id
    if not person.may("runner") or not (is_own or person.may("owner")):
        return
    with st.popover("Delete this kept run", icon=":material/delete:", key="kept_delete_ask"):
        st.text(
            "It is gone for everybody and for good, with what was found about its features. Notes on it stay; "
            "links to it say that it was deleted."
        )
        st.button("Delete it for good", key="kept_delete", on_click=_delete, args=(page,))
    if problem := st.session_state.pop(_PROBLEM, None):
        st.error(plain(problem), icon=":material/error:")


def _delete(page: Page) -> None:
    try:
        presence.client(page.person).delete_kept(Kept(experiment=page.experiment.name, inference=page.view.inference))
    except KthinkError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    go(View(page.experiment.name, page.view.hookpoint, page.view.inference))  # which says that it was deleted

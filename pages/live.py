"""Type a prompt, watch the features while the model thinks."""

from functools import partial

import streamlit as st

from kthink_core.ui.live import composer, live_view, presence, run_list, shown_run
from kthink_core.ui.parts import header, quality
from kthink_core.ui.steer import ways
from kthink_core.ui.view.page import errors_shown, open_page

with errors_shown():
    page = shown_run.take(open_page(of_run=True))
    with header.title("Live"):
        pass
    quality.notes(page)
    with st.container():  # a place of its own: what is below stays where it is when the worker comes and goes
        found = presence.reach()
    run = shown_run.shown()
    if found is not None and presence.matches(page, found):
        latest = composer.draw(page, found, partial(ways.from_live, page))
        run_list.draw(page)
        if latest is not None:
            live_view.draw(page, found, *latest)
    else:
        run_list.draw(page)
        if run is not None and run.id:
            live_view.draw(page, None, run, run.going)

"""A button that saves the view as one HTML file, which shows the same without a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from kthink_core.ui.parts.download import file_name
from kthink_core.ui.view import visitor
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import format_view

HELP = "One HTML file of this view with its data and where it is from: it opens without kthink and without a network."


def button(page: Page, name: str, write: Callable[[Path, str, dict[str, str], tuple[str, ...] | None], str]) -> None:
    """`name`: what the view is of, for the file's name. `write` makes the HTML once it is asked for, in a thread of its
    own, from the cache, the experiment, the view's parameters and the experiments that there are for
    whoever looks. Once a page."""
    cache, parameters = page.source.cache, format_view(page.view)

    def made() -> bytes:
        content = write(cache, page.experiment.name, parameters, page.person.experiments).encode()
        visitor.taken(page.person, f"view of {name}", page.experiment.name)
        return content

    st.download_button(
        "Save this view",
        made,
        file_name=f"{file_name(page.view.experiment, name)}.html",
        mime="text/html",
        key="save view",
        on_click="ignore",
        type="tertiary",
        icon=":material/save_alt:",
        help=HELP,
    )

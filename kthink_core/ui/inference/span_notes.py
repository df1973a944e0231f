"""What has been written about spans of an inference: a list whose rows lead to them."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st
from streamlit.column_config import TextColumn

from kthink_core.errors import KthinkError
from kthink_core.notes import Entry, SpanSubject
from kthink_core.notes.text import worded
from kthink_core.ui.inference import trace_parts
from kthink_core.ui.notes_list import NOBODY
from kthink_core.ui.parts import clicks
from kthink_core.ui.parts.note_panel import notebook
from kthink_core.ui.parts.writing import visible
from kthink_core.ui.view.page import Page


def draw(page: Page, go: Callable[[tuple[int, int]], None]) -> None:
    """The view's inference's; nothing where there are none. A click on a row calls `go` with its span."""
    view = page.view
    try:
        entries = notebook(page).on_spans(view.experiment, view.inference)
    except KthinkError:
        return  # the panel of the inference says what is wrong with the file
    if not entries:
        return
    spans = [_span(entry) for entry in entries]
    st.header("Notes on spans")
    st.caption("Click a row to see the span.")
    shown = pd.DataFrame(
        {
            "positions": [f"{first} to {last}" for first, last in spans],
            "quote": [visible(entry.quote) if entry.quote else "" for entry in entries],
            "what": [entry.what for entry in entries],
            "text": [worded(entry.what, entry.value) for entry in entries],
            "author": [entry.author or NOBODY for entry in entries],
        }
    )
    columns = {
        "positions": TextColumn("Positions", width=110),
        "quote": TextColumn("Tokens when it was written", width="medium"),
        "what": TextColumn("What", width=70),
        "text": TextColumn("Text", width=340),
        "author": TextColumn("Author", width="small"),
    }

    def there(row: int) -> None:
        trace_parts.visit()
        go(spans[row])

    key = f"notes on spans {view.experiment} {view.inference}"
    clicks.table(shown, columns, key, there, rows=6, described="Notes on spans")


def _span(entry: Entry) -> tuple[int, int]:
    about = entry.subject
    assert isinstance(about, SpanSubject)
    return about.first, about.last

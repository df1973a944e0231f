"""What has been written about what a saved page shows, as far as whoever saves it may see it."""

from __future__ import annotations

import pandas as pd

from kthink_core.errors import KthinkError
from kthink_core.notes import FILE, Entry, InferenceSubject, Notebook, SpanSubject, of_feature
from kthink_core.notes.text import worded
from kthink_core.saved import part
from kthink_core.saved.address import Kind
from kthink_core.saved.found_view import Opened
from kthink_core.saved.part import Column, Part

_SHOWN = (
    Column("about", "About"), Column("what", "What"), Column("text", "Text"), Column("author", "Author"),
    Column("source", "Source"), Column("score", "Score", 2), Column("updated", "Written"),
)  # fmt: skip


def notes(opened: Opened, kind: Kind) -> list[Part]:
    """A table of what the page of an inference or a feature has; nothing where there is none, or the notes cannot be
    read."""
    view, book = opened.view, Notebook(opened.cache / FILE, within=opened.notes_of)
    try:
        if kind == "inference":
            about = InferenceSubject(view.experiment, view.inference)
            entries = [*book.entries(about), *book.on_spans(view.experiment, view.inference)]
        elif kind == "feature":
            entries = book.entries(of_feature(opened.experiment, view.hookpoint, int(view.feature or 0)))
        else:
            return []
    except KthinkError:
        return []
    if not entries:
        return []
    rows = pd.DataFrame(
        {
            "about": [_about(entry) for entry in entries],
            "what": [entry.what for entry in entries],
            "text": [worded(entry.what, entry.value) for entry in entries],
            "author": [entry.author for entry in entries],
            "updated": [entry.updated for entry in entries],
            "experiment": [entry.experiment for entry in entries],
            "quote": [entry.quote for entry in entries],
        }
    )
    if any(entry.source for entry in entries):
        rows = rows.assign(source=[entry.source for entry in entries], score=[entry.score for entry in entries])
    place = f"inference {view.inference}" if kind == "inference" else f"feature {view.feature}"
    return [part.table("Labels and notes", f"notes on {place}", rows, _SHOWN)]


def _about(entry: Entry) -> str:
    about = entry.subject
    if isinstance(about, SpanSubject):
        return f"positions {about.first} to {about.last}"
    return f"inference {about.inference}" if isinstance(about, InferenceSubject) else f"feature {about.feature}"

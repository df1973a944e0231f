"""Two texts as one, with what was removed and what was added told by colour, by line and by sign."""

from __future__ import annotations

from streamlit.components.v2 import component

from kthink_core.evidence.stream_differences import words_apart
from kthink_core.ui.parts.scripts import joined

_component = component(
    "kthink_words_apart",
    css=joined("steer/words_apart.css"),
    js=joined("transcript/text.js", "steer/words_apart.js"),
)


def draw(one: str, other: str, label: str, *, key: str) -> None:
    """What must be removed from one text and added to it to have the other. `label` says which these are."""
    stretches = [{"kind": kind, "text": text} for kind, text in words_apart(one, other)]
    _component(data={"stretches": stretches, "label": label}, key=key)

"""Scripts and styles of the components that a saved page has, too. Pure: knows nothing of Streamlit."""

from __future__ import annotations

from typing import NamedTuple

from kthink_core.ui.parts import hues
from kthink_core.ui.parts.scripts import joined


class Code(NamedTuple):
    """Of one component: `script` is a module whose default export draws it, `style` belongs into its shadow root."""

    style: str
    script: str


TRANSCRIPT = Code(
    hues.stylesheet(".transcript") + joined("transcript/transcript.css"),
    joined(
        "parts/roving.js",
        "transcript/text.js",
        "transcript/tracks.js",
        "transcript/tokens.js",
        "transcript/shading.js",
        "transcript/strip.js",
        "transcript/alternatives.js",
        "transcript/measures.js",
        "transcript/tooltip.js",
        "transcript/features.js",
        "transcript/toolbar.js",
        "transcript/span.js",
        "transcript/touch.js",
        "transcript/steps.js",
        "transcript/outline.js",
        "transcript/find.js",
        "transcript/keys.js",
        "transcript/main.js",
    ),
)
SNIPPETS = Code(
    hues.stylesheet(".snippets") + joined("parts/snippets.css"), joined("transcript/text.js", "parts/snippets.js")
)

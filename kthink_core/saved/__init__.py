"""A view as one HTML page that needs no server and no network: what a link names, with its data and where it is from.

`address` reads a link → `opened` opens what it names → `transcript_part`, `feature_parts`, `matrix_part` and
`comparison_parts` ask for what the page of that name shows → `html_page` writes it, with the very scripts that draw it
in the app; page.js stands in for what Streamlit does there. Of `ui`, only modules without Streamlit are used.
"""

from kthink_core.saved.address import KINDS, Kind
from kthink_core.saved.view_page import save_view, view_page

__all__ = ["KINDS", "Kind", "save_view", "view_page"]

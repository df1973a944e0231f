"""All labels and notes of the cache: searched, narrowed, taken along."""

from kthink_core.ui import header, notes_list
from kthink_core.ui.page import errors_shown, open_page

with errors_shown():
    page = open_page()
    with header.title("Notes"):
        pass
    notes_list.draw(page)

"""All labels and notes of the cache: searched, narrowed, taken along."""

from kthink_core.ui import notes_list
from kthink_core.ui.parts import header
from kthink_core.ui.view.page import errors_shown, open_page

with errors_shown():
    page = open_page()
    with header.title("Notes"):
        pass
    notes_list.draw(page)

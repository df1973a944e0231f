"""What people keep in the cache: labels and notes, searched and narrowed; lists of features."""

from kthink_core.ui import list_shelf, notes_list, shelves
from kthink_core.ui.parts import header
from kthink_core.ui.view.page import errors_shown, open_page

with errors_shown():
    page = open_page()
    with header.title("Notes"):
        pass
    if shelves.choose(page) == "lists":
        list_shelf.draw(page)
    else:
        notes_list.draw(page)

"""Who was invited, for the owner."""

from kthink_core.ui import invitation_list
from kthink_core.ui.parts import header
from kthink_core.ui.view.page import errors_shown, open_page

with errors_shown():
    page = open_page()
    with header.title("Access"):
        pass
    invitation_list.draw(page)

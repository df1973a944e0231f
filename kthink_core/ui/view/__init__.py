"""What a page is a view of: the link, the page as opened, its choices and answers."""

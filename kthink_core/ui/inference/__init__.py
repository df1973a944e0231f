"""What the page of one inference draws."""

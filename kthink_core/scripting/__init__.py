"""kthink from Python: an open experiment whose methods are the queries, and encoding of a text."""

"""Who may come in, and how often: what worker and app ask of every connection."""

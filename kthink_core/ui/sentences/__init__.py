"""Sentences that matter: how far each sentence of a stored thought moves the answers, and the job that measures it."""

"""Experiments on disk: a journal of segment files, immutable databases built from it, and readers over both."""

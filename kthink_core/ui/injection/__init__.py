"""Whether features are more than their words: a test that the worker does, its progress, its result."""

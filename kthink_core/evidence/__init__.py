"""How far to believe what the tables say: statistics over what the store holds, each with its sources.

Like `queries`: `(reader, typed arguments) → table`. Whatever is reckoned of inferences is resampled or permuted over
inferences, never over tokens: those of one trace are no independent cases.
"""

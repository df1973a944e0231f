"""What features do: sweeps of steering, causal maps, rollouts from the sentences of a thought."""

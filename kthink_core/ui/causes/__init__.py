"""What features do in a trace: set to 0, or by what its answer owes to them."""

"""What steering features does: streams side by side, and sweeps over strengths."""

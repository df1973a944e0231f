"""What the live page draws: prompt, run, and what came of it."""

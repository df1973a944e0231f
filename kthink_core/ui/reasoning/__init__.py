"""The parts of the page Reasoning: candidates for features of reasoning, and what remains of them."""

"""Whether a feature follows the word or the phase, as the page of a feature shows it."""

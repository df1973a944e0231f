"""Commands that have a module of their own: `add` describes one to the parser, and it runs with what was parsed."""

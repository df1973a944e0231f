"""Where torch lives: the language model, its SAEs, what passes the one and is encoded by the other."""

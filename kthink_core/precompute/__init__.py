"""Problems in, a complete experiment out: `pipeline` runs the stages in order."""

"""SAEs trained by sparsify's Trainer: texts → windows → steps → a folder that every command takes. Read
`training_run` first."""

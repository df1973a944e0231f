"""The scripts that made the bundle in kthink_core/demo: problems, tokenizer, model, SAEs; and what measures it."""

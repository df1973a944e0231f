"""The scripts that made the bundle in kthink_core/demo: problems, tokenizer, model, SAEs; and what measures it."""

import kthink_core as kthink_core  # before torch: it says how torch's threads wait

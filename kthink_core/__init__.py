"""kthink makes a reasoning model's sparse features explorable.

The way of the data, one module an arrow:

    problem ─prompts→ prompt ─generate→ generation ─hookpoints→ hidden states ─sae→ latents
            ─store.journal→ segment files ─store.database→ experiment.duckdb ─queries→ tables ─ui→ pages

`precompute.pipeline` runs the arrows up to the database in order; `queries` holds every question asked of it.
"""

from kthink_core.threads import wait_asleep

__version__ = "0.7.0"

wait_asleep()

"""kthink makes a reasoning model's sparse features explorable.

The way of the data, one module an arrow:

    problem ─prompts→ prompt ─generate→ generation ─hookpoints→ hidden states ─sae→ latents
            ─store.journal→ segment files ─store.database→ experiment.duckdb ─queries→ tables ─ui→ pages

`precompute.pipeline` runs the arrows up to the database in order; `queries` holds every question asked of it.
`open_experiment` is the way in from Python.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kthink_core.threads import wait_asleep

if TYPE_CHECKING:
    from kthink_core.scripting.opened import OpenExperiment, Remark, experiments, open_experiment

__version__ = "0.9.0"
__all__ = ["OpenExperiment", "Remark", "experiments", "open_experiment"]

wait_asleep()


def __getattr__(name: str) -> Any:
    """What is for programs comes with the first use of it: every module of kthink imports this one."""
    if name in __all__:
        return getattr(import_module("kthink_core.scripting.opened"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""A stored trace with the model and SAEs that it was made with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kthink_core.commands.loading import load
from kthink_core.config import Device
from kthink_core.records import hookpoints_needed

if TYPE_CHECKING:
    from kthink_core.interventions.subject import Subject
    from kthink_core.store.reader import Reader


def subject_of(reader: Reader, inference: int, hookpoints: Sequence[str], device: Device) -> Subject:
    """Loads what is needed for some hookpoints and for what the trace was written under. Raises as `load`."""
    from kthink_core.interventions.subject import Subject

    found = reader.inference(inference)
    needed = list(dict.fromkeys([*hookpoints, *hookpoints_needed(found.interventions)]))
    loaded = load(reader.experiment, needed, device)
    return Subject(loaded.lm, loaded.saes.by_hookpoint, reader.experiment, found, inference)

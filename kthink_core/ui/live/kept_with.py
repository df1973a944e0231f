"""What a run is kept with: its thresholds, and what was unusual in it, as its reader saw it; whether it still is."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pandas as pd

from kthink_core.errors import KthinkError
from kthink_core.live.api import KeepRequest, Kept
from kthink_core.store.deletion import find_deletion
from kthink_core.store.files import Layout
from kthink_core.store.kept_memory import MOST_COMPARED, MOST_ROWS, MOST_WATCHED, Comparison, Unusual, Watched
from kthink_core.ui.inference import trace_parts
from kthink_core.ui.inference.trace_parts import Reading
from kthink_core.ui.live.run_state import RunState
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.yardstick import compared


def seen(page: Page, run: RunState) -> KeepRequest:
    """At the hookpoint shown and at those watched, beside the experiment that is compared with."""
    watched = tuple(Watched(*each) for each in run.watched)[:MOST_WATCHED]
    whole, found = compared(page), list[Comparison]()
    hookpoints = dict.fromkeys([page.view.hookpoint, *(each.hookpoint for each in watched)])
    for hookpoint in [each for each in hookpoints if whole is not None and each in whole.experiment.saes]:
        if whole is not None and whole.inferences:
            with suppress(KthinkError, OSError):  # the page says what is wrong with the experiment
                found.append(_compared(page, whole, run, hookpoint))
    return KeepRequest(run=run.id or None, watched=watched, compared=tuple(found)[:MOST_COMPARED])


def is_deleted(page: Page, kept: Kept) -> bool:
    """Whether somebody has deleted what was kept since: the run may be kept anew."""
    return find_deletion(Layout(page.source.cache / kept.experiment), kept.inference) is not None


def _compared(page: Page, whole: Page, run: RunState, hookpoint: str) -> Comparison:
    there = replace(page, view=replace(page.view, hookpoint=hookpoint))
    read = Reading(there, run.trace, "", run.scope, (), lambda feature: None)
    table = trace_parts.percentiles(read, whole).head(MOST_ROWS)
    rows = table.filter(items=list(Unusual._fields)).to_dict("records")
    features = tuple(
        Unusual(
            int(row["feature"]),
            float(row["percentile"]),
            float(row["max_activation"]),
            None if pd.isna(row["stored_maximum"]) else float(row["stored_maximum"]),
            int(row["active_inferences"]),
        )
        for row in rows
    )
    name, count = whole.experiment.name, len(whole.inferences)
    return Comparison(experiment=name, inferences=count, hookpoint=hookpoint, scope=run.scope, features=features)

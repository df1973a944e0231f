"""A live run is begun: remembered for this visitor, named by the link, and shown."""

from __future__ import annotations

import time
from functools import partial

from kthink_core import queries
from kthink_core.live.api import EncodeRequest, GenerateRequest
from kthink_core.live.remembered import Remembered, new_run_id
from kthink_core.live.request import MOST_REFERENCE
from kthink_core.live.watchlist import Watch
from kthink_core.settings import HistorySettings, from_environment
from kthink_core.ui.live import history, shown_run
from kthink_core.ui.live.audience import Audience
from kthink_core.ui.live.live_run import Known, LiveRun
from kthink_core.ui.live.presence import Worker, lasting_client, still_here, visitor
from kthink_core.ui.live.run_state import RunName
from kthink_core.ui.view.page import Page


def start(page: Page, worker: Worker, request: GenerateRequest | EncodeRequest, watched: tuple[Watch, ...]) -> None:
    """Called before the page is drawn, so that the first tokens come while it is. The visit's own run before it ends.
    Raises BadValue for a setting that makes no sense."""
    last = shown_run.shown()
    if last is not None and history.is_own(page.person, last):
        last.stop()
    visit, shelf = visitor(), history.shelf()
    if not shelf.remembers:
        run = LiveRun(worker.client, request, watched, partial(still_here, visit))
        shown_run.begun(page, run)
        return
    experiment = page.experiment
    first = Remembered(
        run=new_run_id(),
        began=time.time(),
        experiment=experiment.name,
        mark=experiment.mark,
        request=request,
        watched=watched,
        reference=reference(page, request),
    )
    owner = history.owner(page.person)
    audience = Audience(still_here, from_environment(HistorySettings).away)
    audience.join(visit)
    memory = history.Memory(shelf, owner, first, experiment.config.grade)
    known = Known(RunName(first.run, owner, first.experiment, first.mark), audience, memory.hear)
    run = LiveRun(lasting_client(visit, page.person), request, watched, audience.wants, known=known)
    history.begun(run)
    shown_run.begun(page, run)


def reference(page: Page, request: GenerateRequest | EncodeRequest) -> str | None:
    """The right answer, where the prompt is a problem of the experiment that has one."""
    if not isinstance(request, GenerateRequest):
        return None
    table = page.ask(queries.inferences)
    found = table.loc[table["question"] == request.prompt, "reference"].dropna().tolist()
    return found[0] if found and len(found[0]) <= MOST_REFERENCE else None

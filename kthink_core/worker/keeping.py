"""Keeps for all visitors, one at a time; databases are merged while nobody waits to keep."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from kthink_core.config import Experiment
from kthink_core.errors import KthinkError, PromptRefused, in_words
from kthink_core.live.api import EncodeRequest, GenerateRequest, Kept
from kthink_core.store.kept_memory import KeptMemory
from kthink_core.store.kept_runs import delete_kept
from kthink_core.worker.jobs import Job
from kthink_core.worker.keep import keep, outdated, show, tidy

log = logging.getLogger("kthink.keep")


class _Wanted(Exception):
    """Somebody waits to keep, or for the worker to end."""


class Keeping:
    """For threads."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._turn, self._counting = threading.Lock(), threading.Lock()
        self.waiting = 0
        """How many want to keep something now."""
        self.closing = False
        """Whether merging is to end."""
        self._kept: dict[str, Kept] = {}
        self._committed: dict[str, Kept] = {}
        """Of jobs that may not be seen by readers yet, too."""

    def keep(
        self,
        job: Job,
        made_by: Experiment,
        author: str,
        reference: str | None = None,
        parent: Kept | None = None,
        memory: KeptMemory | None = None,
    ) -> Kept:
        """Store what a job made, once. `parent`: where that is kept which a branch began as; `memory`: what is
        remembered beside it. Raises PromptRefused where it made nothing that can be stored."""
        with self._counted(), self._turn:
            if job.id not in self._kept:
                before = self._committed.get(job.id)
                if before is None or not show(self.cache, before):
                    before = self._keep(job, made_by, author, reference, parent, memory)
                self._kept[job.id] = before
            return self._kept[job.id]

    def delete(self, kept: Kept, by: str) -> None:
        """Delete a kept run for good; its job may be kept anew. Raises as `delete_kept`."""
        with self._counted(), self._turn:
            delete_kept(self.cache, kept.experiment, kept.inference, by)
            for known in (self._kept, self._committed):
                for job in [job for job, stored in known.items() if stored == kept]:
                    del known[job]

    def tidy(self, experiment: str) -> None:
        """Merge what was kept in an experiment. Who wants to keep something ends it; the next keep is followed by
        another."""
        try:
            with self._turn:
                tidy(self.cache, experiment, self._give_way)
        except _Wanted:
            pass
        except (KthinkError, OSError) as error:  # nothing is lost: readers see all, in more databases
            log.warning("the databases of '%s' are not merged: %s", experiment, in_words(error))

    def renew(self, is_ending: Callable[[], bool]) -> None:
        """Bring up to date what an older version left, one experiment after another, until the worker ends."""
        for experiment in outdated(self.cache):
            if is_ending():
                return
            log.info("'%s' is of an older version: its databases are built anew", experiment)
            self.tidy(experiment)

    def _keep(
        self,
        job: Job,
        made_by: Experiment,
        author: str,
        reference: str | None,
        parent: Kept | None,
        memory: KeptMemory | None,
    ) -> Kept:
        inference = job.inference  # the engine lets it go at any time
        request = job.request
        if inference is None or not isinstance(request, GenerateRequest | EncodeRequest):
            raise PromptRefused("only a generation, or a pasted trace, that is done at all hookpoints can be kept")

        if parent is not None:
            inference = replace(inference, parent_experiment=parent.experiment, parent_inference=parent.inference)

        def committed(kept: Kept) -> None:
            self._committed[job.id] = kept

        return keep(self.cache, made_by, inference, request, author, committed, reference, memory)

    def close(self) -> None:
        """End the merging: nobody waits for it."""
        self.closing = True

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self.waiting += 1
        try:
            yield
        finally:
            with self._counting:
                self.waiting -= 1

    def _give_way(self) -> None:
        if self.waiting or self.closing:
            raise _Wanted

"""The one writer of an experiment: commits inferences, builds databases, survives being killed at any moment.

What is committed outlasts any kill; readers see it once it is in a database. What has come is built whenever the last
build is longer ago than `PATIENCE` times what it took: building takes a tenth of the time at most, and readers are
seconds behind. Once the writer has ended they see all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
from numpy import int32
from numpy.typing import NDArray

from kthink_core.config import Experiment, check_name
from kthink_core.errors import CorruptFile, ForeignFile, KthinkError
from kthink_core.identity import check_same
from kthink_core.records import Directions, Inference
from kthink_core.store.active_features import ActiveFeatures
from kthink_core.store.built import TYPICAL, Built, mergeable
from kthink_core.store.database import no_pause
from kthink_core.store.deletion import Deletions
from kthink_core.store.directions import write_directions
from kthink_core.store.fidelity_files import FidelityFiles
from kthink_core.store.files import Layout, make_journal, set_aside, sweep
from kthink_core.store.journal import misfit, read_segment, write_segment
from kthink_core.store.lock import writer_lock
from kthink_core.store.manifest import write_experiment, write_manifest
from kthink_core.store.recovery import inferences_anywhere, outcome_of, recovered
from kthink_core.store.repair import Tell, sound_directions, sound_manifest, stored_experiment, warn

PATIENCE = 10.0
"""Readers wait for what is committed by this many times what the last build took."""

MOST_INCREMENTS = 64
"""So many are merged even where merging is put off: else they pile up where nobody ever tidies."""


@contextmanager
def open_writer(
    cache: Path, experiment: Experiment, tell: Tell = warn, *, verify: bool = True, merge: bool = True
) -> Iterator[Writer]:
    """Opens an experiment for writing, making or resuming it.

    An experiment stored with an equal configuration is resumed and keeps its provenance. Segment files that a killed
    writer committed are found. What is damaged is set aside and, where another file has it sound, taken from there;
    `tell` hears of it. With `verify` the whole journal is read at once, else each file when a database is built of it.
    Without `merge` what is committed goes into increments of its own, until `tidy` merges them or they are many. At the
    end readers see all that was committed; where an error ends the block and the disk is full besides, the next writer
    sees to that.
    Raises ExperimentBusy, ExperimentMismatch, BadValue (a name that is no plain folder name), ForeignFile (nothing is
    changed then), BadFile (a journal that is a link), CorruptFile, StoreUnavailable, SchemaTooNew, DiskFull, OSError.
    """
    check_name(experiment.name)
    layout = Layout(cache / experiment.name)
    make_journal(layout)
    with writer_lock(layout):
        stored = stored_experiment(cache, experiment.name, tell)
        if stored is None:
            write_experiment(layout, experiment)
        else:
            check_same(stored, experiment)
        writer = Writer(layout, stored or experiment, tell, merge=merge)
        writer.reconcile(verify=verify)
        try:
            yield writer
        except BaseException:
            with suppress(KthinkError, OSError, duckdb.Error):  # what ended it is what is told
                writer.publish()
            raise
        writer.end()


class Writer:
    """Appends inferences to one experiment. Made by `open_writer`; for one thread at a time."""

    def __init__(self, layout: Layout, experiment: Experiment, tell: Tell, *, merge: bool) -> None:
        """Sweeps, and finds what is stored; the lock must be held."""
        self.experiment = experiment
        """As stored: its provenance is that of the first run."""
        self._layout, self._tell, self._merge = layout, tell, merge
        for folder in layout.swept:
            sweep(folder)
        self._active = ActiveFeatures(experiment.saes)
        self._deletions = Deletions(layout)
        self._journal = layout.segments().keys() - self._deletions.inferences
        self._lost = set[int]()
        """Kept inferences of which nothing sound is left."""
        self._directions: str | None = None
        self.fidelity = FidelityFiles(layout, self.experiment, tell)
        """What the SAEs' reconstruction costs the model in each inference. Readers see it once `build` has."""
        self._built = Built(layout, self.experiment, self.fidelity)
        self._due = time.monotonic() + PATIENCE * TYPICAL
        """When, on the monotonic clock, readers are to see what is committed."""

    @property
    def committed(self) -> frozenset[int]:
        """The inferences of the journal: none of them needs computing."""
        return frozenset(self._journal)

    @property
    def next_inference(self) -> int:
        """The smallest number that no inference ever had, be it one that is lost."""
        deleted, aside = self._deletions.inferences, self._layout.set_aside()
        return 1 + max(*self._journal, *self._lost, *deleted, *aside, -1, -1)

    @property
    def has_directions(self) -> bool:
        """Whether the directions of the experiment are stored."""
        return self._directions is not None

    @property
    def active_features(self) -> dict[str, NDArray[int32]]:
        """Those of all verified and appended inferences, ascending, by hookpoint."""
        return self._active.numbers()

    @property
    def _complete(self) -> bool:
        return len(self._journal) == self.experiment.inferences and not self.experiment.open_ended

    @property
    def _pending(self) -> set[int]:
        """The inferences that readers do not see yet."""
        return self._journal - self._built.contents

    @property
    def awaits_last_build(self) -> bool:
        """Whether so much is missing in the main database of a complete experiment that only its last build, which is
        asked for, once there are directions, shows it."""
        return self._complete and self._built.is_due(len(self._pending))

    def reconcile(self, *, verify: bool) -> None:
        """Finds what there is, mends what can be mended, and makes readers see it.

        With `verify`, or where the manifest is lost, every segment file is read first. One that is damaged is set
        aside; its inference is taken from a database, or it is missing from now on.
        """
        manifest = sound_manifest(self._layout, self.experiment)
        self._lost = set(manifest.lost) if manifest else set()
        listed = set(self._journal)
        if verify or manifest is None:
            for inference in sorted(listed):
                found = self._read(inference)
                if found is not None:
                    self._active.count(found)
                    self.fidelity.of(found)
        self._directions = sound_directions(self._layout, self.experiment, self._tell)
        if manifest:
            stored = manifest.in_databases() | manifest.unbuilt()
        else:
            stored = inferences_anywhere(self._layout, self.experiment)
        for inference in sorted(stored - listed - self._lost - self._deletions.inferences):
            self._recover(inference, f"the segment file of inference {inference} was missing")
        if manifest:
            self._built.find(manifest, self._tell)
        self._lost -= self._journal | self._deletions.inferences  # somebody had a copy
        self._purge()
        if not self.awaits_last_build:  # until then readers keep what they have
            self.publish()

    def append(self, inference: Inference) -> None:
        """Commits an inference: when this returns, it outlasts any kill. Readers see it as `catch_up` says.

        Raises DiskFull (what was committed is kept), ValueError where the inference does not belong to the experiment
        or is committed already.
        """
        if inference.inference in self._journal:
            raise ValueError(f"inference {inference.inference} is committed already")
        if reason := misfit(self.experiment, inference):
            raise ValueError(reason)
        self._commit(inference)
        self.catch_up()

    def delete(self, inference: int, by: str) -> None:
        """Deletes one that is kept: no reader sees it when this returns. `by`: who does it. Raises as `build`."""
        assert self.experiment.open_ended and inference in self._journal
        self._deletions.add(inference, by)
        self._journal.discard(inference)
        self._purge()

    @property
    def is_behind(self) -> bool:
        """Whether it is time for `catch_up`. May be asked from any thread."""
        return time.monotonic() >= self._due and bool(self._pending) and not self.awaits_last_build

    def catch_up(self) -> None:
        """Makes readers see what is committed, unless the last time was just now. To be called now and then, whether or
        not there is more; it mostly does nothing. Raises as `build`."""
        if self.is_behind:
            self.publish()

    def publish(self) -> None:
        """Makes readers see all that is committed. Raises as `build`."""
        if pending := self._pending:
            started = time.monotonic()
            merge = self._merge or len(self._built.increments) >= MOST_INCREMENTS
            merge = merge and not self._complete  # else the last build is near
            if self._built.is_due(len(self._journal - self._built.in_main if merge else pending)):
                self._built.build(self._journal, self._read, self._directions is not None, no_pause)
            else:
                first = mergeable(self._built.increments, len(pending)) if merge else len(self._built.increments)
                self._built.add(pending, self._read, first)
            self._due = time.monotonic() + PATIENCE * (time.monotonic() - started)
        self._show()

    def tidy(self, pause: Callable[[], None]) -> None:
        """Merges increments, and builds the main database anew where they have grown large. Between the parts of the
        work, which may take long, it calls `pause`; what that raises ends it, and nothing has changed. Raises as
        `build`."""
        increments = self._built.increments
        if increments:
            first = mergeable(increments[:-1], increments[-1].count)
            if first < len(increments) - 1:
                self._built.add([], self._read, first, pause)
                self._show()
        if self._built.is_due(len(self._journal - self._built.in_main)):
            self._built.build(self._journal, self._read, self._directions is not None, pause)
            self._show()

    def end(self) -> None:
        """Makes readers see all that is committed, and leaves no file that they need no more. Raises as `build`."""
        self.publish()
        self._built.remove_replaced_increments()

    def put_directions(self, directions: Mapping[str, Directions], texts: Mapping[int, str]) -> None:
        """Stores directions by hookpoint and the texts of their tokens, for the next database. Raises DiskFull."""
        self._directions = write_directions(self._layout.directions, directions, texts, self.experiment.mark)

    def unmeasured(self) -> Iterator[Inference]:
        """Committed inferences whose fidelity is not stored, in order; verified and appended ones are known."""
        for index in sorted(self._journal - self.fidelity.known):
            found = self._read(index)
            if found is not None:
                yield found

    def build(self) -> Path:
        """Builds a main database of all committed inferences, directions and fidelity, in place of all others, and
        returns its path.

        Nothing is built where the current one has them all. Raises DiskFull, SchemaTooNew, ForeignFile.
        """
        main = self._built.main
        lacking = main is None or (self._journal - self._built.in_main) or self.fidelity.known - main.measured()
        if main is None or lacking or main.directions != self._directions:
            main = self._built.build(self._journal, self._read, self._directions is not None, no_pause)
            self._show()
        return self._built.path(main)

    def _purge(self) -> None:
        """Makes an end of what is deleted; its files go last, so that one that is killed before is followed up."""
        if self._built.contents & (deleted := self._deletions.inferences):
            self._built.purge(deleted, self._journal, self._read, self._directions is not None)
        if self._deletions.left():
            self.publish()  # whatever is pending: no other database is needed then
            self._show(at_once=True)
            self._deletions.clear()

    def _commit(self, inference: Inference) -> None:
        write_segment(self._layout.folder, inference, self.experiment.mark)
        self._journal.add(inference.inference)
        self._active.count(inference)

    def _read(self, inference: int) -> Inference | None:
        """An inference of the journal, in the last resort from a database; None where it is lost."""
        if inference in self._deletions.inferences:
            return None
        path = self._layout.segment(inference)
        try:
            return read_segment(path, self.experiment)
        except ForeignFile:
            raise  # whether it or experiment.json was replaced cannot be told: nothing of either is touched
        except CorruptFile:
            what = f"{path.name} was damaged and is kept as {set_aside(path).name}"
        except FileNotFoundError:
            what = f"{path.name} has gone"
        self._journal.discard(inference)
        return self._recover(inference, what)

    def _recover(self, inference: int, what: str) -> Inference | None:
        """Takes an inference that the journal lacks from wherever it is sound, and tells what came of it."""
        found = recovered(self._layout, self.experiment, inference)
        self._tell(f"{what}: {outcome_of(self.experiment, inference, is_found=found is not None)}")
        if found is not None:
            self._commit(found)
        elif self.experiment.open_ended:
            self._lost.add(inference)
        return found

    def _show(self, *, at_once: bool = False) -> None:
        """Lets the manifest name the current databases; those that they replaced go in time, or at once."""
        found = sound_manifest(self._layout, self.experiment)
        now = (self._built.main, self._built.increments, (), self._lost)
        if found is None or (found.database, found.increments, found.segments, set(found.lost)) != now:
            write_manifest(self._layout, self.experiment.mark, self._built.main, self._built.increments, self._lost)
        if not self._pending and (self._journal or self._deletions.inferences):
            self._built.remove_old(is_whole=not (self._lost or self._layout.set_aside()), at_once=at_once)

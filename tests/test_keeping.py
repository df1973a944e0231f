"""Keeping, and the merging that follows it and gives way to who wants to keep."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from store_samples import as_schema_2, full_disk, rewrite, sample_experiment, sample_inferences, write_sample

from kthink_core.errors import DiskFull, SchemaTooOld
from kthink_core.live.api import GenerateRequest
from kthink_core.live.client import WorkerClient
from kthink_core.precompute.pipeline import Plan
from kthink_core.store.files import Layout
from kthink_core.store.lock import writer_lock
from kthink_core.store.manifest import read_manifest
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer
from kthink_core.worker.jobs import Job
from kthink_core.worker.keep import LIVE, outdated
from kthink_core.worker.keeping import Keeping
from tests import worker_process
from tests.worker_process import request, working

MADE_BY = sample_experiment()
DRAWN = sample_inferences(MADE_BY)


def done(index: int) -> Job:
    """A job that has generated something."""
    job = Job(GenerateRequest(prompt="Two and two?"), (1, 2), lambda event: None)
    job.inference = replace(DRAWN[index], interventions=(), receipts=())  # steered ones are kept elsewhere
    return job


def sizes(cache: Path) -> list[int]:
    return [entry.count for entry in read_manifest(Layout(cache / LIVE))[0].databases]


def test_what_is_kept_is_seen_at_once_and_merged_afterwards(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path)
    for index in range(5):
        assert keeping.keep(done(index), MADE_BY, "Ada").inference == index
        with open_reader(tmp_path, LIVE) as reader:
            assert reader.inferences == index + 1
    assert sizes(tmp_path) == [1] * 5
    keeping.tidy(LIVE)
    assert sizes(tmp_path) == [5]


class Halfway(Keeping):
    """Merges up to where it could give way, and goes on once somebody waits, or the worker ends."""

    def __init__(self, cache: Path) -> None:
        super().__init__(cache)
        self.reached, self.gave_way = threading.Event(), threading.Event()

    def _give_way(self) -> None:
        self.reached.set()
        end = time.monotonic() + 30
        while not (self.waiting or self.closing) and time.monotonic() < end:
            time.sleep(0.001)
        try:
            super()._give_way()
        except BaseException:
            self.gave_way.set()
            raise


def test_who_keeps_does_not_wait_for_the_merging(tmp_path: Path) -> None:
    keeping = Halfway(tmp_path)
    for index in range(4):
        keeping.keep(done(index), MADE_BY, "Ada")
    merging = threading.Thread(target=keeping.tidy, args=[LIVE])
    merging.start()
    assert keeping.reached.wait(60)
    assert keeping.keep(done(4), MADE_BY, "Ada").inference == 4
    merging.join()
    assert sizes(tmp_path) == [1] * 5 and keeping.waiting == 0


def test_a_worker_that_ends_does_not_wait_for_the_merging(
    tiny_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[Halfway]()

    def halfway(cache: Path) -> Keeping:
        made.append(Halfway(cache))
        return made[0]

    monkeypatch.setattr(worker_process, "Keeping", halfway)
    with working(tiny_plan, cache=tmp_path) as (settings, _), WorkerClient(settings, "somebody") as client:
        for _ in range(2):
            events = list(client.generate(request(hookpoints=tuple(tiny_plan.saes.by_hookpoint))))
            client.keep(getattr(events[-1], "job"))  # noqa: B009
        assert made[0].reached.wait(60)
    assert made[0].gave_way.wait(10)
    assert sizes(tmp_path) == [1, 1]


@pytest.mark.parametrize("synced", [0, 1])
def test_what_is_stored_but_not_shown_is_not_stored_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: int
) -> None:
    """The disk is full once the segment has its name: before its folder is synced, or after."""
    keeping = Keeping(tmp_path)
    keeping.keep(done(0), MADE_BY, "Ada")
    segment, sync, after = Layout(tmp_path / LIVE).segment(1), os.fsync, list[int]()

    def fill(descriptor: int) -> None:
        if segment.exists():
            after.append(descriptor)
        if len(after) > synced:
            full_disk(descriptor)
        sync(descriptor)

    job = done(1)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fill)
        for _ in range(2):
            with pytest.raises(DiskFull):
                keeping.keep(job, MADE_BY, "Ada")
    with open_reader(tmp_path, LIVE) as reader:
        assert reader.inferences == 1
    job.inference = None  # the engine lets it go
    assert keeping.keep(job, MADE_BY, "Ada") == keeping.keep(job, MADE_BY, "Ada")
    with open_reader(tmp_path, LIVE) as reader:
        assert reader.inference_ids == (0, 1)


def test_what_was_stored_but_is_lost_is_stored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = Keeping(tmp_path)
    keeping.keep(done(0), MADE_BY, "Ada")
    segment, sync = Layout(tmp_path / LIVE).segment(1), os.fsync
    job = done(1)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda descriptor: (full_disk if segment.exists() else sync)(descriptor))
        with pytest.raises(DiskFull):
            keeping.keep(job, MADE_BY, "Ada")
    segment.unlink()
    kept = keeping.keep(job, MADE_BY, "Ada")
    with open_reader(tmp_path, LIVE) as reader:
        assert reader.inference_ids == (0, kept.inference)


def test_what_cannot_be_merged_now_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeping = Keeping(tmp_path)
    for index in range(2):
        keeping.keep(done(index), MADE_BY, "Ada")
    experiment = MADE_BY.model_copy(
        update={
            "name": LIVE,
            "config": MADE_BY.config.model_copy(update={"problems": LIVE, "limit": None, "seed": 0}),
            "inferences": 0,
            "open_ended": True,
        }
    )
    with open_writer(tmp_path, experiment):
        keeping.tidy(LIVE)
    assert "is being written by" in caplog.text and sizes(tmp_path) == [1, 1]
    keeping.tidy("never kept")


def test_what_an_older_version_kept_is_brought_up_to_date(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that cannot be is told, and keeps none of the others from it."""
    names = [LIVE, "live-0", "live-1", "live-2"]
    for name in names:
        kept = MADE_BY.model_copy(update={"name": name, "inferences": 0, "open_ended": True})
        write_sample(tmp_path, kept, DRAWN[:3], 3)
        if name == "live-1":
            Layout(tmp_path / name).database(1).unlink()
            segments = [f"{inference:06d}.parquet" for inference in range(3)]
            rewrite(tmp_path / name / "manifest.json", schema_version=2, database=None, segments=segments)
        else:
            as_schema_2(tmp_path / name)
        with pytest.raises(SchemaTooOld, match=r"has store schema 2, this kthink reads \d; start the worker \(`up`\)"):
            open_reader(tmp_path, name)
    with writer_lock(Layout(tmp_path / "live-0")):
        Keeping(tmp_path).renew(lambda: False)
    assert "'live-0' are not merged: " in caplog.text
    for name in names:
        if name != "live-0":
            with open_reader(tmp_path, name) as reader:
                assert reader.inference_ids == (0, 1, 2) and reader.warnings == ()
    Keeping(tmp_path).renew(lambda: True)
    assert outdated(tmp_path) == ["live-0"], "the worker was ending"
    Keeping(tmp_path).renew(lambda: False)
    assert outdated(tmp_path) == []

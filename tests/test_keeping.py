"""Keeping, and the merging that follows it and gives way to who wants to keep."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from store_samples import sample_experiment, sample_inferences

from kthink_core.live.api import GenerateRequest
from kthink_core.store.files import Layout
from kthink_core.store.manifest import read_manifest
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer
from kthink_core.worker.jobs import Job
from kthink_core.worker.keep import LIVE
from kthink_core.worker.keeping import Keeping

MADE_BY = sample_experiment()
DRAWN = sample_inferences(MADE_BY)


def done(index: int) -> Job:
    """A job that has generated something."""
    job = Job(GenerateRequest(prompt="Two and two?"), (1, 2), lambda event: None)
    job.inference = DRAWN[index]
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
    """Merges up to where it could give way, and goes on once somebody waits."""

    def __init__(self, cache: Path) -> None:
        super().__init__(cache)
        self.reached = threading.Event()

    def _give_way(self) -> None:
        self.reached.set()
        while not self.waiting:
            time.sleep(0.001)
        super()._give_way()


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

"""An experiment of the bundle's SAEs as another version brought them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kthink_core.errors import ExperimentBusy, ExperimentMismatch
from kthink_core.precompute.bundled import is_outlived, make_way
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.presets import DEMO_RESIDUAL, preset
from kthink_core.store.files import BACKUP, Layout
from kthink_core.store.lock import writer_lock
from kthink_core.store.manifest import read_experiment, write_experiment


class _Begun(Exception):
    """The experiment has been begun: what follows is not of interest here."""


class _Hears(Silent):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def start(self, total: int, done: int) -> None:
        raise _Begun

    def notice(self, text: str) -> None:
        self.notices.append(text)


@pytest.fixture(scope="module")
def ready() -> Plan:
    return plan(DEMO_RESIDUAL, preset(DEMO_RESIDUAL), "cpu", Silent())


@pytest.fixture
def older(ready: Plan, tmp_path: Path) -> Iterator[Plan]:
    """The preset as begun with other SAEs, and as begun under a name of somebody's own."""
    revisions = ready.experiment.revisions.model_copy(update={"sae": "sha256:0123456789abcdef", "saes": {}})
    for name in (DEMO_RESIDUAL, "mine"):
        layout = Layout(tmp_path / name)
        layout.folder.mkdir()
        write_experiment(layout, ready.experiment.model_copy(update={"name": name, "revisions": revisions}))
        (layout.folder / "studies").mkdir()
    yield ready


def test_what_other_saes_made_is_kept_and_made_anew(older: Plan, tmp_path: Path) -> None:
    config = older.experiment.config
    assert is_outlived(tmp_path, DEMO_RESIDUAL, config)
    hears = _Hears()
    with pytest.raises(_Begun):
        precompute(older, tmp_path, 8, hears)
    [backup] = tmp_path.glob(f"{BACKUP}-*")
    before, now = read_experiment(backup, DEMO_RESIDUAL), read_experiment(tmp_path, DEMO_RESIDUAL)
    assert before is not None and now is not None
    assert (before.revisions.sae, now.revisions) == ("sha256:0123456789abcdef", older.experiment.revisions)
    assert (backup / DEMO_RESIDUAL / "studies").exists() and not (tmp_path / DEMO_RESIDUAL / "studies").exists()
    [told] = hears.notices
    assert DEMO_RESIDUAL in told and str(backup) in told
    assert not is_outlived(tmp_path, DEMO_RESIDUAL, config)
    with pytest.raises(_Begun):
        precompute(older, tmp_path, 8, hears)
    assert hears.notices == [told] and list(tmp_path.glob(f"{BACKUP}-*")) == [backup]


def test_what_has_another_name_is_refused(older: Plan, tmp_path: Path) -> None:
    mine = older._replace(experiment=older.experiment.model_copy(update={"name": "mine"}))
    assert not is_outlived(tmp_path, "mine", mine.experiment.config)
    with pytest.raises(ExperimentMismatch, match="sae_revision"):
        precompute(mine, tmp_path, 8, Silent())
    assert not list(tmp_path.glob(f"{BACKUP}-*"))


def test_nothing_is_moved_while_another_writes(older: Plan, tmp_path: Path) -> None:
    with writer_lock(Layout(tmp_path / DEMO_RESIDUAL)), pytest.raises(ExperimentBusy):
        make_way(tmp_path, older.experiment, pytest.fail)
    assert (tmp_path / DEMO_RESIDUAL).exists()

"""Twenty sessions at once: every answer through the shared cache is that of a direct query."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.load import at_once
from kthink_core.store.reader import open_reader
from tests.app_samples import sample_experiment, write_experiment


@pytest.mark.parametrize(("committed", "sessions"), [(range(6), 20), (range(3), 5)])
def test_sessions_get_their_own_rows(tmp_path: Path, committed: range, sessions: int) -> None:
    write_experiment(tmp_path, sample_experiment("demo", 6), committed=committed)
    with open_reader(tmp_path, "demo") as reader:
        (told,) = at_once(tmp_path, reader, sessions, 3)
    assert f"{3 * sessions} clicks, no wrong row" in told

"""Whatever happens to an experiment, in whatever order: readers see what was committed once a writer has ended.

Killed means that the files are as a writer left them in the middle of its work: those of a copy that was made then.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from store_samples import HOOKPOINTS, sample_experiment, sample_inferences

from kthink_core import queries
from kthink_core.errors import CorruptFile
from kthink_core.store import built
from kthink_core.store import writer as module
from kthink_core.store.files import TEMPORARY, Layout
from kthink_core.store.manifest import read_manifest
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.writer import Writer, open_writer

EXPERIMENT = sample_experiment(inferences=14)
DRAWN = sample_inferences(EXPERIMENT)
NAME = EXPERIMENT.name

work = st.sampled_from(["append", "append", "append", "publish", "build"])
sessions = st.tuples(
    st.lists(work, max_size=6),
    st.booleans(),  # whether each commit is published at once
    st.booleans(),  # whether the writer merges; else it tidies at its end
    st.none() | st.integers(0, 30),  # after how many replaced files it is killed
    st.sampled_from(["nothing", "nothing", "cut", "flip", "remove", "manifest"]),  # what befalls a file afterwards
    st.integers(0, 100),  # which
)


class _Killed(BaseException):
    """The process is no more."""


@settings(
    max_examples=15,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@example(
    steps=[
        (["append", "build", "append"], True, True, None, "remove", 0),
        (["append", "build", "build", "append"], True, False, 1, "flip", 81),
    ]
)
@given(steps=st.lists(sessions, min_size=1, max_size=4))
def test_readers_see_what_was_committed(
    steps: list[tuple[list[str], bool, bool, int | None, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("sequence")
    committed, hurt_before = set[int](), False
    for actions, at_once, merge, killed_after, harm, which in steps:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(built, "MINIMUM_UNMERGED", 5)
            patch.setattr(module, "PATIENCE", 0.0 if at_once else math.inf)
            whole = run(cache, committed, actions, merge, killed_after, patch)
        if whole:
            check(cache, frozenset(committed))
        elif Layout(cache / NAME).manifest.exists():
            try:
                with open_reader(cache, NAME) as reader:
                    assert set(reader.inference_ids) <= committed, "whole ones only"
                    check_answers(reader)
            except CorruptFile:
                assert hurt_before, "what was hurt, and not mended before the kill, is told; nothing else is damaged"
        hurt(cache, harm, which)
        hurt_before = harm != "nothing"
    with open_writer(cache, EXPERIMENT, lambda line: None) as writer:
        assert writer.committed == committed
    check(cache, frozenset(committed))
    assert not list(cache.rglob(f"{TEMPORARY}*"))
    shutil.rmtree(cache)


def run(
    cache: Path,
    committed: set[int],
    actions: list[str],
    merge: bool,
    killed_after: int | None,
    patch: pytest.MonkeyPatch,
) -> bool:
    """One writer's life; whether it came to its own end."""
    with (
        killing(cache, killed_after, patch) as alive,
        open_writer(cache, EXPERIMENT, lambda line: None, merge=merge) as writer,
    ):
        assert writer.committed == committed, "nothing is lost, and nothing computed twice"
        for action in actions:
            act(writer, action, committed)
            shown = read_manifest(Layout(cache / NAME))[0].in_databases()
            assert shown <= committed and (action == "append" or shown == committed)
        if not merge:
            writer.publish()
            writer.tidy(lambda: None)
    there = set(Layout(cache / NAME).segments())
    assert committed <= there and len(there - committed) <= (not alive()), "one more, where its file was the last"
    committed |= there
    return alive()


def act(writer: Writer, action: str, committed: set[int]) -> None:
    if action == "append" and len(committed) < len(DRAWN):
        writer.append(DRAWN[min(set(range(len(DRAWN))) - committed)])
        committed |= writer.committed
    elif action == "publish":
        writer.publish()
    elif action == "build":
        writer.build()


@contextmanager
def killing(cache: Path, after: int | None, patch: pytest.MonkeyPatch) -> Iterator[Callable[[], bool]]:
    """Puts the cache back to what it was before the file number `after` was renamed, and ends the block there. Yields
    whether it came to its end."""
    snapshot = cache.with_name(f"{cache.name}-then")
    renamed, replace = 0, Path.replace

    def counted(path: Path, target: Path) -> Path:
        nonlocal renamed
        renamed += 1
        if renamed - 1 == after:
            shutil.copytree(cache, snapshot)
            raise _Killed
        return replace(path, target)

    patch.setattr(Path, "replace", counted)
    try:
        yield lambda: not snapshot_taken
    except _Killed:
        pass
    finally:
        patch.setattr(Path, "replace", replace)
        snapshot_taken = snapshot.exists()
        if snapshot_taken:
            shutil.rmtree(cache)
            snapshot.rename(cache)


def hurt(cache: Path, harm: str, which: int) -> None:
    """Of one of the current databases that are there, or the manifest."""
    layout = Layout(cache / NAME)
    if harm == "nothing" or not layout.manifest.exists():
        return
    current = [layout.folder / entry.file for entry in read_manifest(layout)[0].databases]
    paths = [layout.manifest] if harm == "manifest" else [path for path in current if path.exists()]
    if not paths:
        return
    path = paths[which % len(paths)]
    content = path.read_bytes()
    if harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "flip":
        place = which * len(content) // 101
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    else:
        path.unlink()


def check(cache: Path, committed: frozenset[int]) -> None:
    """All of it is seen, in few databases, and the answers are those of one database with the same inferences."""
    with open_reader(cache, NAME) as reader:
        assert frozenset(reader.inference_ids) == committed and reader.warnings == ()
        check_answers(reader)
    manifest, _ = read_manifest(Layout(cache / NAME))
    assert manifest.in_databases() == committed


def check_answers(reader: Reader) -> None:
    found = queries.inferences(reader)
    assert list(found["inference"]) == list(reader.inference_ids)
    expected = {
        index: sum(int((encoding.activations > 0).sum()) for encoding in DRAWN[index].encodings.values())
        for index in reader.inference_ids
    }
    rows = reader.query("SELECT inference, count(*) AS number FROM latents GROUP BY inference")
    assert dict(zip(rows["inference"], rows["number"], strict=True)) == {k: v for k, v in expected.items() if v}
    sums = reader.query("SELECT coalesce(sum(positions), 0) AS number FROM feature_stats WHERE scope = 'all'")
    assert sums["number"].tolist() == [sum(expected.values())]
    for hookpoint in HOOKPOINTS if expected else ():
        assert len(queries.feature_counts(reader, hookpoint)) > 0

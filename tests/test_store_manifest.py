"""What a manifest says of its databases, and what it is not believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from kthink_core.config import JOURNAL_SCHEMA, MOST_INFERENCES
from kthink_core.errors import CorruptFile, ForeignFile, LostFile, SchemaTooNew
from kthink_core.store.files import Layout
from kthink_core.store.manifest import (
    DatabaseEntry,
    Manifest,
    committed_count,
    manifest_version,
    ranges,
    read_manifest,
    write_manifest,
)
from tests.store_samples import rewrite

MAIN, NEXT = "latents-0001.duckdb", "latents-0002.duckdb"


def entry(*given: tuple[int, int], file: str = MAIN) -> DatabaseEntry:
    return DatabaseEntry(file=file, inferences=given)


@given(some.frozensets(some.integers(0, 30)))
def test_ranges_hold_the_numbers_that_they_were_made_of(numbers: frozenset[int]) -> None:
    made = entry(*ranges(numbers))
    assert made.contents() == numbers and made.count == len(numbers)
    assert {number for number in range(-1, 33) if number in made} == numbers
    assert sum(number - 1 not in numbers for number in numbers) == len(made.inferences), "none touches the next"


def test_ranges_ascend_and_lie_apart() -> None:
    assert entry((0, 2), (3, 4)).contents() == frozenset(range(5)), "they may touch"
    for wrong in [((2, 1),), ((0, 2), (2, 3)), ((3, 4), (0, 1)), ((-1, 1),)]:
        with pytest.raises(ValidationError, match="ranges of first and last"):
            entry(*wrong)
    assert entry((0, 0), (5, MOST_INFERENCES + 3)).count == MOST_INFERENCES
    with pytest.raises(ValidationError, match="more than"):
        entry((0, 0), (5, MOST_INFERENCES + 4))


def test_no_inference_is_in_two_databases_and_none_is_named_twice() -> None:
    both = Manifest(database=entry((4, 6)), increments=(entry((0, 3), file=NEXT),), segments=("000007.parquet",))
    assert [one.file for one in both.databases] == [MAIN, NEXT]
    assert both.in_databases() == frozenset(range(7)) and both.unbuilt() == {7}
    for wrong in [
        {"database": entry((0, 3)), "increments": (entry((3, 4), file=NEXT),), "segments": ()},
        {"increments": (entry((0, 3)), entry((4, 5))), "segments": ()},
        {"segments": ("000007.parquet", "000007.parquet")},
        {"segments": (), "lost": (-1,)},
    ]:
        with pytest.raises(ValidationError):
            Manifest.model_validate(wrong)


def test_it_is_read_as_written_and_another_one_has_another_version(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "one")
    layout.folder.mkdir()
    nothing, empty = read_manifest(layout)
    assert nothing.databases == () and manifest_version(layout) == empty
    versions = {empty}
    for database, lost in ((None, ()), (entry((0, 2)), ()), (entry((0, 2)), (9, 5))):
        write_manifest(layout, "mark", database, [entry((3, 3), file=NEXT)], lost)
        found, version = read_manifest(layout, "mark")
        assert (found.database, found.increments) == (database, (entry((3, 3), file=NEXT),))
        assert found.lost == tuple(sorted(lost)) and found.experiment == "mark" and found.written
        assert manifest_version(layout) == version == read_manifest(layout)[1]
        versions.add(version)
    assert len(versions) == 4
    with pytest.raises(ForeignFile):
        read_manifest(layout, "another")
    rewrite(layout.manifest, experiment=None)
    assert read_manifest(layout, "another")[0].database == entry((0, 2)), "an older one has no mark"
    rewrite(layout.manifest, schema_version=JOURNAL_SCHEMA + 1)
    with pytest.raises(SchemaTooNew):
        read_manifest(layout)
    layout.manifest.write_text("{}")
    with pytest.raises(CorruptFile, match="schema_version"):
        read_manifest(layout)


def test_what_has_gone_does_not_count(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "one")
    layout.folder.mkdir()
    assert committed_count(tmp_path, "one") == 0
    write_manifest(layout, "mark", entry((0, 2)), [entry((3, 3), file=NEXT)], ())
    assert committed_count(tmp_path, "one") == 0
    (layout.folder / MAIN).touch()
    assert committed_count(tmp_path, "one") == 3
    rewrite(layout.manifest, segments=["000007.parquet"])
    assert committed_count(tmp_path, "one") == 4


def test_a_journal_without_a_manifest_has_lost_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "one")
    (layout.folder / "journal").mkdir(parents=True)
    read_manifest(layout)
    (layout.folder / "journal" / "000000.parquet").touch()
    with pytest.raises(LostFile):
        read_manifest(layout)
    assert manifest_version(layout) == "empty"

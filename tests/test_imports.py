"""What was exported is, imported elsewhere, the same to every query; an import is whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from store_samples import (
    HOOKPOINTS,
    as_schema_2,
    as_schema_3,
    rewrite,
    same,
    sample_experiment,
    sample_fidelity,
    sample_inferences,
    write_sample,
)
from sweep_samples import made_up

from kthink_core.cli import main
from kthink_core.config import Experiment
from kthink_core.errors import BadValue, ExperimentBusy, ImportedExperiment
from kthink_core.listing import query_table
from kthink_core.notes import FILE, FeatureSubject, InferenceSubject, Notebook, SpanSubject, of_feature
from kthink_core.records import Directions
from kthink_core.store import damage
from kthink_core.store.causal_studies import ABLATION, AblationQuestion, AblationStudy, FeatureEffect, Traced
from kthink_core.store.completion import check_not_imported
from kthink_core.store.export import export
from kthink_core.store.files import Layout
from kthink_core.store.intervention_rows import INTERVENTION, OLDER_INTERVENTION
from kthink_core.store.manifest import read_experiment
from kthink_core.store.reader import list_experiments, open_reader
from kthink_core.store.studies import list_studies, made_with, save_study, trace_digest
from kthink_core.store.sweeps import Sweep
from kthink_core.store.writer import open_writer
from kthink_core.travel.carried_notes import add_table, notes_of
from kthink_core.travel.imports import import_experiment
from kthink_core.travel.migration import migrate

EXPERIMENT = sample_experiment()
DRAWN = sample_inferences(EXPERIMENT)
NAME = EXPERIMENT.name

TABLES = (
    "inferences", "interventions", "tokens", "latents", "token_latents", "quality", "fidelity", "vector_sums",
    "feature_stats", "feature_inferences", "relevant_features", "feature_tokens", "segment_sums", "neighbours",
    "promoted_tokens", "saes",
)  # fmt: skip


def directions(experiment: Experiment) -> dict[str, Directions]:
    random = np.random.default_rng(3)
    features = np.arange(12, dtype=np.int32)
    ids = np.tile(np.arange(4, dtype=np.int32), (12, 1))
    values = [random.random((12, 4), np.float32) for _ in range(3)]
    return {
        hookpoint: Directions(features, ids + 1, values[0], ids, values[1], ids + 2, -values[2])
        for hookpoint in experiment.saes
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a finished experiment that has all there is. Who would change it takes a copy."""
    cache = tmp_path_factory.mktemp("finished")
    with open_writer(cache, EXPERIMENT) as writer:
        for inference in DRAWN:
            writer.append(inference)
            writer.fidelity.put(inference, sample_fidelity(inference))
        writer.put_directions(directions(EXPERIMENT), {number: f"<{number}>" for number in range(8)})
        writer.build()
    return cache


@pytest.fixture
def there(finished: Path, tmp_path: Path) -> Path:
    """A copy of that cache: elsewhere."""
    return Path(shutil.copytree(finished, tmp_path / "there"))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here"


@pytest.fixture(scope="module")
def imported_once(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    import_experiment(folder / "here", export(finished, NAME, folder / "out.duckdb"))
    return folder / "here"


@pytest.fixture
def imported(imported_once: Path, here: Path) -> None:
    """What is `there` is `here` by an import."""
    shutil.copytree(imported_once, here)


def rows(cache: Path, name: str, table: str) -> list[tuple[object, ...]]:
    """All of a table, in the order of the database; NaN as text, so that it equals itself."""
    [path] = Layout(cache / name).databases()
    with duckdb.connect(path, read_only=True) as connection:
        found = connection.execute(f"FROM {table}").fetchall()
    return [tuple("NaN" if value != value else value for value in row) for row in found]


def answers(cache: Path, name: str) -> Iterator[pd.DataFrame]:
    def ask(query: str, **options: object) -> pd.DataFrame:
        return query_table(cache, name, query, "all", lambda _: None, **options)

    yield ask("inferences")
    yield ask("quality")
    yield ask("interventions")
    for hookpoint in HOOKPOINTS[:1]:
        yield ask("feature-counts", hookpoint=hookpoint, top=100)
        yield ask("families", hookpoint=hookpoint)
        yield ask("reason-score", hookpoint=hookpoint, top=20)
        yield ask("top-tokens", hookpoint=hookpoint, feature=3)
        yield ask("contrast", hookpoint=hookpoint, between="right:wrong", top=20)
        yield ask("transcript", inference=0, hookpoint=hookpoint, feature=3)
        yield ask("relevant-features", inference=5, hookpoint=hookpoint)
        yield ask("feature-activations", inference=5, hookpoint=hookpoint)
        yield ask("feature-frequencies", inference=11, hookpoint=hookpoint)


def test_an_import_is_what_was_exported_bit_for_bit(there: Path, here: Path, tmp_path: Path) -> None:
    name = "received.1"
    made = import_experiment(here, export(there, NAME, tmp_path / "out.duckdb"), name)
    assert (made.experiment.name, made.inferences, made.notes) == (name, len(DRAWN), ())
    for table in TABLES:
        [before, after] = rows(there, NAME, table), rows(here, name, table)
        assert after == before and (before or table == "saes"), table
    for before, after in zip(answers(there, NAME), answers(here, name), strict=True):
        pd.testing.assert_frame_equal(after, before, check_exact=True)
    with open_reader(here, name) as reader, open_reader(there, NAME) as original:
        assert reader.experiment.config == EXPERIMENT.config and reader.experiment.is_imported
        assert reader.experiment.provenance.items() > EXPERIMENT.provenance.items()
        for inference in reader.inference_ids:
            assert same(reader.inference(inference), original.inference(inference))
    assert {path.name for path in here.iterdir()} == {name, ".import.lock"}


def test_an_import_can_be_exported_and_imported_again(imported: None, there: Path, here: Path, tmp_path: Path) -> None:
    import_experiment(here, export(here, NAME, tmp_path / "again.duckdb"), "again")
    for table in TABLES:
        assert rows(here, "again", table) == rows(there, NAME, table), table


def test_what_is_unfinished_is_imported_as_far_as_it_is(here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    write_sample(there, EXPERIMENT, DRAWN[:5], 3)
    made = import_experiment(here, export(there, NAME, tmp_path / "out.duckdb"))
    assert made.experiment.inferences == made.inferences == 5
    with open_reader(here, NAME) as reader:
        assert all(same(reader.inference(index), reopened(there, index)) for index in range(5))


def reopened(cache: Path, inference: int):
    with open_reader(cache, NAME) as reader:
        return reader.inference(inference)


@pytest.mark.parametrize("schema", [2, 3])
def test_an_export_of_an_older_version_is_imported(there: Path, here: Path, tmp_path: Path, schema: int) -> None:
    """As the older version's own `export` copied it."""
    path = as_schema_2(there / NAME) if schema == 2 else as_schema_3(there / NAME)
    if schema == 3:
        with duckdb.connect(path) as connection:
            for column in {field.name for field in INTERVENTION} - {field.name for field in OLDER_INTERVENTION}:
                connection.execute(f"ALTER TABLE interventions DROP COLUMN {column}")
    latents = rows(there, NAME, "latents")
    copied = Path(shutil.copy(path, tmp_path / "older.duckdb"))
    assert import_experiment(here, copied).inferences == len(DRAWN)
    with open_reader(here, NAME) as reader:
        found = reader.inference(7)
    assert len(found.interventions) == (0 if schema == 2 else 1) and found.receipts == ()
    assert rows(here, NAME, "latents") == latents and rows(here, NAME, "neighbours")
    assert rows(here, NAME, "fidelity") == []


def test_one_that_exists_is_never_overwritten(there: Path, here: Path, tmp_path: Path) -> None:
    out = export(there, NAME, tmp_path / "out.duckdb")
    before = {path: path.read_bytes() for path in (there / NAME).rglob("*") if path.is_file()}
    with pytest.raises(BadValue, match=r"experiment 'sample' exists in .* choose another name with --experiment"):
        import_experiment(there, out)
    assert {path: path.read_bytes() for path in (there / NAME).rglob("*") if path.is_file()} == before
    (here / "folder").mkdir(parents=True)
    (here / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "link"):
        with pytest.raises(BadValue, match="exists"):
            import_experiment(here, out, name)


@pytest.mark.parametrize("name", ["../out", "a/b", ".hidden", "", "x" * 101, "a\nb", "/tmp/x"])
def test_a_name_never_leads_out_of_the_cache(there: Path, here: Path, tmp_path: Path, name: str) -> None:
    out = export(there, NAME, tmp_path / "out.duckdb")
    with pytest.raises(BadValue, match="experiment name"):
        import_experiment(here, out, name)
    with duckdb.connect(out) as connection:
        connection.execute("UPDATE experiment SET name = ?", [name])
    with pytest.raises(BadValue, match="experiment name"):
        import_experiment(here, out)
    assert {path.name for path in here.iterdir()} <= {".import.lock"}
    assert {path.name for path in tmp_path.iterdir()} == {"there", "here", "out.duckdb"}


def test_nothing_is_computed_for_an_imported_one(
    there: Path, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_experiment(here, export(there, NAME, tmp_path / "out.duckdb"), "demo")
    line = "experiment 'demo' was imported: nothing of it is computed here; choose another --experiment"
    for command in (["precompute"], ["precompute", "--experiment", "demo"], ["up"], ["up", "--experiment", "demo"],
                    ["worker"], ["worker", "--experiment", "demo"]):  # fmt: skip
        assert main([*command, "--cache", str(here)]) == 2
        error = capsys.readouterr().err
        assert line in error and error.count("\n") == 1
    with pytest.raises(ImportedExperiment), open_writer(here, EXPERIMENT.model_copy(update={"name": "demo"})):
        pass
    check_not_imported(there, NAME)
    check_not_imported(here, "nothing")


@pytest.mark.parametrize("harmed", ["database", "segment", "manifest", "experiment"])
def test_a_damaged_import_is_mended(imported: None, there: Path, here: Path, harmed: str) -> None:
    layout = Layout(here / NAME)
    [database] = layout.databases()
    paths = {"database": database, "segment": layout.segment(3), "manifest": layout.manifest}
    path = paths.get(harmed, layout.experiment)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    damage._sha256.cache_clear()
    told: list[str] = []
    made = migrate(here, told.append)
    assert made.done == (NAME,) and made.failed == ()
    with open_reader(here, NAME) as reader:
        for table in TABLES:
            assert len(reader.query(f"FROM {table}")) == len(rows(there, NAME, table)), table
    assert migrate(here, told.append).backup is None


def test_notes_come_along_if_asked(there: Path, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = Notebook(there / FILE)
    about = of_feature(EXPERIMENT, HOOKPOINTS[0], 3)
    book.write(about, "label", "says <b>wait</b>", "Ada", NAME)
    book.write(about, "rating", "4", "Ada", NAME)
    book.write(InferenceSubject(NAME, 2), "note", "one", "Ben")
    book.write(InferenceSubject(NAME, 2), "note", "two", "Ben")
    book.write(SpanSubject(NAME, 1, 0, 2), "note", "of a span", "Ben", quote="three tokens")
    book.write(FeatureSubject("another", "", HOOKPOINTS[0], 3), "label", "not of these SAEs")
    book.write(InferenceSubject("elsewhere", 2), "note", "not of this experiment")
    out, cache = str(tmp_path / "out.duckdb"), ["--cache", str(there)]
    assert main(["export", "--experiment", NAME, out, *cache]) == 0
    assert import_experiment(here, Path(out), "without").notes == ()
    assert main(["export", "--experiment", NAME, out, "--notes", *cache]) == 0
    assert main(["import", out, "--experiment", "with", "--notes", "--cache", str(here)]) == 0
    captured = capsys.readouterr()
    assert "5 of 5 labels and notes taken" in captured.err and captured.out.endswith("with\n")
    found = Notebook(here / FILE).table()
    assert set(zip(found["what"], found["value"], found["author"], found["quote"], strict=True)) == {
        ("label", "says <b>wait</b>", "Ada", ""), ("rating", "4", "Ada", ""), ("note", "one", "Ben", ""),
        ("note", "two", "Ben", ""), ("note", "of a span", "Ben", "three tokens"),
    }  # fmt: skip
    assert set(found["experiment"]) == {"with"}
    Notebook(here / FILE).write(about, "label", "my own", "Eve")
    assert main(["import", out, "--experiment", "more", "--notes", "--cache", str(here)]) == 0
    assert "left out: the label that stands here stays" in capsys.readouterr().err
    assert Notebook(here / FILE).labels("demo", "", HOOKPOINTS[0]) == {3: "my own"}


def study(cache: Path, feature: int, **trace: object) -> AblationStudy:
    """Of inference 3."""
    with open_reader(cache, NAME) as reader:
        tokens = reader.inference(3).token_ids.tolist()
    of = {"inference": 3, "digest": trace_digest(tokens), "prompt_tokens": 3, "tokens": len(tokens)} | trace
    by_position = (0.5,) * len(tokens)
    return AblationStudy(
        made=made_with(EXPERIMENT, [HOOKPOINTS[1]], "cpu", "float32"),
        trace=Traced.model_validate(of),
        question=AblationQuestion(hookpoint=HOOKPOINTS[1], features=(feature,)),
        effects=(FeatureEffect(feature=feature, positions=(), activations=(), kl=by_position, change=by_position),),
    )


def test_studies_come_along_if_asked(
    there: Path, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, sweep = study(there, 3), made_up(features=1)
    sweep = sweep.model_copy(update={"made": whole.made})
    for kind, one in ((ABLATION, whole), (ABLATION, study(there, 4, digest=trace_digest([1]))), ("sweep", sweep)):
        save_study(Layout(there / NAME), kind, one.id, one)
    out = tmp_path / "out.duckdb"
    assert main(["export", "--experiment", NAME, str(out), "--studies", "--cache", str(there)]) == 0
    assert "of a trace that is another by now" in capsys.readouterr().err
    assert main(["import", str(out), "--studies", "--cache", str(here)]) == 0
    assert "2 studies taken" in capsys.readouterr().err
    with open_reader(here, NAME) as reader:
        ablations = list_studies(reader.layout, reader.experiment, ABLATION, AblationStudy)
        sweeps = list_studies(reader.layout, reader.experiment, "sweep", Sweep)
    assert (list(ablations.found.values()), ablations.problems) == ([whole], [])
    assert (list(sweeps.found.values()), sweeps.problems) == ([sweep], [])
    assert main(["import", str(out), "--experiment", "without", "--cache", str(here)]) == 0
    assert "2 studies are left out" in capsys.readouterr().err and not (here / "without" / "studies").exists()
    assert (
        main(["export", "--experiment", NAME, str(tmp_path / "out.parquet"), "--studies", "--cache", str(there)]) == 2
    )


@pytest.mark.parametrize("ending", ["out.parquet", "folder"])
def test_notes_lie_beside_other_files(there: Path, tmp_path: Path, ending: str) -> None:
    Notebook(there / FILE).write(InferenceSubject(NAME, 2), "note", "a\n'note'", "Ben")
    layout = [] if "." in ending else ["--layout", "goodfire"]
    target = tmp_path / ending
    assert main(["export", "--experiment", NAME, str(target), *layout, "--notes", "--cache", str(there)]) == 0
    beside = tmp_path / "out.notes.jsonl" if "." in ending else target / "notes.jsonl"
    [note] = [json.loads(line) for line in beside.read_text().splitlines()]
    assert (note["kind"], note["inference"], note["value"], note["author"]) == ("inference", 2, "a\n'note'", "Ben")


def test_one_import_at_a_time(there: Path, here: Path, tmp_path: Path) -> None:
    out = export(there, NAME, tmp_path / "out.duckdb")

    def second(done: int, total: int) -> None:
        with pytest.raises(ExperimentBusy, match="another import"):
            import_experiment(here, out, "second")

    import_experiment(here, out, hear=second)
    assert [status.name for status in list_experiments(here)] == [NAME]


KILLED = """
import os, signal, sys
from pathlib import Path
from kthink_core.travel.imports import import_experiment
def hear(done, total):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
import_experiment(Path(sys.argv[1]), Path(sys.argv[2]), hear=hear)
"""


@pytest.mark.parametrize("at", [1, 7, 12])
def test_a_killed_import_leaves_no_experiment(there: Path, here: Path, tmp_path: Path, at: int) -> None:
    out = export(there, NAME, tmp_path / "out.duckdb")
    killed = subprocess.run([sys.executable, "-c", KILLED, here, out, str(at)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list_experiments(here) == [] and read_experiment(here, NAME) is None
    import_experiment(here, out)
    assert {path.name for path in here.iterdir()} == {NAME, ".import.lock"}, "what was left is swept"
    assert rows(here, NAME, "latents") == rows(there, NAME, "latents")


def test_a_killed_publication_leaves_all_or_nothing(
    there: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rename of the import may be the last thing that happens."""
    out = export(there, NAME, tmp_path / "out.duckdb")
    rename, left = Path.rename, []

    def dying(path: Path, target: Path) -> Path:
        left.append(path)
        raise OSError(5, os.strerror(5), str(path))

    monkeypatch.setattr(Path, "rename", dying)
    with pytest.raises(OSError, match="Input/output"):
        import_experiment(here, out)
    monkeypatch.setattr(Path, "rename", rename)
    assert len(left) == 1 and list_experiments(here) == []
    import_experiment(here, out)


def test_what_another_version_added_is_not_read(there: Path, here: Path, tmp_path: Path) -> None:
    out = export(there, NAME, tmp_path / "out.duckdb")
    with duckdb.connect(out) as connection:
        connection.execute("CREATE TABLE later (a INTEGER)")
    assert import_experiment(here, out).inferences == len(DRAWN)


def test_an_exported_table_of_notes_is_read_back(there: Path, tmp_path: Path) -> None:
    book = Notebook(there / FILE)
    book.write(of_feature(EXPERIMENT, HOOKPOINTS[0], 3), "pattern", "wait,hmm", "Ada")
    notes = notes_of(there, EXPERIMENT)
    out = export(there, NAME, tmp_path / "out.duckdb", lambda made: add_table(made, notes))
    assert import_experiment(tmp_path / "here", out).notes == tuple(notes)


def test_the_manifest_of_an_import_is_like_any_other(imported: None, here: Path) -> None:
    rewrite(here / NAME / "manifest.json", lost=[])
    [status] = list_experiments(here)
    assert (status.committed, status.problem) == (len(DRAWN), None)

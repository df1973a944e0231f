"""Where a live inference goes that is kept."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from kthink_core import queries
from kthink_core.cli import main
from kthink_core.errors import BadValue, UnknownName
from kthink_core.live.api import GenerateRequest, Kept
from kthink_core.records import Intervention
from kthink_core.store.built import Built
from kthink_core.store.deletion import Deletions, find_deletion
from kthink_core.store.files import Layout, temporary
from kthink_core.store.kept_memory import KeptMemory, Watched, kept_as, read_memory
from kthink_core.store.kept_runs import delete_kept
from kthink_core.store.manifest import read_experiment, read_manifest
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import Writer, open_writer
from kthink_core.worker.keep import keep
from tests.store_samples import sample_experiment, sample_inference, sample_inferences, write_sample

REQUEST = GenerateRequest(prompt="Two?", temperature=0.7, top_p=0.9)


def test_what_a_worker_would_precompute_does_not_part_what_is_kept(tmp_path: Path) -> None:
    """Problems, how many of them, and their seed are no part of a prompt that somebody typed."""
    steering = (Intervention("layers.2.mlp", 1, "ablate"),)  # of the precompute; a live run is not steered
    makers = [{}, {"steering": steering}, {"limit": 5}, {"limit": None}, {"seed": 3}, {"problems": "gsm8k"}]
    for number, config in enumerate(makers):
        made_by = sample_experiment("any", 12, **config)
        facts = made_by.provenance | {"problems": f"sha256:{number}"}
        made_by = made_by.model_copy(update={"provenance": facts})
        inference = sample_inference(made_by, 6)  # one to which nothing was done
        assert keep(tmp_path, made_by, inference, REQUEST, "Ann") == Kept(experiment="live", inference=number)
    with open_reader(tmp_path, "live") as reader:
        assert reader.inference_ids == tuple(range(len(makers)))
        assert "problems" not in reader.experiment.provenance
        table = queries.inferences(reader)
    assert table["problem"].tolist() == list(range(len(makers)))
    assert set(table["author"]) == {"Ann"} and set(table["temperature"]) == {0.7} and set(table["top_p"]) == {0.9}
    assert set(table["max_new_tokens"]) == {400}


def test_what_shapes_an_answer_does(tmp_path: Path) -> None:
    """What was kept before stays where it is, and what comes from the same worker goes beside it."""
    found = []
    for config in [{}, {"site": "residual"}, {}, {"site": "residual"}]:
        made_by = sample_experiment("any", 12, **config)
        found.append(keep(tmp_path, made_by, sample_inference(made_by, 6), REQUEST, ""))
    assert [kept.inference for kept in found] == [0, 0, 1, 1]
    assert found[0].experiment == found[2].experiment == "live"
    assert found[1].experiment == found[3].experiment != "live"


def test_what_the_same_makers_made_goes_on_whatever_an_older_version_called_it(tmp_path: Path) -> None:
    made_by = {site: sample_experiment("any", 12, site=site) for site in ("hookpoint", "residual")}
    inference = sample_inference(made_by["residual"], 6)
    keep(tmp_path / "before", made_by["residual"], inference, REQUEST, "")
    before = read_experiment(tmp_path / "before", "live")
    assert before
    cache = tmp_path / "cache"
    write_sample(cache, before.model_copy(update={"name": "live-older"}), [inference])
    (cache / "live-broken").mkdir()
    (cache / "live-broken" / "experiment.json").write_text("{}")
    found = [keep(cache, made_by[site], inference, REQUEST, "") for site in ("hookpoint", "residual")]
    assert found == [Kept(experiment="live", inference=0), Kept(experiment="live-older", inference=7)]


def test_steered_runs_are_kept_apart(tmp_path: Path) -> None:
    """What features do when they are made to is no measure of what they do by themselves."""
    made_by = sample_experiment("any", 12)
    plain, steered = sample_inference(made_by, 6), sample_inference(made_by, 8)
    assert not plain.interventions and steered.interventions
    found = [keep(tmp_path, made_by, one, REQUEST, "") for one in (steered, plain, steered, plain)]
    assert [(kept.experiment, kept.inference) for kept in found] == [
        ("live-steered", 0), ("live", 0), ("live-steered", 1), ("live", 1),
    ]  # fmt: skip
    elsewhere = made_by.model_copy(update={"config": made_by.config.model_copy(update={"site": "residual"})})
    other = keep(tmp_path, elsewhere, steered, REQUEST, "")
    assert other.experiment.startswith("live-steered-") and other.inference == 0
    with open_reader(tmp_path, "live-steered") as reader:
        told = queries.interventions(reader, 1)
    assert told["feature"].tolist() == [done.feature for done in reversed(steered.interventions)]


def test_a_branch_is_graded_as_its_parents_experiment_is(tmp_path: Path) -> None:
    """1.0 is the number 1 and another text. Where the parent's experiment has gone, the worker's own grade is left."""
    made_by = sample_experiment("any", 12)
    write_sample(tmp_path, sample_experiment("worded", 12, grade="text"), [])
    branch = replace(sample_inference(made_by, 6), answer="1.0", reference="1", parent_position=4)
    found = []
    for parent, told in (("worded", None), ("gone", None), (None, None), ("worded", "1.00")):
        one = replace(branch, parent_experiment=parent, parent_inference=parent and 3)
        found.append(keep(tmp_path, made_by, one, REQUEST, "", reference=told).inference)
    with open_reader(tmp_path, "live") as reader:
        assert [reader.inference(number).correct for number in found] == [False, True, True, True]


def kept_cache(cache: Path, count: int) -> None:
    made_by = sample_experiment("any", 12)
    for number in range(count):
        run = f"{number:032x}"
        memory = KeptMemory(run=run, keeper="invitation ann", watched=(Watched("layers.2.mlp", 3, 0.5),))
        inference = replace(sample_inference(made_by, number), interventions=(), receipts=())
        keep(cache, made_by, inference, REQUEST, "Ann", memory=memory)


def contents(cache: Path) -> list[int]:
    with open_reader(cache, "live") as reader:
        assert queries.inferences(reader)["inference"].tolist() == list(reader.inference_ids)
        return list(reader.inference_ids)


def test_a_kept_run_that_is_deleted_is_nowhere_and_its_number_is_not_given_again(tmp_path: Path) -> None:
    """Whether a small database has it, or the main one; also the last one; what others kept stays as it was."""
    kept_cache(tmp_path, 3)
    layout = Layout(tmp_path / "live")
    with open_reader(tmp_path, "live") as before:
        rest = [before.inference(number) for number in (0, 2)]
        delete_kept(tmp_path, "live", 1, "Ann")
        assert before.inference_ids == (0, 1, 2), "who has it open reads on"
        before.inference(1)
    assert contents(tmp_path) == [0, 2]
    with open_reader(tmp_path, "live") as reader:
        for old, new in zip(rest, [reader.inference(0), reader.inference(2)], strict=True):
            assert old.texts == new.texts and (old.token_ids == new.token_ids).all()
    assert kept_as(layout, f"{2:032x}") == 2 and kept_as(layout, f"{1:032x}") is None
    assert read_memory(layout, 1) is None and (found := read_memory(layout, 2)) and found.keeper == "invitation ann"
    deletion = find_deletion(layout, 1)
    assert deletion is not None and deletion.by == "Ann" and find_deletion(layout, 0) is None
    assert not layout.segment(1).exists()
    current = {entry.file for entry in read_manifest(layout)[0].databases}
    assert {path.name for path in layout.folder.glob("*.duckdb")} == current, "none that was replaced is left"
    for inference in (2, 0):
        delete_kept(tmp_path, "live", inference, "")
    assert contents(tmp_path) == []
    kept_cache(tmp_path, 1)
    assert contents(tmp_path) == [3]
    with pytest.raises(UnknownName):
        delete_kept(tmp_path, "live", 1, "")
    with pytest.raises(UnknownName):
        delete_kept(tmp_path, "nowhere", 0, "")


def test_a_database_that_was_set_aside_does_not_keep_what_is_deleted(tmp_path: Path) -> None:
    kept_cache(tmp_path, 2)
    layout = Layout(tmp_path / "live")
    last = list(layout.databases())[-1]
    content = bytearray(last.read_bytes())
    content[-3 * 4096] ^= 0xFF
    last.write_bytes(content)
    delete_kept(tmp_path, "live", 1, "Ann")
    assert contents(tmp_path) == [0]
    assert not [*layout.folder.glob("*.damaged*")]


def test_what_a_keep_left_unfinished_is_swept_but_not_through_a_link(tmp_path: Path) -> None:
    kept_cache(tmp_path, 1)
    layout, elsewhere = Layout(tmp_path / "live"), tmp_path / "elsewhere"
    unfinished = temporary(layout.kept / f"000001-{1:032x}.json")
    unfinished.write_text("half")
    delete_kept(tmp_path, "live", 0, "Ann")
    assert [*layout.kept.iterdir()] == []
    layout.kept.rename(elsewhere)
    layout.kept.symlink_to(elsewhere)
    (elsewhere / unfinished.name).write_text("mine")
    kept_cache(tmp_path, 1)
    assert (elsewhere / unfinished.name).read_text() == "mine"


def test_only_kept_runs_can_be_deleted(tmp_path: Path) -> None:
    computed = sample_experiment("computed", 2)
    write_sample(tmp_path, computed, sample_inferences(computed))
    with pytest.raises(BadValue, match="holds no kept runs"):
        delete_kept(tmp_path, "computed", 0, "")


@pytest.mark.parametrize("inference", [0, 2])
def test_killed_once_it_is_shown_no_database_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inference: int
) -> None:
    """The last of all, whose place no newer database takes, too; and no number of a database is given again."""
    kept_cache(tmp_path, inference + 1)
    layout = Layout(tmp_path / "live")

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Built, "remove_old", killed)
        patch.setattr(Writer, "publish", lambda self: None)  # a killed one publishes nothing
        with pytest.raises(Killed):
            delete_kept(tmp_path, "live", inference, "Ann")
    numbers = set(layout.databases().values())
    made_by = sample_experiment("any", 12)
    keep(tmp_path, made_by, sample_inference(made_by, 6), REQUEST, "Bo")
    assert contents(tmp_path) == [*range(inference), inference + 1]
    assert max(layout.databases().values()) > max(numbers)
    for path in layout.databases():
        with closing(duckdb.connect(str(path), read_only=True)) as connection:
            assert (inference,) not in connection.execute("SELECT inference FROM inferences").fetchall()


def test_the_command_lists_what_is_kept_and_deletes_what_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> int:
        return main(["kept", "--cache", str(tmp_path), "--format", "json", *arguments])

    kept_cache(tmp_path, 2)
    assert run() == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["inference"], row["watched"], row["compared"]) for row in rows] == [(0, 1, None), (1, 1, None)]
    assert run("--delete", "0") != 0 and "say --yes" in capsys.readouterr().err
    assert run("--delete", "7", "--yes") != 0 and contents(tmp_path) == [0, 1]
    assert run("--delete", "0", "--yes") == 0 and contents(tmp_path) == [1]


@pytest.mark.parametrize("step", ["journal", "purge", "show", "clear"])
def test_killed_while_it_deletes_the_next_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """At no moment half: readers see it or not; and never again once the next writer has been there."""
    kept_cache(tmp_path, 3)

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        places = {
            "journal": (Writer, "_purge"), "purge": (Built, "purge"), "show": (Writer, "_show"),
            "clear": (Deletions, "clear"),
        }  # fmt: skip
        mark = Deletions.add

        def marked(self: Deletions, inference: int, by: str) -> None:
            mark(self, inference, by)
            owner, name = places[step]
            patch.setattr(owner, name, killed)

        patch.setattr(Deletions, "add", marked)
        patch.setattr(Writer, "publish", lambda self: None)  # a killed one publishes nothing
        with pytest.raises(Killed):
            delete_kept(tmp_path, "live", 1, "Ann")
    assert contents(tmp_path) in ([0, 1, 2], [0, 2])
    (Layout(tmp_path / "live").manifest).unlink()  # nor where all else is to be found again
    with open_writer(tmp_path, read_experiment(tmp_path, "live") or sample_experiment("any", 1), verify=False):
        pass
    assert contents(tmp_path) == [0, 2]
    assert not Layout(tmp_path / "live").segment(1).exists()

"""kthink from Python: methods that are the queries, tables of either kind, texts encoded."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import kthink_core
from benchmarks.stand_in import SHAPES
from kthink_core import OpenExperiment, Remark, experiments, open_experiment, queries
from kthink_core.errors import BadValue, OutOfRange, PromptRefused, UnknownName, WorkerMissing
from kthink_core.evidence.attribution_results import ATTRIBUTIONS
from kthink_core.listing import QUERIES, query_table
from kthink_core.notes import FILE, FeatureLists, FeatureSubject, Imported, InferenceSubject, Notebook
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.scripting.bound_query import BoundQuery
from kthink_core.scripting.reference import reference
from kthink_core.settings import WorkerSettings
from kthink_core.store.files import Layout
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer
from tests.app_samples import HOOKPOINTS, sample_experiment, sample_inference, write_experiment
from tests.import_graph import ROOT
from tests.worker_process import working

H = HOOKPOINTS[0]
TINY = SHAPES["tiny"].hookpoints
EXPERIMENT = sample_experiment("demo", 8)
METHODS = {name: bound for name, bound in vars(OpenExperiment).items() if isinstance(bound, BoundQuery)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, EXPERIMENT)
    return folder


@pytest.fixture(scope="module")
def opened(cache: Path) -> Iterator[OpenExperiment[pd.DataFrame]]:
    with open_experiment("demo", cache) as found:
        yield found


def run(script: str, cache: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={"KTHINK_CACHE": str(cache)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_package_stays_light(cache: Path) -> None:
    run("import sys, kthink_core; assert not {'pandas', 'pydantic', 'duckdb', 'httpx'} & set(sys.modules)", cache)
    script = (
        "import sys\nfrom kthink_core import open_experiment\n"
        f"with open_experiment('demo') as demo: assert len(demo.top_tokens('{H}', 7))\n"
        "assert not {'torch', 'transformers', 'streamlit'} & set(sys.modules)"
    )
    run(script, cache)


def test_what_it_has_not_is_an_error_as_ever() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open_experimant'"):
        kthink_core.open_experimant  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_every_query_of_the_command_line_is_a_method() -> None:
    assert {name.replace("_", "-") for name in METHODS} == set(QUERIES)


def test_every_question_of_the_store_is_a_method() -> None:
    """But for `quality`, of which the command line's has all and more."""
    bound = [getattr(OpenExperiment, name) for name in METHODS]
    asked = [getattr(queries, name) for name in queries.__all__]
    missing = [found.__name__ for found in asked if inspect.isfunction(found) and found not in bound]
    assert missing == ["quality"]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_its_own_signature_and_documentation(name: str, opened: OpenExperiment[pd.DataFrame]) -> None:
    function, method = getattr(OpenExperiment, name), getattr(opened, name)
    own = list(inspect.signature(function).parameters.values())
    assert own[0].name == "reader" and own[1:] == list(inspect.signature(method).parameters.values())
    assert method.__name__ == name and inspect.getdoc(method) == inspect.getdoc(function)
    assert len(inspect.getdoc(method) or "") > 40


GIVEN: dict[str, dict[str, Any]] = {
    "inferences": {},
    "transcript": {"inference": 1, "hookpoint": H, "feature": 7},
    "feature_activations": {"inference": 1, "hookpoint": H, "top": 9},
    "feature_frequencies": {"inference": 1, "hookpoint": H, "scope": "think"},
    "relevant_features": {"inference": 1, "hookpoint": H},
    "feature_counts": {"hookpoint": H},
    "top_tokens": {"hookpoint": H, "feature": 7, "inference": 1},
    "feature_table": {"hookpoint": H, "sort": "think", "features": (7, 3)},
    "contexts": {"hookpoint": H, "feature": 7, "top": 3},
    "quality": {"scope": "all"},
    "families": {"hookpoint": H, "top": 20},
    "label_test": {"hookpoint": H, "feature": 7, "pattern": "wait"},
    "contrast": {"hookpoint": H, "between": "think:answer", "top": 5},
    "injection": {"hookpoint": H},
    "interventions": {},
    "sweeps": {},
    "ablation": {},
    "attribution": {},
    "attribution_checks": {},
}


@pytest.mark.filterwarnings("ignore::kthink_core.Remark")
@pytest.mark.parametrize("name", GIVEN)
def test_it_answers_as_the_command_line(name: str, cache: Path, opened: OpenExperiment[pd.DataFrame]) -> None:
    given = {"scope": "generated"} | GIVEN[name]
    printed = query_table(cache, "demo", name.replace("_", "-"), warn=lambda _: None, **given)
    answer = getattr(opened, name)(**GIVEN[name])
    pd.testing.assert_frame_equal(answer.filter(items=list(printed.columns)), printed)


def test_against_the_records_themselves(opened: OpenExperiment[pd.DataFrame]) -> None:
    strongest: dict[str, float] = {}
    for number in range(8):
        one = sample_inference(EXPERIMENT, number)
        for position, (text, segment) in enumerate(zip(one.texts, one.segments, strict=True)):
            for feature, activation in zip(
                one.encodings[H].features[position], one.encodings[H].activations[position], strict=True
            ):
                if feature == 7 and activation > 0 and segment != "prompt":
                    strongest[text] = max(strongest.get(text, 0), float(activation))
    table = opened.top_tokens(H, 7)
    assert len(strongest) > 1 and dict(zip(table["text"], table["max_activation"], strict=True)) == strongest


def test_arrow_has_the_same_rows(opened: OpenExperiment[pd.DataFrame]) -> None:
    table, arrow = opened.transcript(1, H, 7), opened.arrow.transcript(1, H, 7)
    assert isinstance(arrow, pa.Table) and arrow.column_names == list(table.columns)
    assert arrow.schema.metadata is None and arrow["token_id"].type == pa.int32()
    assert arrow["logprob"].null_count == table["logprob"].isna().sum() > 0
    assert arrow["text"].to_pylist() == table["text"].tolist()
    assert opened.arrow.arrow.sql("SELECT 1 AS one")["one"].to_pylist() == [1]


def test_sql_binds_its_values(opened: OpenExperiment[pd.DataFrame]) -> None:
    table = opened.sql("SELECT count(*) AS n FROM latents WHERE hookpoint = $h AND feature = $f", {"h": H, "f": 7})
    assert table["n"].tolist() == [opened.feature_summary(H, 7, "all")["positions"].iloc[0]]
    assert opened.sql("SELECT ? AS text", ["'; DROP TABLE latents; --"])["text"].iloc[0].startswith("'")


def test_two_experiments_are_contrasted(cache: Path, opened: OpenExperiment[pd.DataFrame], tmp_path: Path) -> None:
    other = EXPERIMENT.model_copy(update={"name": "other"})
    write_experiment(tmp_path, other)
    with open_experiment("other", tmp_path) as second, pytest.warns(Remark):
        table = opened.contrast(H, "experiments", other=second.reader, top=3)
    assert table["difference"].tolist() == [0, 0, 0]


def test_what_is_to_be_known_is_a_warning_at_the_line_that_asked(opened: OpenExperiment[pd.DataFrame]) -> None:
    with pytest.warns(Remark) as told:
        opened.reason_score(H, vocabulary=("wait", "zebra"))
    assert "zebra" in str(told[0].message) and {remark.filename for remark in told} == {__file__}


def test_what_is_damaged_is_left_out_and_told(cache: Path, tmp_path: Path) -> None:
    write_experiment(tmp_path, EXPERIMENT)
    *_, increment = sorted(Layout(tmp_path / "demo").databases(), key=lambda path: -path.stat().st_size)
    content = bytearray(increment.read_bytes())
    content[len(content) // 2] ^= 1
    increment.chmod(0o644)
    increment.write_bytes(content)
    with pytest.warns(Remark, match="left out") as told, open_experiment("demo", tmp_path) as damaged:
        assert len(damaged.inferences()) == 7
    assert {remark.filename for remark in told} == {__file__}


def test_the_list_of_experiments(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTHINK_CACHE", str(cache))
    assert experiments().equals(experiments(cache)) and experiments(str(cache))["experiment"].tolist() == ["demo"]
    with open_experiment("demo") as found:
        assert found.experiment.name == "demo" and "8 inferences" in repr(found)


def test_mistakes(cache: Path, opened: OpenExperiment[pd.DataFrame]) -> None:
    with pytest.raises(UnknownName, match="did you mean 'demo'"):
        open_experiment("dem", cache)
    with pytest.raises(BadValue, match="experiment name"):
        open_experiment("../demo", cache)
    with pytest.raises(OutOfRange, match="feature 64"):
        opened.top_tokens(H, 64)
    with pytest.raises(UnknownName, match="study"):
        opened.sweep("0" * 12)
    with pytest.raises(TypeError, match="feature"):
        opened.top_tokens(H)  # pyright: ignore[reportCallIssue]
    assert tuple(opened.attribution().columns) == tuple(ATTRIBUTIONS)


def test_the_reference_is_written_anew() -> None:
    assert (ROOT / "docs/queries.md").read_text("utf-8") == reference()


@pytest.fixture(scope="module")
def made(tiny_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with an experiment that the tiny model made, and one whose weights were others."""
    cache = tmp_path_factory.mktemp("made")
    precompute(tiny_plan, cache, 8, Silent())
    another = tiny_plan.experiment.revisions.model_copy(update={"model": "sha256:another"})
    foreign = tiny_plan.experiment.model_copy(update={"name": "foreign", "revisions": another})
    with open_reader(cache, "tiny") as reader, open_writer(cache, foreign) as writer:
        writer.append(reader.inference(0))
    return cache


@pytest.fixture(scope="module")
def worker(made: Path, tiny_plan: Plan) -> Iterator[WorkerSettings]:
    with working(tiny_plan, cache=made) as (settings, _):
        yield settings


def stored(found: OpenExperiment[pd.DataFrame]) -> pd.DataFrame:
    """The latents of the first prompt as the precompute stored them, in the order of `encode`."""
    return found.sql("""
        SELECT hookpoint::VARCHAR AS hookpoint, position, token_id, text, feature, activation
        FROM latents JOIN tokens USING (inference, position)
        WHERE inference = 0 AND latents.segment = 'prompt'
        ORDER BY latents.hookpoint, position, activation DESC, feature
    """)


@pytest.mark.parametrize("where", ["worker", "here", "auto"])
def test_a_stored_prompt_encodes_to_what_is_stored(
    where: str, made: Path, worker: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KTHINK_WORKER_URL", worker.address)
    with open_experiment("tiny", made) as tiny:
        expected, prompt = stored(tiny), tiny.inferences()["prompt"].iloc[0]
        found = tiny.encode(prompt, where=where, device="cpu", special=True)  # pyright: ignore[reportArgumentType]
        one = tiny.encode(prompt, [TINY[1]], where=where, device="cpu", special=True)  # pyright: ignore[reportArgumentType]
    places = ["hookpoint", "position", "feature"]
    assert list(found.columns) == list(expected.columns)
    both = found.merge(expected, on=[*places, "token_id", "text"], how="outer", suffixes=("", "_stored"))
    assert len(both) == len(expected) == len(found) and both["hookpoint"].nunique() == len(TINY)
    np.testing.assert_allclose(both["activation"], both["activation_stored"], rtol=1e-4, atol=1e-5)
    pd.testing.assert_frame_equal(one, found[found["hookpoint"] == TINY[1]].reset_index(drop=True), rtol=1e-4)


def test_without_special_tokens_their_names_are_plain_text(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTHINK_WORKER_URL", "http://127.0.0.1:9")
    with open_experiment("tiny", made) as tiny:
        spelled = tiny.encode("</think>", [TINY[0]], device="cpu")
        special = tiny.encode("</think>", [TINY[0]], device="cpu", special=True)
        assert tiny.arrow.encode("Two", [TINY[0]], device="cpu").num_rows > 0
    assert special["position"].max() == 0 < spelled["position"].max()


def test_a_worker_with_another_model_is_not_asked(
    made: Path, worker: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KTHINK_WORKER_URL", worker.address)
    with open_experiment("foreign", made) as foreign, pytest.raises(BadValue, match="another model"):
        foreign.encode("Two", where="worker")


def test_mistakes_in_encoding(made: Path, worker: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_experiment("tiny", made) as tiny:
        monkeypatch.setenv("KTHINK_WORKER_URL", worker.address)
        with pytest.raises(BadValue, match="no text"):
            tiny.encode("")
        with pytest.raises(BadValue, match="the text: "):
            tiny.encode("\ud800", where="worker")
        with pytest.raises(UnknownName, match="hookpoint"):
            tiny.encode("Two", ["layers.9.mlp"])
        with pytest.raises(UnknownName, match="place 'her'"):
            tiny.encode("Two", where="her")  # pyright: ignore[reportArgumentType]
        monkeypatch.setenv("KTHINK_WORKER_URL", "http://127.0.0.1:9")
        with pytest.raises(WorkerMissing):
            tiny.encode("Two", where="worker")
        with pytest.raises(PromptRefused, match="more than"):
            tiny.encode("Two " * 140_000, where="here", device="cpu")


def test_what_people_found_comes_as_tables(tmp_path: Path) -> None:
    demo = sample_experiment("demo", 2)
    write_experiment(tmp_path, demo)
    write_experiment(tmp_path, sample_experiment("twin", 2, seed=1))
    feature, elsewhere = FeatureSubject("demo", "", H, 7), FeatureSubject("another", "", H, 7)
    with open_experiment("demo", tmp_path) as opened:
        assert [len(table) for table in (opened.labels(H), opened.notes(), opened.lists())] == [0, 0, 0]
        book, lists = Notebook(tmp_path / FILE), FeatureLists(tmp_path / FILE)
        book.write(feature, "label", "doubt", "Ann", "demo")
        book.take_labels(feature, [Imported(7, "hesitation", "delphi", 0.5, "Bob")], "demo")
        book.write(feature, "note", "seen in the twin", "Bob", "twin")
        book.write(elsewhere, "label", "another", "Bob", "demo")
        book.write(InferenceSubject("demo", 1), "note", "wrong sum", "Ann", "demo")
        book.write(InferenceSubject("twin", 1), "note", "of the twin", "Ann", "twin")
        doubts, _ = lists.begin("doubts", "Ann", "demo"), lists.begin("empty", "Ann", "demo")
        lists.add(doubts, [FeatureSubject("demo", "", H, each) for each in (12, 7)] + [elsewhere], "demo")
        labels = opened.labels(H)[["feature", "label", "source", "author"]]
        assert labels.to_numpy().tolist() == [[7, "doubt", "", "Ann"], [7, "hesitation", "delphi", "Bob"]]
        assert opened.labels(H)["score"].iloc[1] == 0.5 and np.isnan(opened.labels(H)["score"].iloc[0])
        assert sorted(opened.notes()["value"]) == ["doubt", "hesitation", "seen in the twin", "wrong sum"]
        assert opened.lists()[["name", "feature"]].to_numpy().tolist() == [["doubts", 12], ["doubts", 7]]
        assert opened.arrow.lists().column_names == list(opened.lists())
        with pytest.raises(UnknownName, match=r"layers\.9"):
            opened.labels("layers.9")

"""Sweeps as they are asked for: of a worker, on the command line, on the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from benchmarks.stand_in import SHAPES
from kthink_core import queries, signs
from kthink_core.cli import main
from kthink_core.errors import WorkerRefused
from kthink_core.evidence import sweep_figures, sweep_results
from kthink_core.evidence.steer_table import COLUMNS, steer_table
from kthink_core.evidence.sweep_question import KIND
from kthink_core.live.api import Done, Progressed, Studied
from kthink_core.live.client import WorkerClient
from kthink_core.live.study_requests import SweepRequest
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.settings import WorkerSettings
from kthink_core.store.reader import open_reader
from kthink_core.store.studies import list_studies, save_study
from kthink_core.store.sweeps import Sweep
from kthink_core.store.writer import open_writer
from kthink_core.ui.live.job_watch import JobWatch
from kthink_core.ui.parts.numerals import MISSING
from kthink_core.ui.parts.writing import plain
from tests.app_visits import PATIENCE, tables
from tests.import_graph import ROOT
from tests.worker_process import working

HOOKPOINT = SHAPES["tiny"].hookpoints[0]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, tiny_plan: Plan) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    precompute(tiny_plan, cache, 8, Silent())
    another = tiny_plan.experiment.revisions.model_copy(update={"model": "sha256:another"})
    foreign = tiny_plan.experiment.model_copy(update={"name": "foreign", "revisions": another})
    with open_reader(cache, "tiny") as reader, open_writer(cache, foreign) as writer:
        for inference in reader.inference_ids:
            writer.append(reader.inference(inference))
    return cache


@pytest.fixture(scope="module")
def worker(cache: Path, tiny_plan: Plan) -> Iterator[WorkerSettings]:
    with working(tiny_plan, cache=cache) as (settings, _):
        yield settings


@pytest.fixture(scope="module")
def features(cache: Path) -> list[int]:
    with open_reader(cache, "tiny") as reader:
        return queries.feature_counts(reader, HOOKPOINT)["feature"].tolist()[:2]


def asked(chosen: list[int], **fields: object) -> SweepRequest:
    named = [{"hookpoint": HOOKPOINT, "feature": feature} for feature in chosen]
    usual = {"experiment": "tiny", "features": named, "strengths": [0, 2], "problems": 3, "samples": 1}
    return SweepRequest.model_validate(usual | fields)


@pytest.fixture(scope="module")
def swept(worker: WorkerSettings, features: list[int]) -> str:
    """The id of a sweep that is stored."""
    with WorkerClient(worker) as client:
        (found,) = [event for event in client.study(asked(features, seed=5)) if isinstance(event, Studied)]
    assert found.id
    return found.id


def stored(cache: Path, id: str) -> Sweep:
    with open_reader(cache, "tiny") as reader:
        return sweep_results.stored(reader, id)


class TestWorker:
    def test_a_sweep_from_first_to_last(self, worker: WorkerSettings, cache: Path, features: list[int]) -> None:
        with WorkerClient(worker) as client:
            events = list(client.study(asked(features)))
            again = list(client.study(asked(features)))
        steps = [event for event in events if isinstance(event, Progressed)]
        assert [(step.done, step.of) for step in steps] == [(done, 15) for done in range(0, 18, 3)]
        (found,) = [event for event in events if isinstance(event, Studied)]
        assert found.id and isinstance(events[-1], Done)
        sweep = stored(cache, found.id)
        assert sweep.complete and [target.feature for target in sweep.asked.targets] == features
        assert [run.seed for run in sweep.runs if run.arm == 0] == [0, 1, 2]
        assert [event.done for event in again if isinstance(event, Progressed)] == [15]
        assert [event.id for event in again if isinstance(event, Studied)] == [found.id]

    def test_stopped_in_the_middle_it_goes_on(self, worker: WorkerSettings, cache: Path, features: list[int]) -> None:
        request = asked(features, seed=70)
        with WorkerClient(worker) as client:
            events = client.study(request)
            for event in events:
                if isinstance(event, Progressed) and event.done == 6:
                    break
            events.close()
            first, *_ = [event.done for event in client.study(request) if isinstance(event, Progressed)]
        assert first >= 6
        with open_reader(cache, "tiny") as reader:
            found = list_studies(reader.layout, reader.experiment, KIND, Sweep).found
        (sweep,) = [one for one in found.values() if one.asked.seed == 70]
        assert sweep.complete

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"experiment": "nowhere"}, "unknown experiment 'nowhere'"),
            ({"experiment": "foreign"}, "another model, SAE or capture site"),
            ({"strengths": [-1]}, "never negative"),
            ({"strengths": []}, "0 strengths"),
            ({"start": 24}, "at most 24 are generated"),
            ({"features": [{"hookpoint": "layers.9.mlp", "feature": 1}]}, "unknown hookpoint"),
            ({"features": [{"hookpoint": HOOKPOINT, "feature": 100_000}]}, "feature 100000 is out of range"),
        ],
    )
    def test_what_cannot_be_swept(
        self, worker: WorkerSettings, features: list[int], fields: dict[str, object], told: str
    ) -> None:
        with WorkerClient(worker) as client, pytest.raises(WorkerRefused, match=told):
            list(client.study(asked(features, **fields)))


class TestCommand:
    def run(self, cache: Path, features: list[int], *arguments: str) -> int:
        named = ",".join(f"{HOOKPOINT}:{feature}" for feature in features)
        given = ["--experiment", "tiny", "--cache", str(cache), "--device", "cpu", "--features", named]
        return main(["steer-eval", *given, *arguments])

    def test_the_table_and_what_is_stored(
        self, cache: Path, features: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        problems = tmp_path / "problems.jsonl"
        problems.write_text("".join(f'{{"question": "Add {n} and 1.", "answer": {n + 1}}}\n' for n in range(5)))
        given = ("--strengths", "2,0", "--problems", str(problems), "--limit", "4", "--seed", "9", "--format", "json")
        assert self.run(cache, features, *given) == 0
        answer = capsys.readouterr()
        rows = json.loads(answer.out)
        assert tuple(rows[0]) == COLUMNS and len(rows) == 4
        assert [(row["feature"], row["strength"]) for row in rows] == [(f, s) for f in features for s in (0, 2)]
        assert all(row["n"] == 4 for row in rows)
        assert "With 4 problems" in answer.err and "fewer than 6 problems" in answer.err
        where = ["--experiment", "tiny", "--cache", str(cache), "--format", "json"]
        assert main(["query", "sweeps", *where]) == 0
        (listed,) = [row for row in json.loads(capsys.readouterr().out) if row["problems_from"] == str(problems)]
        assert tuple(listed) == sweep_results.COLUMNS
        assert (listed["complete"], listed["runs"], listed["strengths"]) == (True, 20, "0 2")
        sweep = stored(cache, listed["study"])
        table = steer_table(sweep)
        assert json.loads(table.to_json(orient="records", double_precision=15)) == rows
        for query, columns, many in (
            ("steer-eval", COLUMNS, 4), ("sweep", sweep_figures.COLUMNS, 20),
            ("sweep-runs", sweep_figures.RUN_COLUMNS, 20),
        ):  # fmt: skip
            assert main(["query", query, "--study", listed["study"], *where]) == 0
            found = json.loads(capsys.readouterr().out)
            assert tuple(found[0]) == columns and len(found) == many

    def test_a_stored_table_is_printed_without_loading_the_model(self, cache: Path, features: list[int]) -> None:
        given = ["--experiment", "tiny", "--cache", str(cache), "--device", "cpu", "--action", "ablate"]
        command = ["steer-eval", *given, "--features", f"{HOOKPOINT}:{features[0]}"]
        assert main(command) == 0
        script = (
            "import sys; from kthink_core.cli import main\n"
            "assert main(sys.argv[1:]) == 0\n"
            "assert not {'torch', 'transformers', 'streamlit'} & set(sys.modules), 'heavy import'"
        )
        done = subprocess.run([sys.executable, "-c", script, *command], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("--strengths", "nan"), "strength nan"),
            (("--strengths", "1e999"), "strength inf"),
            (("--strengths", "1,-1"), "never negative"),
            ((), "0 strengths"),
            (("--strengths", "1", "--start", "24"), "at most 24 are generated"),
            (("--strengths", "1", "--limit", "0"), "--limit 0"),
            (("--strengths", "1", "--samples", "0"), "at least 1"),
            (("--strengths", "1", "--batch-size", "0"), "--batch-size 0"),
            (("--strengths", "1", "--problems", "/nowhere.jsonl"), "does not exist"),
            (("--strengths", "1", "--action", "ablate"), "has no strength"),
        ],
    )
    def test_mistakes_are_told_in_a_line(
        self,
        cache: Path,
        features: list[int],
        capsys: pytest.CaptureFixture[str],
        arguments: tuple[str, ...],
        told: str,
    ) -> None:
        assert self.run(cache, features, *arguments) == 2
        said = capsys.readouterr().err
        assert told in said and said.count("\n") == 1

    @pytest.mark.parametrize("given", ["5", ":5", "layers.0.mlp:x", "layers.0.mlp"])
    def test_features_are_named_with_their_hookpoint(self, cache: Path, given: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["steer-eval", "--experiment", "tiny", "--cache", str(cache), "--features", given])
        assert ended.value.code == 2

    @pytest.mark.parametrize("study", ["../../etc", "abc", "0123456789ab"])
    def test_a_study_that_is_not_there(self, cache: Path, study: str, capsys: pytest.CaptureFixture[str]) -> None:
        where = ["--experiment", "tiny", "--cache", str(cache)]
        assert main(["query", "sweep", "--study", study, *where]) == 2
        assert capsys.readouterr().err.count("\n") == 1

    def test_other_weights_than_the_experiments(self, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        given = ["--experiment", "foreign", "--cache", str(cache), "--device", "cpu", "--strengths", "1"]
        with open_reader(cache, "foreign") as reader:
            feature = queries.feature_counts(reader, HOOKPOINT)["feature"].iloc[0]
        assert main(["steer-eval", *given, "--features", f"{HOOKPOINT}:{feature}"]) == 2
        assert "model" in capsys.readouterr().err


def tab() -> None:
    """The tab by itself, as a page."""
    from kthink_core.ui.steer import sweep_panel
    from kthink_core.ui.view.page import errors_shown, open_page

    with errors_shown():
        sweep_panel.draw(open_page())


class TestPage:
    @pytest.fixture
    def visit(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
        monkeypatch.setenv("KTHINK_CACHE", str(cache))
        monkeypatch.setenv("KTHINK_WORKER_URL", "http://127.0.0.1:9")

        def opened(**parameters: str) -> AppTest:
            app = AppTest.from_function(tab, default_timeout=PATIENCE)
            app.query_params.update({"experiment": "tiny", "hookpoint": HOOKPOINT} | parameters)
            app.run()
            assert not app.exception
            return app

        yield opened
        st.cache_data.clear()
        st.cache_resource.clear()

    def test_figures_and_texts_of_a_stored_sweep(
        self, visit: Callable[..., AppTest], cache: Path, swept: str, features: list[int]
    ) -> None:
        app = visit(sweep=swept)
        assert not app.error and not app.warning
        sweep = stored(cache, swept)
        (shown,) = tables(app, "Repetition")
        baseline, first = shown["Feature"].tolist()[:2]
        assert baseline == "baseline" and re.fullmatch(rf"{HOOKPOINT}:{features[0]} (\(.+\) )?clamp 0×", first)
        assert len(shown) == len(sweep.arms)
        runs = [[run for run in sweep.runs if run.arm == arm] for arm in range(len(sweep.arms))]
        told = [f"{sum(run.finish_reason == 'stop' for run in of)} of {len(of)} runs" for of in runs]
        assert shown["Ended by itself"].tolist() == told and shown["Runs"].tolist() == list(map(len, runs))
        lengths = [np.mean([run.tokens for run in of]) for of in runs[:2]]
        difference = f"{lengths[1] - lengths[0]:+.1f} tokens".replace("+0.0", "0.0").replace("-", "−")
        assert shown["Length, tokens"][1].startswith(f"{lengths[1]:.1f}; {difference} (")
        assert shown["Checks"][0] == MISSING and shown["Checks"][1].startswith("hold in 1 of 1 runs: as it is ")
        assert shown["‖Δh‖ / ‖h‖"][0] == MISSING and " %, at most " in shown["‖Δh‖ / ‖h‖"][2]
        drawn = app.get("vega_lite_chart")
        assert len(drawn) == 3  # no reference: accuracy is not known
        code = [element.value for element in app.get("code")]
        baseline, steered = (next(run for run in sweep.runs if run.arm == arm) for arm in (0, 1))
        assert code[-2:] == [signs.revealed(baseline.text), signs.revealed(steered.text)]
        (choice,) = [box for box in app.selectbox if box.label == "Steered"]
        choice.set_value(2).run()
        steered = next(run for run in sweep.runs if run.arm == 2)
        assert [element.value for element in app.get("code")][-1] == signs.revealed(steered.text)

    def test_what_a_model_wrote_is_text(self, visit: Callable[..., AppTest], cache: Path, swept: str) -> None:
        evil = "<script>document.title='owned'</script> ![x](http://x.test) :red[x] \u202e$y$"
        with open_reader(cache, "tiny") as reader:
            sweep = sweep_results.stored(reader, swept)
            runs = tuple(run.model_copy(update={"text": evil, "answer": evil}) for run in sweep.runs)
            questions = tuple(one.model_copy(update={"question": evil}) for one in sweep.questions)
            asked = sweep.asked.model_copy(update={"seed": sweep.asked.seed + 1})  # another question
            changed = {"asked": asked, "runs": runs, "questions": questions, "problems_from": evil}
            foreign = sweep.model_copy(update=changed)
            path = save_study(reader.layout, KIND, foreign.id, foreign)
        try:
            app = visit(sweep=foreign.id)
            assert [element.value for element in app.get("code")][-1] == evil.replace("\u202e", "\\u202e")
            said = [element.value for kind in ("markdown", "caption", "info") for element in app.get(kind)]
            assert any(plain(evil) in each for each in said)
            assert not any("<script>" in each or ":red[" in each for each in said)
        finally:
            path.unlink()

    def test_a_check_that_does_not_hold_is_an_error(
        self, visit: Callable[..., AppTest], cache: Path, swept: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with open_reader(cache, "tiny") as reader:
            sweep = sweep_results.stored(reader, swept)
            document = sweep.model_copy(update={"asked": sweep.asked.model_copy(update={"seed": 6})}).model_dump()
            for run in document["runs"]:
                for check in (run["receipt"] or {}).get("checks", ()):
                    check["value"] = 0.5
            broken = Sweep.model_validate(document)
            path = save_study(reader.layout, KIND, broken.id, broken)
        try:
            app = visit(sweep=broken.id)
            told = [error.value for error in app.error]
            assert len(told) == len(sweep.arms) - 1 and all("A check does not hold in 1 of 1" in each for each in told)
            where = ["--study", broken.id, "--experiment", "tiny", "--cache", str(cache), "--format", "json"]
            assert main(["query", "steer-eval", *where]) == 0
            out, err = capsys.readouterr()
            assert [row["checks_failed"] for row in json.loads(out)] == [1] * len(told)
            assert err.count("A check does not hold in 1 of 1 runs") == len(told)
        finally:
            path.unlink()

    def test_a_link_to_none_shows_the_newest(self, visit: Callable[..., AppTest], swept: str) -> None:
        app = visit(sweep="f" * 12)
        assert ["is not stored here" in warning.value for warning in app.warning] == [True]
        assert swept and tables(app, "Repetition")
        app = visit(sweep="<b>")
        assert ["twelve hexadecimal digits" in warning.value for warning in app.warning] == [True]

    def test_what_is_no_sweep_is_told_before_the_worker_is_asked(self, visit: Callable[..., AppTest]) -> None:
        app = visit()
        (strengths,) = [box for box in app.text_input if box.label == "Strengths"]
        strengths.set_value("1, zwei").run()
        for typed, told in (
            ("1, zwei", "strengths: 'zwei' is no number; write such as 0, 0.5, 1, 2, 4"),
            ("1e999", "strengths: '1e999' is no finite number"),
            ("0, nan", "strengths: 'nan' is no finite number"),
            (" , ", "strengths: there is none; write some with commas between them, such as 0, 0.5, 1, 2, 4"),
        ):
            strengths.set_value(typed).run()
            assert plain(told) in [info.value for info in app.info]

    def test_what_a_job_has_found_is_shown_once_it_ends(
        self,
        visit: Callable[..., AppTest],
        worker: WorkerSettings,
        features: list[int],
        cache: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("KTHINK_WORKER_URL", f"http://127.0.0.1:{worker.port}")
        app = visit(feature=str(features[1]))
        (problems,) = [box for box in app.number_input if box.label.startswith("Problems")]
        problems.set_value(2).run()
        assert [button.label for button in app.button if button.label == "Sweep"] == ["Sweep"]
        same = asked([features[1]], strengths=[0, 0.5, 1, 2, 4], problems=2, samples=4)
        with WorkerClient(worker) as client:
            watch = JobWatch(client, same, lambda: True)
            while watch.going:
                threading.Event().wait(0.01)
        assert watch.trouble is None and watch.id
        app.session_state["job sweep"] = watch
        app.run()
        assert app.query_params["sweep"] == watch.id
        sweep = stored(cache, watch.id)
        assert sweep.complete and len(sweep.questions) == 2 and sweep.asked.samples == 4
        (shown,) = tables(app, "Repetition")
        assert re.fullmatch(rf"{HOOKPOINT}:{features[1]} (\(.+\) )?clamp 4×", shown["Feature"].tolist()[-1])

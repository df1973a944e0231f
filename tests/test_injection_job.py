"""Token injection as it is asked for: of a worker, by a page, on the command line; and the planted pair."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from streamlit.testing.v1 import AppTest

from benchmarks.served import free_port
from benchmarks.stand_in import SHAPES
from kthink_core import demo, queries
from kthink_core.cli import main
from kthink_core.config import ExperimentConfig
from kthink_core.errors import WorkerRefused
from kthink_core.evidence.driving_tokens import drivers_of, firing_features
from kthink_core.evidence.injection_results import doubts, injection
from kthink_core.evidence.reason_score import reason_score
from kthink_core.live.api import Cancelled, Done, Event, Failed, InjectRequest, Progressed
from kthink_core.live.client import WorkerClient
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.settings import WorkerSettings
from kthink_core.store.injections import read_injections
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer
from kthink_core.ui.live.job_watch import JobWatch
from kthink_core.ui.parts.numerals import percent
from kthink_core.ui.parts.writing import plain
from kthink_core.worker.engine import Engine
from kthink_core.worker.jobs import Job, Outcome, Work
from tests.app_visits import Open, payloads, tables, texts, visiting
from tests.worker_process import request, working

HOOKPOINT = SHAPES["tiny"].hookpoints[0]


@pytest.fixture(scope="module")
def tested_plan(tiny: Path) -> Plan:
    """The tiny model on the demo's problems, whose texts without reasoning are there."""
    config = ExperimentConfig(
        model=str(tiny / "model"), sae=str(tiny / "saes"), hookpoints=SHAPES["tiny"].hookpoints, limit=6,
        max_new_tokens=60, temperature=1.0,
    )  # fmt: skip
    return plan("tested", config, "cpu", Silent())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, tested_plan: Plan) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    precompute(tested_plan, cache, 8, Silent())
    another = tested_plan.experiment.revisions.model_copy(update={"model": "sha256:another"})
    with open_writer(cache, tested_plan.experiment.model_copy(update={"name": "foreign", "revisions": another})):
        pass
    return cache


@pytest.fixture(scope="module")
def worker(cache: Path, tested_plan: Plan) -> Iterator[WorkerSettings]:
    with working(tested_plan, cache=cache) as (settings, _):
        yield settings


@pytest.fixture(scope="module")
def feature(cache: Path) -> int:
    """One whose tokens are known: it fires three times on one."""
    with open_reader(cache, "tested") as reader:
        counts = queries.feature_counts(reader, HOOKPOINT)["feature"].tolist()
        return next(feature for feature in counts if drivers_of(reader, HOOKPOINT, feature).tokens)


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


def asked(feature: int, **fields: object) -> InjectRequest:
    return InjectRequest.model_validate(
        {"experiment": "tested", "hookpoint": HOOKPOINT, "features": [feature], "seed": 2} | fields
    )


class TestWorker:
    def test_a_test_from_first_to_last(self, worker: WorkerSettings, cache: Path, feature: int) -> None:
        with WorkerClient(worker) as client:
            events = list(client.inject(asked(feature)))
            assert [event.event for event in events[:2]] == ["queued", "started"]
            steps = [event for event in events if isinstance(event, Progressed)]
            assert steps and steps[-1].done == steps[-1].of and isinstance(events[-1], Done)
            job = next(event.job for event in events if event.event == "started")
            assert client.status(job).kind == "inject" and client.status(job).state == "done"
        with open_reader(cache, "tested") as reader:
            assert injection(reader, HOOKPOINT)["feature"].tolist() == [feature]

    def test_several_at_once(self, worker: WorkerSettings, cache: Path) -> None:
        with open_reader(cache, "tested") as reader:
            first = queries.feature_counts(reader, HOOKPOINT)["feature"].tolist()[:2]
        with WorkerClient(worker) as client:
            assert isinstance(list(client.inject(asked(0, features=first)))[-1], Done)
        with open_reader(cache, "tested") as reader:
            assert set(first) <= set(injection(reader, HOOKPOINT)["feature"].tolist())
        for wrong in ([], list(range(51)), [-1]):
            with pytest.raises(ValidationError):
                asked(0, features=wrong)

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"experiment": "nowhere"}, "unknown experiment 'nowhere'"),
            ({"experiment": "../tested"}, "experiment name"),
            ({"experiment": "foreign"}, "another model, SAE or capture site"),
            ({"hookpoint": "layers.9.mlp"}, "unknown hookpoint"),
            ({"features": (100_000,)}, "feature 100000 is out of range"),
        ],
    )
    def test_what_cannot_be_tested(self, worker: WorkerSettings, fields: dict[str, object], told: str) -> None:
        sent = {"experiment": "tested", "hookpoint": HOOKPOINT, "features": (1,), "seed": 0} | fields
        made = InjectRequest.model_construct(**sent)  # what another client may send
        with WorkerClient(worker) as client, pytest.raises(WorkerRefused, match=told):
            list(client.inject(made))

    def test_texts_that_are_too_few(self, tiny_plan: Plan, tmp_path: Path) -> None:
        precompute(tiny_plan, tmp_path, 8, Silent())
        with working(tiny_plan, cache=tmp_path) as (settings, _), WorkerClient(settings) as client:
            *_, last = client.inject(asked(1, experiment="tiny"))
        assert isinstance(last, Failed) and "the test takes 116" in last.message


class Told:
    """What was said of jobs, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.ended = threading.Event()

    def of(self, name: str) -> Callable[[Event], None]:
        def tell(event: Event) -> None:
            self.said.append(f"{name} {event.event}")
            if name == "test" and isinstance(event, Done | Cancelled | Failed):
                self.ended.set()

        return tell


class TestGivingWay:
    def engine(self, tiny_plan: Plan) -> Engine:
        engine = Engine(lambda: tiny_plan, None, 8)
        while engine.plan is None:
            threading.Event().wait(0.01)
        return engine

    def test_live_jobs_go_first_in_the_middle_of_a_test(self, tiny_plan: Plan) -> None:
        told, engine = Told(), self.engine(tiny_plan)
        begun, queued = threading.Event(), threading.Event()

        def work(_: Plan, pause: Callable[[], None]) -> Iterator[Event | Outcome]:
            begun.set()
            assert queued.wait(60)
            pause()
            told.said.append("test goes on")
            yield Outcome()

        def longer(_: Plan, pause: Callable[[], None]) -> Iterator[Event | Outcome]:
            yield Outcome()

        engine.submit(self._job(told, "test", work))
        assert begun.wait(60)
        engine.submit(self._job(told, "later", longer))
        engine.submit(Job(request(), (1, 2, 3), told.of("live")))
        queued.set()
        assert told.ended.wait(60)
        engine.close()
        assert told.said.index("live done") < told.said.index("test goes on") < told.said.index("test done")
        assert "later started" not in told.said[: told.said.index("test done")]

    def test_a_test_that_nobody_wants_ends_at_its_next_pause(self, tiny_plan: Plan) -> None:
        told, engine = Told(), self.engine(tiny_plan)
        begun = threading.Event()

        def work(_: Plan, pause: Callable[[], None]) -> Iterator[Event | Outcome]:
            while True:
                begun.set()
                pause()
            yield Outcome()

        job = self._job(told, "test", work)
        engine.submit(job)
        assert begun.wait(60)
        engine.cancel(job.id)
        assert told.ended.wait(60)
        assert told.said[-1] == "test cancelled" and engine.status(job).state == "cancelled"
        engine.close()

    def test_health_is_told_whatever_the_engine_waits_for(self, tiny_plan: Plan) -> None:
        """Its lock is held here by a listener who takes his time."""
        held, free = threading.Event(), threading.Event()

        def slow(event: Event) -> None:
            if event.event == "started":
                held.set()
                assert free.wait(60)

        with working(tiny_plan) as (settings, engine), WorkerClient(settings) as client:
            engine.submit(Job(request(), (1, 2, 3), slow))
            try:
                assert held.wait(60)
                assert client.health().status == "ready"
            finally:
                free.set()

    @staticmethod
    def _job(told: Told, name: str, work: Work) -> Job:
        return Job(asked(1), (), told.of(name), work=work)


class TestPage:
    def opened(self, visit: Open, feature: int) -> AppTest:
        return visit("feature", experiment="tested", hookpoint=HOOKPOINT, feature=str(feature), section="injection")

    def test_without_a_worker(self, visit: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KTHINK_WORKER_URL", "http://127.0.0.1:9")
        said = texts(self.opened(visit, 0))
        assert "Is it more than its words?" in said and "No worker answers" in said

    def test_a_result_and_its_badge(
        self, visit: Open, worker: WorkerSettings, monkeypatch: pytest.MonkeyPatch, cache: Path, feature: int
    ) -> None:
        monkeypatch.setenv("KTHINK_WORKER_PORT", str(worker.port))
        with WorkerClient(worker) as client:
            assert isinstance(list(client.inject(asked(feature)))[-1], Done)
        app = self.opened(visit, feature)
        assert not app.error and not app.warning
        with open_reader(cache, "tested") as reader:
            row = injection(reader, HOOKPOINT, feature).to_dict("records")[0]
            (found,) = [
                one
                for one in read_injections(reader.layout, reader.experiment, HOOKPOINT).found
                if one.feature == feature
            ]
        assert row["verdict"] in texts(app)
        assert [info.value for info in app.info] == doubts(found)
        metrics = {metric.label: metric.value for metric in app.metric}
        assert metrics.keys() >= {"Fires in", "Cohen's d", "d, 95 %", "p", "p of the best", "Same verdict"}
        assert metrics["Fires in"] == f"{percent(row['fires_in'])} → {percent(row['fires_in_injected'])}"
        (ways,) = [frame.value for frame in app.dataframe if "Way" in frame.value]
        assert all(p == "< 0.0001" or 0.0001 <= float(p) <= 1 for p in ways["p"])
        (shown,) = [data for data in payloads(app, "groups") if data["groups"][0]["title"].startswith("The first")]
        assert len(shown["groups"][0]["snippets"]) == 6
        assert all("marked" in snippet["segments"] for snippet in shown["groups"][0]["snippets"])
        assert [button.label for button in app.button if button.label.startswith("Test")] == ["Test again"]
        (listed,) = tables(visit("overview", experiment="tested", hookpoint=HOOKPOINT), "verdict")[:1]
        assert row["verdict"] in listed["verdict"].tolist()

    @pytest.mark.parametrize("back", [False, True])
    def test_a_worker_that_went_away_is_no_trouble_once_it_is_back(
        self, visit: Open, worker: WorkerSettings, monkeypatch: pytest.MonkeyPatch, *, back: bool
    ) -> None:
        asked_on_page = InjectRequest(experiment="tested", hookpoint=HOOKPOINT, features=(2,))
        with WorkerClient(WorkerSettings(port=free_port())) as nobody:
            watch = JobWatch(nobody, asked_on_page, lambda: True)
            while watch.going:
                threading.Event().wait(0.01)
        assert watch.trouble and watch.lost
        monkeypatch.setenv("KTHINK_WORKER_URL", f"http://127.0.0.1:{worker.port}" if back else nobody.address)
        app = self.opened(visit, 2)
        app.session_state["job injection"] = watch
        app.run()
        assert [error.value for error in app.error] == ([] if back else [plain(watch.trouble)])
        assert any("is back" in info.value for info in app.info) == back
        assert any(button.label.startswith("Test") for button in app.button) == back

    def test_those_of_a_table_without_a_verdict_can_be_tested_together(
        self, visit: Open, worker: WorkerSettings, monkeypatch: pytest.MonkeyPatch, cache: Path, feature: int
    ) -> None:
        monkeypatch.setenv("KTHINK_WORKER_PORT", str(worker.port))
        with WorkerClient(worker) as client:
            assert isinstance(list(client.inject(asked(feature)))[-1], Done)
        app = visit("across", experiment="tested", hookpoint=HOOKPOINT)
        assert not [button for button in app.button if button.label.startswith("Test")], "nobody asked yet"
        app.toggle(key="test the table").set_value(True).run()
        with open_reader(cache, "tested") as reader:
            listed = queries.feature_table(reader, HOOKPOINT)["feature"].tolist()
            waiting = [one for one in listed if one not in injection(reader, HOOKPOINT)["feature"].tolist()]
        assert feature in listed and feature not in waiting
        (button,) = [button for button in app.button if button.label.startswith("Test")]
        assert button.label == f"Test the first {min(len(waiting), 50)} without a verdict"

    def test_a_result_that_does_not_count_is_told(
        self, visit: Open, cache: Path, feature: int, worker: WorkerSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KTHINK_WORKER_PORT", str(worker.port))
        folder = cache / "tested" / "injections" / HOOKPOINT
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "7.json").write_text('{"verdict": "<b>token-driven</b>"}')
        try:
            app = self.opened(visit, 7)
            assert any("does not count" in warning.value for warning in app.warning)
        finally:
            (folder / "7.json").unlink()


class TestCommand:
    def run(self, cache: Path, *arguments: str) -> int:
        return main(
            ["inject", "--experiment", "tested", "--hookpoint", HOOKPOINT, "--cache", str(cache), "--device", "cpu",
             "--format", "json", *arguments]
        )  # fmt: skip

    def test_features_by_number_and_the_best_of_a_table(self, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(cache, "--features", "3,5") == 0
        rows = json.loads(capsys.readouterr().out)
        assert [row["feature"] for row in rows] == [3, 5]
        assert list(rows[0])[:6] == ["feature", "verdict", "d", "p", "strategy", "controls"]
        assert self.run(cache, "--top", "2", "--by", "max") == 0
        found = [row["feature"] for row in json.loads(capsys.readouterr().out)]
        with open_reader(cache, "tested") as reader:
            assert found == queries.feature_table(reader, HOOKPOINT, sort="maximum", top=2)["feature"].tolist()
        assert self.run(cache, "--top", "2", "--by", "reason-score") == 0
        found = [row["feature"] for row in json.loads(capsys.readouterr().out)]
        with open_reader(cache, "tested") as reader:
            assert found == reason_score(reader, HOOKPOINT, top=2)["feature"].tolist()
        query = ["query", "injection", "--experiment", "tested", "--hookpoint", HOOKPOINT, "--cache", str(cache)]
        assert main([*query, "--feature", "3", "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out) == [row for row in rows if row["feature"] == 3]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--features", "100000"], "feature 100000 is out of range"),
            (["--features", ","], "0 features"),
            (["--top", "0"], "--top 0"),
            (["--top", "3", "--by", "luck"], "unknown table 'luck'"),
            (["--features", "1", "--seed", "-1"], "--seed -1"),
            (["--features", "1", "--texts", "/nowhere"], "there is no such file"),
        ],
    )
    def test_mistakes(self, cache: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
        assert self.run(cache, *arguments) == 2
        assert told in capsys.readouterr().err

    def test_short_texts(self, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "short.txt"
        file.write_text("Two and two?\n" * 200)
        assert self.run(cache, "--features", "1", "--texts", str(file)) == 2
        assert (
            "0 texts that are long enough, the test takes 116; 200 shorter ones were left out"
            in capsys.readouterr().err
        )

    def test_another_model_than_the_experiments(self, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = ["inject", "--experiment", "foreign", "--hookpoint", HOOKPOINT, "--features", "1"]
        assert main([*command, "--cache", str(cache), "--device", "cpu"]) == 2
        assert "model" in capsys.readouterr().err


def test_the_planted_pair_gets_both_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--experiment", "planted", "--cache", str(tmp_path), "--device", "cpu"]
    made = ["--sae", str(demo.PLANTED), "--hookpoints", "layers.6.mlp", "--limit", "8", "--max-new-tokens", "160"]
    assert main(["precompute", *where, *made]) == 0
    with open_reader(tmp_path, "planted") as reader:
        assert firing_features(reader, "layers.6.mlp") == [0, 1]
    capsys.readouterr()
    assert main(["inject", *where, "--hookpoint", "layers.6.mlp", "--features", "0,1", "--format", "json"]) == 0
    word, context = json.loads(capsys.readouterr().out)
    assert word["verdict"] == "token-driven" and word["d"] > 2
    assert context["verdict"] == "context-dependent" and abs(context["d"]) < 0.2
    assert word["fires_in_injected"] > 0.9 > word["fires_in"] and word["d_low"] < word["d"] < word["d_high"]
    assert word["compared"] == context["compared"] == 1 and word["controls"] == 0

"""What features do in a trace: from the command line to the page, by computations of the test's own."""

from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from kthink_core.cli import main
from kthink_core.errors import WorkerRefused
from kthink_core.evidence.rank_correlation import rank_correlation
from kthink_core.live.api import Done, Progressed, Studied
from kthink_core.live.client import WorkerClient
from kthink_core.live.study_requests import AblationRequest, AttributionRequest, RunTrace, StoredTrace
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.sae_folders import load_saes
from kthink_core.precompute.pipeline import Plan, plan
from kthink_core.precompute.progress import Silent
from kthink_core.presets import preset
from kthink_core.records import Inference
from kthink_core.settings import WorkerSettings
from kthink_core.store.causal_studies import (
    RUNNER_UP,
    AblationQuestion,
    AblationStudy,
    AttributionQuestion,
    AttributionStudy,
)
from kthink_core.store.reader import open_reader
from kthink_core.ui.live.job_watch import JobWatch
from kthink_core.ui.live.live_run import LiveRun
from tests.app_visits import Open, payloads, texts, visiting
from tests.test_ablation import activations, hooked
from tests.worker_process import request, working

HOOKPOINT = "layers.4.mlp"
INFERENCE = 1


@pytest.fixture(scope="module")
def cache(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("causes") / "cache"
    shutil.copytree(demo, copied)
    return copied


@pytest.fixture(scope="module")
def loaded() -> Plan:
    return plan("demo", preset("demo"), "cpu", Silent())


@pytest.fixture(scope="module")
def worker(cache: Path, loaded: Plan) -> Iterator[WorkerSettings]:
    with working(loaded, cache=cache) as (settings, _):
        yield settings


@pytest.fixture(scope="module")
def trace(cache: Path) -> Inference:
    with open_reader(cache, "demo") as reader:
        return reader.inference(INFERENCE)


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setenv("KTHINK_WORKER_URL", "http://127.0.0.1:9")
    with visiting(cache, monkeypatch) as opened:
        yield opened


def asked(cache: Path, capsys: pytest.CaptureFixture[str], *command: str) -> list[dict[str, object]]:
    """The rows that a command answers."""
    device = () if command[0] == "query" else ("--device", "cpu")
    given = [*command, "--experiment", "demo", "--cache", str(cache), "--format", "json", *device]
    assert main(given) == 0
    return json.loads(capsys.readouterr().out)


def ablate(cache: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict[str, object]]:
    return asked(cache, capsys, "ablate", "--inference", str(INFERENCE), "--hookpoint", HOOKPOINT, *more)


def attribute(cache: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict[str, object]]:
    return asked(cache, capsys, "attribute", "--inference", str(INFERENCE), "--hookpoints", HOOKPOINT, *more)


def strongest_features(trace: Inference) -> list[int]:
    encoding = trace.encodings[HOOKPOINT]
    sums = np.bincount(encoding.features.ravel(), encoding.activations.ravel())
    return np.argsort(-sums)[:3].tolist()


def logits(bundle: LanguageModel, trace: Inference, feature: int | None) -> np.ndarray:
    """[positions, vocabulary] with the feature, or without it, by one plain pass."""
    sae = load_saes("demo", None, [HOOKPOINT], torch.device("cpu")).by_hookpoint[HOOKPOINT]

    def without(h: torch.Tensor) -> torch.Tensor:
        return h if feature is None else h - activations(sae, h)[:, feature, None] * sae.W_dec[feature]

    with hooked(bundle, HOOKPOINT, "hookpoint", without), torch.inference_mode():
        ids = torch.tensor([trace.token_ids.tolist()])
        return bundle.model(ids, use_cache=False).logits[0].double().numpy()


def normal(values: np.ndarray) -> np.ndarray:
    return (
        values
        - np.log(np.exp(values - values.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - values.max(-1, keepdims=True)
    )


class TestAblate:
    def test_what_is_told_and_stored(
        self, cache: Path, trace: Inference, bundle: LanguageModel, capsys: pytest.CaptureFixture[str]
    ) -> None:
        features = strongest_features(trace)
        rows = ablate(cache, capsys, "--features", ",".join(map(str, features)))
        assert [row["feature"] for row in rows] == features
        before = normal(logits(bundle, trace, None))
        for row, feature in zip(rows, features, strict=True):
            after = normal(logits(bundle, trace, feature))
            kl = (np.exp(before) * (before - after)).sum(-1)[:-1]
            change = (after - before)[np.arange(len(kl)), trace.token_ids[1:]]
            assert row["kl_sum"] == pytest.approx(kl.sum(), rel=1e-3)
            assert (row["kl_max"], row["kl_position"]) == (pytest.approx(kl.max(), rel=1e-3), kl.argmax() + 1)
            assert row["change_sum"] == pytest.approx(change.sum(), rel=1e-3, abs=1e-3)
            assert row["change_position"] == change.argmin() + 1
            fired = (trace.encodings[HOOKPOINT].features == feature) & (trace.encodings[HOOKPOINT].activations > 0)
            assert row["fires"] == fired.sum()
            assert row["max_activation"] == pytest.approx(trace.encodings[HOOKPOINT].activations[fired].max(), rel=1e-3)
        assert asked(cache, capsys, "query", "ablation", "--inference", str(INFERENCE)) == rows
        one = asked(cache, capsys, "query", "ablation", "--hookpoint", HOOKPOINT, "--feature", str(features[1]))
        assert one == rows[1:2]
        effects = asked(
            cache, capsys, "query", "ablation-effects", "--inference", str(INFERENCE), "--hookpoint", HOOKPOINT,
            "--feature", str(features[0]),
        )  # fmt: skip
        assert math.fsum(float(str(row["kl"])) for row in effects) == pytest.approx(float(str(rows[0]["kl_sum"])))
        positions = [row["position"] for row in effects]
        assert positions == list(range(len(trace.token_ids) - len(positions), len(trace.token_ids)))
        assert [row["token_id"] for row in effects] == trace.token_ids[positions].tolist()

    def test_in_a_span(self, cache: Path, trace: Inference, capsys: pytest.CaptureFixture[str]) -> None:
        feature = strongest_features(trace)[0]
        fires = ((trace.encodings[HOOKPOINT].features == feature) & (trace.encodings[HOOKPOINT].activations > 0)).any(1)
        first = int(np.flatnonzero(fires)[1])
        (row,) = ablate(cache, capsys, "--features", str(feature), "--span", f"{first}:{first}")
        assert (row["first"], row["last"], row["fires"]) == (first, first, 1)
        assert int(str(row["kl_position"])) > first

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--features", "5000"], "feature 5000 is out of range"),
            (["--features", "1,1"], "named twice"),
            (["--features", "1", "--span", "9:5"], "positions 9 to 5: the trace has 0 to"),
            (["--features", "1", "--span", "5:99999"], "positions 5 to 99999: the trace has 0 to"),
            (["--features", "1", "--span", "a:b"], "first and last position, such as 12:20"),
            (["--features", ",".join(map(str, range(21)))], "21 features: ablate from 1 to 20"),
            (["--features", "1", "--inference", "99"], "inference 99 is out of range"),
        ],
    )
    def test_what_makes_no_sense(
        self, cache: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["ablate", "--experiment", "demo", "--cache", str(cache), "--inference", "0", "--device", "cpu"]
        assert main([*command, "--hookpoint", HOOKPOINT, *more]) == 2
        said = capsys.readouterr().err
        assert message in said and len(said.splitlines()) == 1


class TestAttribute:
    def test_what_is_told_and_stored(
        self, cache: Path, trace: Inference, bundle: LanguageModel, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = attribute(cache, capsys, "--top", "200")
        features = [row for row in rows if row["node"] == "feature"]
        sizes = [abs(float(str(row["contribution"]))) for row in features]
        assert sizes == sorted(sizes, reverse=True) and [row["rank"] for row in features] == [
            *range(1, len(features) + 1)
        ]
        assert {row["node"] for row in rows} == {"feature", "error", "bias"}
        measured = [row for row in features if row["effect"] is not None][:20]
        assert [row["rank"] for row in measured] == list(range(1, 21)), "the strongest were all ablated"

        with_all = logits(bundle, trace, None)
        text = "".join(trace.texts)
        start = text.rindex("\\boxed{") + len("\\boxed{")
        ends = np.cumsum([len(token) for token in trace.texts])
        positions = [
            at for at in range(len(ends)) if start < ends[at] and ends[at] - len(trace.texts[at]) < text.rindex("}")
        ]
        assert "".join(trace.texts[at] for at in positions) == trace.answer
        rivals = {}
        for at in positions:
            others = with_all[at - 1].copy()
            others[trace.token_ids[at]] = -np.inf
            rivals[at] = int(others.argmax())

        def objective(values: np.ndarray) -> float:
            return sum(values[at - 1, trace.token_ids[at]] - values[at - 1, rivals[at]] for at in positions)

        for row in measured[:6]:
            exact = objective(with_all) - objective(logits(bundle, trace, int(str(row["feature"]))))
            assert row["effect"] == pytest.approx(exact, rel=1e-2, abs=2e-4)

        (checks,) = asked(cache, capsys, "query", "attribution-checks", "--inference", str(INFERENCE))
        assert checks["rival"] == "runner-up"
        assert checks["value"] == pytest.approx(objective(with_all), rel=1e-4)
        pairs = [(float(str(row["contribution"])), float(str(row["effect"]))) for row in measured]
        rho = float(spearmanr(*zip(*pairs, strict=True)).statistic)
        assert checks["n"] == 20 and checks["rho"] == pytest.approx(rho)
        assert checks["rho_low"] < checks["rho"] < checks["rho_high"]  # type: ignore[operator]
        shares = [float(str(checks[name])) for name in ("features_share", "error_share", "constant_share")]
        assert sum(shares) == pytest.approx(1)
        assert checks["before_largest"] == 0 and int(str(checks["before_nodes"])) > 100
        assert checks["controls"] == 10 and checks["controls_absolute"] < checks["strongest_absolute"]  # type: ignore[operator]
        assert asked(cache, capsys, "query", "attribution", "--hookpoint", HOOKPOINT, "--top", "200") == rows

    def test_a_token_against_another(self, cache: Path, trace: Inference, capsys: pytest.CaptureFixture[str]) -> None:
        position = trace.prompt_tokens + 20
        rows = attribute(cache, capsys, "--position", str(position), "--rival", "7", "--top", "5")
        assert {row["explained"] for row in rows} == {str(position)} and {row["rival"] for row in rows} == {"7"}
        peaks = [row["peak"] for row in rows]
        assert all(int(str(peak)) < position for peak in peaks), "what comes later does not contribute"

    def test_a_log_probability(
        self, cache: Path, trace: Inference, bundle: LanguageModel, capsys: pytest.CaptureFixture[str]
    ) -> None:
        position = trace.prompt_tokens + 20
        rows = attribute(cache, capsys, "--position", str(position), "--log-probability", "--top", "5")
        assert {row["rival"] for row in rows} == {None}
        checks = asked(cache, capsys, "query", "attribution-checks", "--inference", str(INFERENCE))
        (value,) = [row["value"] for row in checks if row["rival"] is None]
        known = normal(logits(bundle, trace, None))[position - 1, trace.token_ids[position]]
        assert value == pytest.approx(known, rel=1e-3, abs=1e-4)

    def test_controls_are_those_of_the_seed(self, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
        def controls(seed: str) -> list[object]:
            rows = attribute(cache, capsys, "--rival", "--top", "200", "--seed", seed)
            return [row["feature"] for row in rows if row["effect"] is not None][20:]

        assert controls("3") == controls("3")

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--position", "0"], "from 1 to"),
            (["--position", "99999"], "from 1 to"),
            (["--rival", "much more than a token"], "tokens of this model: name a single one"),
            (["--hookpoints", "layers.9.mlp"], "unknown hookpoint"),
            (["--top", "0"], "top is 0"),
            (["--seed", "-1"], "--seed -1"),
        ],
    )
    def test_what_makes_no_sense(
        self, cache: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["attribute", "--experiment", "demo", "--cache", str(cache), "--inference", "0", "--device", "cpu"]
        assert main([*command, *more]) == 2
        said = capsys.readouterr().err
        assert message in said and len(said.splitlines()) == 1


class TestWorker:
    def test_a_stored_trace(self, worker: WorkerSettings, cache: Path, trace: Inference) -> None:
        question = AblationQuestion(hookpoint=HOOKPOINT, features=(strongest_features(trace)[0],), span=(3, 90))
        ask = AblationRequest(trace=StoredTrace(experiment="demo", inference=INFERENCE), question=question)
        with WorkerClient(worker) as client:
            events = list(client.study(ask))
        steps = [event for event in events if isinstance(event, Progressed)]
        assert steps[-1].done == steps[-1].of and isinstance(events[-1], Done)
        (told,) = [event for event in events if isinstance(event, Studied)]
        study = AblationStudy.model_validate(told.document)
        assert study.question == question and study.trace.inference == INFERENCE
        stored = json.loads((cache / "demo" / "studies" / "ablation" / f"{told.id}.json").read_text())
        assert AblationStudy.model_validate(stored) == study

    def test_a_run_that_was_just_made(self, worker: WorkerSettings, cache: Path) -> None:
        with WorkerClient(worker) as client:
            run = list(client.generate(request(prompt="Tom has 3 apples and buys 4 more.", max_new_tokens=300)))
            job = run[-1].job  # type: ignore[union-attr]
            before = sorted((cache / "demo" / "studies").rglob("*.json"))
            ask = AttributionRequest(
                trace=RunTrace(job=job), question=AttributionQuestion(hookpoint=HOOKPOINT, position=60, rival=RUNNER_UP)
            )
            (told,) = [event for event in client.study(ask) if isinstance(event, Studied)]
        study = AttributionStudy.model_validate(told.document)
        assert told.id is None and study.trace.inference is None and study.explained[0].rival
        assert sorted((cache / "demo" / "studies").rglob("*.json")) == before, "nothing of it is stored"

    @pytest.mark.parametrize(
        ("trace", "question", "message"),
        [
            (RunTrace(job="gone"), {}, "has forgotten that run"),
            (StoredTrace(experiment="nowhere", inference=0), {}, "unknown experiment"),
            (StoredTrace(experiment="demo", inference=99), {}, "inference 99 is out of range"),
            (StoredTrace(experiment="demo", inference=0), {"hookpoint": "layers.9.mlp"}, "unknown hookpoint"),
            (StoredTrace(experiment="demo", inference=0), {"position": 10**6}, "from 1 to"),
            (StoredTrace(experiment="demo", inference=0), {"rival": "a b c d"}, "name a single one"),
        ],
    )
    def test_what_is_refused_at_once(
        self, worker: WorkerSettings, trace: StoredTrace | RunTrace, question: dict[str, object], message: str
    ) -> None:
        ask = AttributionRequest(
            trace=trace, question=AttributionQuestion.model_validate({"hookpoint": HOOKPOINT} | question)
        )
        with WorkerClient(worker) as client, pytest.raises(WorkerRefused, match=message):
            list(client.study(ask))


def ended(worker: WorkerSettings, ask: AblationRequest) -> JobWatch:
    """A job of a visitor who waited for it."""
    with WorkerClient(worker) as client:
        watch = JobWatch(client, ask, lambda: True)
        while watch.going:
            threading.Event().wait(0.01)
    return watch


class TestPage:
    PLACE: ClassVar = {"experiment": "demo", "inference": str(INFERENCE), "hookpoint": HOOKPOINT}

    def test_nobody_is_asked_before_somebody_asks(self, visit: Open) -> None:
        said = texts(visit("inference", **self.PLACE))
        assert "What features do here" in said and "No worker answers" not in said
        assert "under steering" not in said

    def test_a_feature_set_to_0(
        self, visit: Open, cache: Path, trace: Inference, capsys: pytest.CaptureFixture[str]
    ) -> None:
        feature = strongest_features(trace)[2]
        (row,) = ablate(cache, capsys, "--features", str(feature))
        app = visit("inference", **self.PLACE, feature=str(feature), does="ablation.everywhere.answer.runner-up")
        assert not app.error and not app.warning and "No worker answers" not in texts(app)
        metrics = {metric.label: metric.value for metric in app.metric}
        assert metrics["Set to 0 at"] == f"{row['fires']} positions"
        assert metrics["Largest KL (nats)"].endswith(f"at {row['kl_position']}")
        (drawn,) = [data for data in payloads(app, "groups") if data["measure"] == "KL"]
        (snippet,) = drawn["groups"][0]["snippets"]
        assert snippet["texts"] == list(trace.texts) and drawn["maximum"] == pytest.approx(row["kl_max"])
        assert snippet["segments"].count("marked") == row["fires"]

    def test_a_feature_that_does_not_fire_there(
        self, visit: Open, cache: Path, trace: Inference, capsys: pytest.CaptureFixture[str]
    ) -> None:
        silent = next(iter(set(range(2048)) - set(trace.encodings[HOOKPOINT].features.ravel().tolist())))
        (row,) = ablate(cache, capsys, "--features", str(silent))
        assert (row["fires"], row["kl_sum"], row["kl_position"]) == (0, 0, None)
        app = visit("inference", **self.PLACE, feature=str(silent), does="ablation.everywhere.answer.runner-up")
        assert "nothing changes without it, bit for bit" in texts(app)

    def test_what_the_answer_depends_on(
        self, visit: Open, cache: Path, capsys: pytest.CaptureFixture[str], trace: Inference
    ) -> None:
        attribute(cache, capsys, "--rival")
        (checks,) = [
            row
            for row in asked(cache, capsys, "query", "attribution-checks", "--inference", str(INFERENCE))
            if row["rival"] == "runner-up"
        ][:1]
        app = visit("inference", **self.PLACE, does="attribution.everywhere.answer.runner-up")
        assert not app.error and not app.warning and "No worker answers" not in texts(app)
        metrics = {metric.label: metric.value for metric in app.metric}
        assert metrics["Agreement with ablation, n = 20"].startswith(f"{checks['rho']:.2f}, from ")
        error = metrics["Left to the error, of all contributions by size"]
        assert error == f"{100 * float(str(checks['error_share'])):.1f} %"
        said = texts(app)
        sums = [float(str(checks[f"{name}_sum"])) for name in ("features", "error", "constant")]
        through, value = sum(sums), float(str(checks["value"]))
        assert f"Through {HOOKPOINT}: {through:+.3g} of {value:.5g} (features {sums[0]:+.3g}, error" in said
        assert f"Logits of “{trace.answer}”" in said or f", “{trace.answer}” less “" in said
        (drawn,) = [data for data in payloads(app, "groups") if data["measure"] == "contribution"]
        assert drawn["maximum"] > 0

    def test_what_is_still_to_be_chosen(self, visit: Open) -> None:
        for does, said in (
            ("ablation.span.answer.runner-up", "Nothing is marked"),
            ("attribution.everywhere.token.runner-up", "No token is marked"),
            ("attribution.everywhere.answer.rival", "Name a rival"),
        ):
            assert said in texts(visit("inference", **self.PLACE, does=does))

    def test_a_result_of_a_job(
        self, visit: Open, worker: WorkerSettings, monkeypatch: pytest.MonkeyPatch, trace: Inference
    ) -> None:
        monkeypatch.setenv("KTHINK_WORKER_URL", f"http://127.0.0.1:{worker.port}")
        feature = strongest_features(trace)[1]
        last = len(trace.token_ids) - 2
        app = visit(
            "inference", **self.PLACE, feature=str(feature), span=f"11.{last}", does="ablation.span.answer.runner-up"
        )
        assert [button.label for button in app.button if button.label == "Set it to 0"]
        question = AblationQuestion(hookpoint=HOOKPOINT, features=(feature,), span=(11, last))
        ask = AblationRequest(trace=StoredTrace(experiment="demo", inference=INFERENCE), question=question)
        app.session_state["job ablation"] = watch = ended(worker, ask)
        app.run()
        assert watch.trouble is None
        assert "Set to 0 at" in {metric.label for metric in app.metric}, texts(app)[-1500:]

    def test_a_run_that_was_just_made(
        self, visit: Open, worker: WorkerSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KTHINK_WORKER_URL", f"http://127.0.0.1:{worker.port}")
        with WorkerClient(worker) as client:
            run = LiveRun(client, request(prompt="Two and two?", max_new_tokens=40), (), lambda: True)
            run.began_to_come.wait(60)
            while run.going:
                threading.Event().wait(0.01)
        app = visit("live", experiment="demo", hookpoint=HOOKPOINT, does="ablation.everywhere.answer.runner-up")
        app.session_state["live_run"] = run
        app.run()
        feature = int(run.trace.ranked(HOOKPOINT)["feature"].iloc[0])
        app.query_params["feature"] = str(feature)
        app.run()
        assert [button.label for button in app.button if button.label == "Set it to 0"]
        assert ("Keep the run to ask which of its sentences" in texts(app)) == ("think" in run.trace.segments)
        question = AblationQuestion(hookpoint=HOOKPOINT, features=(feature,))
        ask = AblationRequest(trace=RunTrace(job=str(run.job)), question=question)
        app.session_state["job ablation"] = ended(worker, ask)
        app.run()
        assert not app.exception and not app.error
        positions = {metric.label: metric.value for metric in app.metric}["Set to 0 at"]
        fired = run.trace.tracks(HOOKPOINT, (feature,))
        assert positions == f"{len(fired)} positions"
        (drawn,) = [data for data in payloads(app, "groups") if data["measure"] == "KL"]
        assert drawn["groups"][0]["snippets"][0]["texts"] == run.trace.texts

    def test_a_result_that_does_not_count_is_told(
        self, visit: Open, cache: Path, trace: Inference, capsys: pytest.CaptureFixture[str]
    ) -> None:
        feature = strongest_features(trace)[0]
        folder = cache / "demo" / "studies" / "ablation"
        before = set(folder.glob("*.json")) if folder.exists() else set()
        ablate(cache, capsys, "--features", str(feature), "--span", "7:70")
        (path,) = set(folder.glob("*.json")) - before
        document = json.loads(path.read_text())
        document["effects"][0]["kl"] = document["effects"][0]["kl"][:-1]
        path.write_text(json.dumps(document))
        app = visit("inference", **self.PLACE, feature=str(feature), span="7.70", does="ablation.span.answer.runner-up")
        assert any("does not count" in warning.value for warning in app.warning)
        assert main(["query", "ablation", "--experiment", "demo", "--cache", str(cache)]) == 0
        assert path.name in capsys.readouterr().err
        path.unlink()


def test_answers_of_other_tokens_are_not_listed(
    cache: Path, trace: Inference, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where an experiment was thrown away and made anew."""
    ablate(cache, capsys, "--features", str(strongest_features(trace)[0]), "--span", "9:80")
    rows = asked(cache, capsys, "query", "ablation")
    (path,) = [
        path
        for path in (cache / "demo" / "studies" / "ablation").glob("*.json")
        if json.loads(path.read_text())["question"]["span"] == [9, 80]
    ]
    document = json.loads(path.read_text())
    document["trace"]["digest"] = "sha256:" + "0" * 64
    path.write_text(json.dumps(document))
    assert len(asked(cache, capsys, "query", "ablation")) == len(rows) - 1
    path.unlink()


@given(st.lists(st.tuples(st.integers(-9, 9), st.floats(-1e6, 1e6)), max_size=40))
def test_rank_correlation_by_scipy(pairs: list[tuple[int, float]]) -> None:
    one, other = [float(pair[0]) for pair in pairs], [pair[1] for pair in pairs]
    found = rank_correlation(one, other)
    assert found.n == len(pairs)
    if len(pairs) < 4 or len(set(one)) == 1 or len(set(other)) == 1:
        assert found[:3] == (None, None, None)
        return
    assert found.rho == pytest.approx(spearmanr(one, other).statistic, abs=1e-9)
    assert found.low is not None and found.high is not None and found.low <= found.rho <= found.high
    if abs(found.rho) < 0.999:
        z = np.arctanh(found.rho)
        error = np.sqrt((1 + found.rho**2 / 2) / (len(pairs) - 3))
        assert found.low == pytest.approx(np.tanh(z - 1.959964 * error), abs=1e-5)
        assert found.high == pytest.approx(np.tanh(z + 1.959964 * error), abs=1e-5)


def test_a_trace_without_an_answer_has_one_line(
    cache: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = [
        "precompute", "--cache", str(tmp_path), "--experiment", "short", "--limit", "1", "--max-new-tokens", "12",
        "--device", "cpu",
    ]  # fmt: skip
    assert main(command) == 0
    capsys.readouterr()
    assert main(["attribute", "--experiment", "short", "--inference", "0", "--cache", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "no answer in \\boxed{}" in said and "choose a position" in said and len(said.splitlines()) == 1

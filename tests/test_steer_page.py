"""The page Steer without a browser: what the link fills in, what cannot be, both streams, and what is told of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.served import free_port
from benchmarks.stand_in import SHAPES
from kthink_core import queries
from kthink_core.live.api import Done, GenerateRequest
from kthink_core.live.client import WorkerClient
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.prompts import is_correct
from kthink_core.records import Check, Intervention, Trigger
from kthink_core.settings import WorkerSettings
from kthink_core.steer_options import Asked
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer
from kthink_core.ui.live import presence
from kthink_core.ui.live.live_run import LiveRun
from kthink_core.ui.steer.streams import Pair
from kthink_core.ui.view.permalink import View, format_view
from kthink_core.ui.view.steer_link import Run
from tests.app_visits import Open, payloads, tables, texts, visiting
from tests.store_samples import sample_inferences, write_sample
from tests.worker_process import QUESTIONS, working

H1, H2 = SHAPES["tiny"].hookpoints
CHECKED = ("clamped to what it has", "a silent feature ablated", "token by token")
STRONG = Intervention(H1, 5, "clamp", 80.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, tiny_plan: Plan) -> Path:
    """An experiment of the worker's model; one without an inference; one captured in the residual stream; one whose
    answers are compared as text."""
    cache = tmp_path_factory.mktemp("cache")
    precompute(tiny_plan, cache, 8, Silent())
    experiment = tiny_plan.experiment
    residual = experiment.config.model_copy(update={"site": "residual"})
    for name, changed in (("empty", {}), ("residual", {"config": residual})):
        with open_writer(cache, experiment.model_copy(update={"name": name} | changed)):
            pass
    worded = experiment.model_copy(
        update={"name": "worded", "inferences": 2, "config": experiment.config.model_copy(update={"grade": "text"})}
    )
    write_sample(cache, worded, sample_inferences(worded))
    return cache


@pytest.fixture(scope="module")
def worker(cache: Path, tiny_plan: Plan) -> Iterator[WorkerSettings]:
    with working(tiny_plan, cache=cache) as (settings, _):
        yield settings


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


@pytest.fixture
def with_worker(visit: Open, worker: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.setenv("KTHINK_WORKER_PORT", str(worker.port))
    # Streamlit's test runner has a server while the page runs only: a run that goes on would end with it.
    monkeypatch.setattr(presence, "exists", lambda: True)
    monkeypatch.setattr(presence, "get_instance", lambda: SimpleNamespace(is_active_session=lambda _: True))
    return visit


@pytest.fixture(scope="module")
def client(worker: WorkerSettings) -> Iterator[WorkerClient]:
    with WorkerClient(worker) as client:
        yield client


def steering(*done: Intervention, experiment: str = "tiny", **view: object) -> dict[str, str]:
    """The link of a view with these interventions, in units of activation."""
    fields = {"steer": tuple(map(Asked, done))} | view
    return format_view(View(experiment, H1, **fields))


def end(*runs: LiveRun) -> None:
    for run in runs:
        while run.going:
            time.sleep(0.01)


def pair(client: WorkerClient, *done: Intervention, **fields: object) -> Pair:
    request = GenerateRequest.model_validate({"prompt": QUESTIONS[0], "max_new_tokens": 24, "temperature": 1} | fields)
    baseline = LiveRun(client, request, (), lambda: True)
    steered = LiveRun(client, request.model_copy(update={"steering": done}), (), lambda: True, after=baseline)
    end(baseline, steered)
    return Pair(baseline, steered, None)


def shown(app: AppTest, found: Pair) -> AppTest:
    app.session_state["steer_pair"] = found
    app.run()
    assert not app.exception
    return app


def test_the_link_fills_everything_in(with_worker: Open) -> None:
    done = Intervention(H2, 7, "add", -2.5, 3, Trigger(H1, 9))
    run = Run("bypass", 0.5, 0.9, 12, 77)
    app = with_worker("steer", **steering(done, STRONG, run=run, inference=1))
    (box,) = payloads(app, "taken")
    assert box["text"] == QUESTIONS[1] and box["ready"] and box["message"] is None
    first = {name: app.session_state[f"steer_0_{name}"] for name in ("hookpoint", "feature", "action", "value", "unit")}
    assert first == {"hookpoint": H2, "feature": 7, "action": "add", "value": -2.5, "unit": "activation"}
    assert app.number_input(key="steer_0_start").value == 3
    assert (app.selectbox(key="steer_0_after").value, app.number_input(key="steer_0_of").value) == (H1, 9)
    assert app.number_input(key="steer_1_feature").value == 5
    assert app.number_input(key="steer_run_seed").value == 77 and app.number_input(key="steer_run_top_p").value == 0.9
    assert "The question of inference 1: the link holds it." in texts(app)


def test_without_a_word_in_the_link_a_run_is_as_the_inference_was(with_worker: Open, tiny_plan: Plan) -> None:
    app = with_worker("steer", experiment="tiny", inference="2")
    prompt, config = tiny_plan.prompts[2], tiny_plan.experiment.config
    values = {name: app.number_input(key=f"steer_run_{name}").value for name in ("seed", "temperature", "top_p")}
    assert values == {"seed": prompt.seed, "temperature": config.temperature, "top_p": config.top_p}
    assert app.number_input(key="steer_run_max_new_tokens").value == config.max_new_tokens
    (box,) = payloads(app, "taken")
    assert not box["ready"] and "add an intervention" in box["message"]
    assert [token[1] for token in box["tokens"]] == list(prompt.token_ids)


def test_what_is_changed_is_in_the_link(with_worker: Open) -> None:
    app = with_worker("steer", experiment="tiny", hookpoint=H1, feature="9")
    app.button(key="steer_add").click().run()
    link = app.query_params["steer"]
    assert link in (f"{H1}_9_clamp_1.0x", f"{H1}_9_clamp_1.0")
    app.number_input(key="steer_0_value").set_value(4.5).run()
    app.segmented_control(key="steer_0_unit").set_value("activation").run()
    app.number_input(key="steer_0_start").set_value(6).run()
    app.selectbox(key="steer_0_after").set_value(H2).run()
    app.number_input(key="steer_0_of").set_value(11).run()
    assert app.query_params["steer"] == f"{H1}_9_clamp_4.5_6_{H2}_11"
    app.segmented_control(key="steer_0_action").set_value("ablate").run()
    assert app.query_params["steer"] == f"{H1}_9_ablate_6_{H2}_11"
    app.button(key="steer_add").click().run()
    assert len(app.session_state["view"].steer) == 2 and not app.error
    app.button(key="steer_0_remove").click().run()
    assert len(app.session_state["view"].steer) == 1
    app.number_input(key="steer_run_seed").set_value(4).run()
    assert app.session_state["view"].run.seed == 4 and not app.exception


def test_strength_in_units_of_the_maximum(with_worker: Open, cache: Path) -> None:
    with open_reader(cache, "tiny") as reader:
        counts = queries.feature_counts(reader, H1)
        feature, largest = int(counts["feature"].iloc[0]), float(counts["max_activation"].iloc[0])
    app = with_worker("steer", experiment="tiny", hookpoint=H1, steer=f"{H1}_{feature}_clamp_2x")
    assert f"Asked for: {2 * largest:.2f}" in texts(app).replace("\\", "")
    assert payloads(app, "taken")[0]["ready"]


def silent(cache: Path) -> int:
    """A feature that never fires while the model writes."""
    with open_reader(cache, "tiny") as reader:
        maxima = queries.feature_maxima(reader, H1, tuple(range(SHAPES["tiny"].num_latents)))
    found = maxima.loc[maxima["max_activation"] == 0, "feature"].tolist()
    assert found
    return int(found[0])


@pytest.mark.parametrize(
    ("steer", "told"),
    [
        (f"{H1}_SILENT_clamp_2x", "it has no maximum to scale by; give its strength in units of activation"),
        (f"{H1}_5_clamp_m1", "activations are never negative"),
        (f"{H1}_5_add_1e300", "the model's numbers overflow"),
        (f"{H1}_5_ablate_24", "at most 24 are generated, the last is number 23"),
        (f"{H1}_5_ablate~{H1}_5_add_1", "is steered twice"),
    ],
)
def test_what_cannot_be_is_told_beside_its_field_and_does_not_run(
    with_worker: Open, cache: Path, steer: str, told: str
) -> None:
    app = with_worker("steer", experiment="tiny", steer=steer.replace("SILENT", str(silent(cache))))
    (message,) = [error.value.replace("\\", "") for error in app.error]
    assert told in message
    (box,) = payloads(app, "taken")
    assert not box["ready"] and told in box["message"]


@pytest.mark.parametrize("steer", [f"{H1}_5_clamp_nan", f"{H1}_5_add_inf", f"{H1}_99999_ablate", "layers.77_1_ablate"])
def test_what_makes_no_sense_in_a_link_is_told(with_worker: Open, steer: str) -> None:
    app = with_worker("steer", experiment="tiny", steer=steer)
    (message,) = [warning.value.replace("\\", "") for warning in app.warning]
    assert message.startswith("The link's steer")


def test_a_link_says_which_of_its_interventions_is_wrong(with_worker: Open) -> None:
    last = SHAPES["tiny"].num_latents - 1
    app = with_worker("steer", experiment="tiny", steer=f"{H1}_99999_ablate~{H1}_5_ablate~{H1}_6_clamp_lots")
    told = [warning.value.replace("\\", "") for warning in app.warning]
    assert f"{H1} has features from 0 to {last}, not '99999'" in told[0] and "(and 1 more)" in told[0]
    assert len(told) == 1 and app.number_input(key="steer_0_feature").value == 5


def test_no_token_to_generate_is_told_at_its_field(with_worker: Open) -> None:
    app = with_worker("steer", **steering(STRONG, run=Run("think", 0.6, 0.95, 0, 1)))
    assert [error.value for error in app.error] == ["At least 1."]
    (box,) = payloads(app, "taken")
    assert not box["ready"] and box["message"].startswith("Most new tokens: ")


def test_the_residual_stream_needs_a_word(visit: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTHINK_WORKER_URL", "http://127.0.0.1:9")
    app = visit("steer", **steering(STRONG, experiment="residual"))
    assert "which it was not trained on" in app.error[0].value
    app.toggle(key="steer_residual").set_value(True).run()
    assert app.query_params["residual"] == "on" and not app.error


def test_a_worker_that_captures_elsewhere_is_offered_no_residual_stream(with_worker: Open) -> None:
    app = with_worker("steer", **steering(STRONG, experiment="residual"))
    assert "the worker has not the SAE of" in app.error[0].value.replace("\\", "")
    assert not [toggle for toggle in app.toggle if toggle.key == "steer_residual"]
    assert "start one with `--experiment residual`" in texts(app)
    assert not payloads(app, "taken") and "The worker has another model or other SAEs" in texts(app)


@pytest.mark.parametrize(("field", "typed"), [("feature", 9999), ("feature", -1), ("of", 9999), ("value", None)])
def test_a_number_that_cannot_be_stays_in_its_field_and_does_not_run(
    with_worker: Open, field: str, typed: float | None
) -> None:
    done = Intervention(H1, 5, "clamp", 8.0, 0, Trigger(H2, 7))
    app = with_worker("steer", **steering(done))
    link = app.query_params["steer"]
    app.number_input(key=f"steer_0_{field}").set_value(typed).run()
    assert app.number_input(key=f"steer_0_{field}").value == typed
    (error,) = app.error
    assert ("the strength is empty" if typed is None else f"'{typed}' is none") in error.value.replace("\\", "")
    assert app.query_params["steer"] == link and not payloads(app, "taken")[0]["ready"]
    app.number_input(key="steer_0_start").set_value(2).run()  # another field leaves the mistake where it is
    assert app.number_input(key=f"steer_0_{field}").value == typed and len(app.error) == 1
    app.number_input(key=f"steer_0_{field}").set_value(3).run()
    assert not app.error and payloads(app, "taken")[0]["ready"]


def test_without_a_worker_and_without_an_inference(visit: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTHINK_WORKER_URL", "http://127.0.0.1:9")
    for experiment in ("tiny", "empty"):
        app = visit("steer", **steering(STRONG, experiment=experiment))
        assert "No worker answers." in texts(app) and not app.error
        assert app.number_input(key="steer_0_feature").value == 5
        assert not payloads(app, "taken")


def test_the_baseline_is_the_stored_inference_token_for_token(
    with_worker: Open, client: WorkerClient, cache: Path, tiny_plan: Plan
) -> None:
    run = Run("think", 1.0, 0.95, 24, tiny_plan.prompts[1].seed - 1)
    app = with_worker("steer", **steering(STRONG, run=run, inference=1))
    (box,) = payloads(app, "taken")
    assert box["ready"], box["message"]
    shown(app, pair(client, STRONG))
    app.button(key="steer_another").click().run()
    found = app.session_state["steer_pair"]
    end(found.baseline, found.steered)
    with open_reader(cache, "tiny") as reader:
        stored = queries.transcript(reader, 1)["token_id"].tolist()
    assert found.baseline.trace.token_ids == stored
    assert found.steered.request.steering == (STRONG,)
    assert found.steered.trace.token_ids != stored


def test_both_streams_and_what_is_told_of_them(with_worker: Open, client: WorkerClient) -> None:
    found = pair(client, STRONG, Intervention(H2, 3, "ablate", 0.0, 4))
    app = shown(with_worker("steer", **steering(STRONG)), found)
    both = payloads(app, "bands")
    assert [one["texts"] for one in both] == [found.baseline.trace.texts, found.steered.trace.texts]
    assert both[0]["shown"] == both[1]["shown"] if "shown" in both[0] else True
    (outcome,) = [table.value for table in app.dataframe if "Baseline" in table.value]
    lengths = [sum(segment != "prompt" for segment in run.trace.segments) for run in found[:2]]
    assert outcome.loc["Generated tokens"].tolist() == list(map(str, lengths))
    assert "Verdict" not in outcome.index
    (receipt,) = tables(app, "began")
    assert isinstance(found.steered.end, Done)
    told = found.steered.end.receipts
    assert receipt["positions"].tolist() == [one.positions for one in told] == [lengths[1], lengths[1] - 4]
    assert receipt["change_max"].tolist() == pytest.approx([one.change_max for one in told])
    assert all(
        badge in texts(app) for badge in ("clamped to what it has", "a silent feature ablated", "token by token")
    )
    (words,) = payloads(app, "stretches")
    removed = "".join(one["text"] for one in words["stretches"] if one["kind"] != "added")
    assert removed.split() == "".join(found.baseline.trace.texts[-lengths[0] :]).split()
    (features,) = tables(app, "share_steered_less")
    of_strong = features.loc[features["feature"] == 5]
    assert len(of_strong) == 1 and of_strong["max_steered"].iloc[0] > of_strong["max_baseline"].iloc[0]


def test_both_streams_are_graded_as_the_experiment_is(with_worker: Open, client: WorkerClient, cache: Path) -> None:
    """1,000 is another text than 1000, but no other number. Of the two only the first one's answer is the reference."""
    app = with_worker("steer", **steering(STRONG, experiment="worded", inference=1, run=Run("think", 1.0, 0.95, 4, 3)))
    shown(app, pair(client, STRONG, max_new_tokens=4))
    app.button(key="steer_another").click().run()
    found = app.session_state["steer_pair"]
    end(found.baseline, found.steered)
    assert found.reference == "1"
    for side, answer in ((found.baseline, "1"), (found.steered, "1.0")):
        side.end = side.end.model_copy(update={"answer": answer, "finish_reason": "stop"})
    for pair_shown, verdicts in (
        (found, ["✓ right", "✗ wrong"]),
        (found._replace(grade="number"), ["✓ right", "✓ right"]),
        (found._replace(grade="none"), ["? ungraded", "? ungraded"]),
    ):
        (outcome,) = [table.value for table in shown(app, pair_shown).dataframe if "Baseline" in table.value]
        assert outcome.loc["Verdict"].tolist() == verdicts


def test_a_clamp_at_what_is_there_changes_nothing(with_worker: Open, client: WorkerClient, cache: Path) -> None:
    app = shown(
        with_worker("steer", experiment="tiny"),
        pair(client, Intervention(H1, silent(cache), "ablate"), seed=first_seed(cache)),
    )
    assert "Both are the same, token for token" in texts(app).replace("\\", "")
    assert not payloads(app, "stretches")
    (receipt,) = tables(app, "began")
    assert receipt["change_max"].tolist() == [0.0]


def test_what_never_began_says_so(with_worker: Open, client: WorkerClient, cache: Path) -> None:
    never = Intervention(H1, 5, "clamp", 9.0, after=Trigger(H1, silent(cache)))
    app = shown(with_worker("steer", experiment="tiny"), pair(client, never, seed=first_seed(cache)))
    assert "was nowhere acted on" in texts(app) and "never fired in time" in texts(app)


def test_a_check_that_does_not_hold_is_red(with_worker: Open, client: WorkerClient) -> None:
    found = pair(client, STRONG)
    assert found.steered.end is not None
    (receipt,) = found.steered.end.receipts
    broken = replace(receipt, checks=(Check("as it is", 0.5, 1e-6), Check("silent", 0.0, 0.0)))
    found.steered.end = found.steered.end.model_copy(update={"receipts": (broken,)})
    app = shown(with_worker("steer", **steering(STRONG)), found)
    assert ":red-badge[:material/close: clamped to" in texts(app)
    assert ":green-badge[:material/check: a silent" in texts(app)
    (error,) = app.error
    assert error.value.replace("\\", "").startswith("Does not hold: clamped to what it has: changes nothing.")


def test_a_feature_without_a_maximum_begins_with_an_activation(with_worker: Open, cache: Path) -> None:
    app = with_worker("feature", experiment="tiny", hookpoint=H1, feature=str(silent(cache)))
    (way,) = [link.proto.query_string for link in app.get("page_link") if link.proto.label == "Steer it"]
    assert dict(parse_qsl(way))["steer"] == f"{H1}_{silent(cache)}_clamp_1.0"
    assert payloads(with_worker("steer", **dict(parse_qsl(way))), "taken")[0]["ready"]


def first_seed(cache: Path) -> int:
    """That of the first inference, in which what is silent in the experiment is."""
    with open_reader(cache, "tiny") as reader:
        return int(queries.inferences(reader)["seed"].iloc[0])


def test_a_baseline_that_is_there_is_not_run_again(with_worker: Open, client: WorkerClient) -> None:
    lost = LiveRun(WorkerClient(WorkerSettings(port=free_port())), GenerateRequest(prompt="?"), (), lambda: True)
    end(lost)
    app = with_worker("steer", **steering(STRONG, run=Run("think", 1.0, 0.95, 24, 3)))
    whole = pair(client, STRONG, seed=3)
    shown(app, Pair(whole.baseline, lost, None))
    assert "no worker answers" in texts(app).replace("\\", "")
    app.button(key="steer_again").click().run()
    found = app.session_state["steer_pair"]
    end(found.steered)
    app.run()
    assert found.baseline is whole.baseline
    assert found.steered.trace.token_ids == whole.steered.trace.token_ids
    app.button(key="steer_another").click().run()
    other = app.session_state["steer_pair"]
    end(other.baseline, other.steered)
    assert other.baseline is not whole.baseline and other.baseline.request.seed == 4
    assert app.session_state["view"].run.seed == 4


def test_one_run_refused_leaves_the_other(with_worker: Open, client: WorkerClient) -> None:
    whole = pair(client, STRONG)
    refused = pair(client, Intervention("layers.77", 1, "ablate")).steered
    app = shown(with_worker("steer", **steering(STRONG)), Pair(whole.baseline, refused, None))
    assert len(payloads(app, "bands")) == 1 and "Refused" in texts(app)
    assert "unknown hookpoint" in texts(app).replace("\\", "")
    assert "Below is what was asked before" in texts(app)


def test_a_kept_run_says_on_its_page_how_it_was_steered(with_worker: Open, client: WorkerClient, cache: Path) -> None:
    found = pair(client, STRONG, Intervention(H2, 6, "ablate", 0.0, 2))._replace(reference="12")
    app = shown(with_worker("steer", **steering(STRONG)), found)
    app.text_input(key="steer_author").set_value("Ada").run()
    app.button(key="steer_keep").click().run()
    (link,) = [link.proto.query_string for link in app.get("page_link") if "Kept as inference" in link.proto.label]
    kept = with_worker("inference", **dict(parse_qsl(link)))
    assert dict(parse_qsl(link))["experiment"] == "live-steered"
    with open_reader(cache, "live-steered") as reader:
        (row,) = queries.inferences(reader).to_dict("records")
    assert row["reference"] == "12" and row["correct"] == is_correct(row["answer"] or None, "12") is not None
    (fold,) = [fold.label.replace("\\", "") for fold in kept.expander if "Steered" in fold.label]
    told = fold.replace("\u2060", "")
    done = re.sub(r" \([^;]*\)", "", told)
    assert done == f"Steered: {H1}:5 clamp to 80; {H2}:6 ablate from token 2" and f"{H1}:5 (" in told
    (receipt,) = tables(kept, "began")
    assert all(
        badge in texts(kept) for badge in ("clamped to what it has", "a silent feature ablated", "token by token")
    )
    causes = with_worker("inference", **dict(parse_qsl(link)), does="ablation.everywhere.answer.runner-up")
    assert "written under steering, and is read under it here" in texts(causes)
    (before,) = tables(app, "began")
    assert receipt["positions"].tolist() == before["positions"].tolist()
    assert payloads(kept, "branches")[0]["branches"], "its tooltip offers to go on from a position"
    length = len(found.steered.trace)
    live = with_worker("live", **dict(parse_qsl(link)), branch=f"{length - 4}.9")
    said = texts(live).replace("\\", "").replace("\u2060", "")
    assert "Steered as the trace was: " + told.removeprefix("Steered: ") in said
    live.button(key="branch_run").click().run()
    end(live.session_state["live_run"])
    live.run()
    (branched,) = tables(live, "began")
    assert branched["began"].tolist() == receipt["began"].tolist()
    assert len(branched) == 2 and all(badge in texts(live) for badge in CHECKED)
    (way,) = [link.proto.query_string for link in kept.get("page_link") if link.proto.label == "Steer it"]
    there = with_worker("steer", **dict(parse_qsl(way)))
    assert [one.intervention for one in there.session_state["view"].steer] == list(found.steered.request.steering)
    assert payloads(there, "taken")[0]["text"] == QUESTIONS[0]
    assert there.number_input(key="steer_run_max_new_tokens").value == 24


def test_one_click_leads_here_from_a_feature_and_an_inference(with_worker: Open) -> None:
    for page in ("feature", "inference"):
        app = with_worker(page, experiment="tiny", hookpoint=H1, feature="9", inference="2", steered="sweep")
        (way,) = [link.proto.query_string for link in app.get("page_link") if link.proto.label == "Steer it"]
        there = with_worker("steer", **dict(parse_qsl(way)))
        (one,) = there.session_state["view"].steer
        assert (one.intervention.hookpoint, one.intervention.feature, one.intervention.action) == (H1, 9, "clamp")
        assert payloads(there, "taken")[0]["text"] == QUESTIONS[2] and payloads(there, "taken")[0]["ready"]

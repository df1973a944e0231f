"""The live page without a browser: with no worker, with one of another model, before and after a run."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pandas as pd
import pytest

from benchmarks.served import free_port
from kthink_core.identity import sae_revision
from kthink_core.live.api import EncodeRequest, GenerateRequest
from kthink_core.live.client import WorkerClient
from kthink_core.live.remembered import new_run_id
from kthink_core.live.watchlist import Watch, firings
from kthink_core.notes import FILE, FeatureSubject, Notebook
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.prompts import INSTRUCTION
from kthink_core.queries.trace import StoredTrace, token_activations
from kthink_core.settings import WorkerSettings
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer
from kthink_core.ui.live import run_list
from kthink_core.ui.live.live_run import LiveRun
from kthink_core.ui.live.live_view import SILENT
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.permalink import AFTER
from tests.app_visits import Open, at_link, payloads, tables, texts, transcript, visiting
from tests.worker_process import working

REQUEST = GenerateRequest(prompt="<b>Two?</b>", max_new_tokens=30)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, tiny_plan: Plan) -> Path:
    """An experiment of the worker's model, one of another, and one without an inference yet."""
    cache = tmp_path_factory.mktemp("cache")
    precompute(tiny_plan, cache, 8, Silent())
    another = tiny_plan.experiment.revisions.model_copy(update={"model": "sha256:another"})
    for name, changed in (("foreign", {"revisions": another}), ("empty", {})):
        with open_writer(cache, tiny_plan.experiment.model_copy(update={"name": name} | changed)):
            pass
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
    return visit


@pytest.fixture(scope="module")
def client(worker: WorkerSettings) -> Iterator[WorkerClient]:
    with WorkerClient(worker) as client:
        yield client


def ended(client: WorkerClient, request: GenerateRequest | EncodeRequest, *watched: Watch) -> LiveRun:
    run = LiveRun(client, request, watched, lambda: True)
    run.began_to_come.wait(30)
    while run.going:
        time.sleep(0.01)
    return run


def test_without_a_worker_it_says_how_to_start_one(visit: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTHINK_WORKER_URL", "http://127.0.0.1:9")
    app = visit("live", experiment="tiny")
    assert "No worker answers." in texts(app) and "python -m kthink_core worker" in texts(app)
    assert not payloads(app, "taken")


def test_the_command_names_the_port_where_it_is_not_the_usual(visit: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("KTHINK_WORKER_PORT", str(port))
    app = visit("live", experiment="tiny")
    assert [each.value for each in app.code] == [f"python -m kthink_core worker --port {port}"]
    monkeypatch.setenv("KTHINK_WORKER_URL", f"http://127.0.0.1:{port}")
    app = visit("live", experiment="tiny")
    assert [each.value for each in app.code] == ["python -m kthink_core worker"]


def test_an_experiment_of_another_model_is_told(with_worker: Open) -> None:
    app = with_worker("live", experiment="foreign")
    assert "The worker has another model or other SAEs than experiment foreign" in texts(app)
    assert not payloads(app, "taken")


def test_a_remembered_run_that_cannot_be_read_is_a_line_and_the_form_is_there(with_worker: Open, cache: Path) -> None:
    run = new_run_id()
    (cache / ".runs" / ("0" * 64) / f"{10**11:012d}-{run}.run").mkdir(parents=True)  # no file: the system refuses it
    app = with_worker("live", experiment="tiny", live=run)
    assert "The run of this link cannot be read: Is a directory; the app's log" in texts(app).replace("\\", "")
    assert "0" * 64 not in texts(app)
    assert payloads(app, "taken")[0]["ready"]


def test_before_a_run(with_worker: Open) -> None:
    app = with_worker("live", experiment="tiny")
    (box,) = payloads(app, "taken")
    assert box["ready"] and box["text"] == "" and box["tokens"] == []
    assert not payloads(app, "bands")


def test_an_example_fills_the_box_and_its_tokens_show(with_worker: Open) -> None:
    app = with_worker("live", experiment="tiny")
    app.selectbox(key="live_example").select_index(0).run()
    (box,) = payloads(app, "taken")
    assert box["text"] == app.selectbox(key="live_example").value
    typed = "".join(text for text, _, of_the_person in box["tokens"] if of_the_person)
    assert typed == box["text"]
    before = len(box["tokens"])
    app.toggle(key="live_encode").set_value(True).run()
    (box,) = payloads(app, "taken")
    assert len(box["tokens"]) < before and all(of_the_person for *_, of_the_person in box["tokens"])


@pytest.mark.parametrize("tab", AFTER)
def test_after_a_run(with_worker: Open, client: WorkerClient, tab: str) -> None:
    app = with_worker("live", experiment="tiny", after=tab)
    app.session_state["live_run"] = run = ended(client, REQUEST)
    app.run()
    assert not app.exception
    shown = transcript(app)
    assert shown["texts"] == run.trace.texts and "<b>Two?</b>" in "".join(shown["texts"])
    assert shown["last"] == 127
    written = [sum((segment == "prompt") == of for segment in run.trace.segments) for of in (True, False)]
    assert f"Done, {written[0]} prompt + {written[1]} generated tokens" in texts(app).replace("\\", "")
    if tab == "unusual":
        (table,) = tables(app, "percentile")
        assert table["percentile"].between(0, 100).all()
        assert "Compared with the 3 inferences of tiny." in texts(app)
    elif tab == "features":
        (table,) = tables(app, "mean_activation")
        assert table["feature"].tolist()[: len(shown["ranked"])] == [one["feature"] for one in shown["ranked"]]
    else:
        assert len(app.get("vega_lite_chart")) == 1


def test_what_is_unusual_is_said_beside_the_experiment_that_the_link_names(
    with_worker: Open, client: WorkerClient, cache: Path, tiny_plan: Plan
) -> None:
    """With its n; one of another model is no choice, and the page says so."""
    second = tiny_plan.experiment.model_copy(update={"name": "second"})
    with open_reader(cache, "tiny") as reader, open_writer(cache, second) as writer:
        writer.append(reader.inference(0))
    app = with_worker("live", experiment="tiny", measure="second")
    app.session_state["live_run"] = run = ended(client, REQUEST)
    app.run()
    assert "Compared with the 1 inferences of second." in texts(app)
    (table,) = tables(app, "percentile")
    maxima = run.trace.ranked(app.session_state["view"].hookpoint, top=2**30).set_index("feature")["max_activation"]
    with open_reader(cache, "second") as reader:
        sql = "SELECT feature, max(activation) AS m FROM latents JOIN tokens USING (inference, position)"
        sql += " WHERE hookpoint = ? AND tokens.segment <> 'prompt' GROUP BY feature"
        stored = reader.query(sql, [app.session_state["view"].hookpoint]).set_index("feature")["m"]
    for feature, percentile in zip(table["feature"], table["percentile"], strict=True):
        assert percentile == 100 * (stored.get(feature, 0.0) < maxima[feature])
    called, lines = dict(zip(table["feature"], table["tokens"], strict=True)), transcript(app)["lines"]
    app = at_link(app, measure="foreign")
    told = [warning.value for warning in app.warning]
    assert told == [plain("The link's measure 'foreign' has no inference of the same model, SAEs and capture site.")]
    assert "Compared with the 3 inferences of tiny." in texts(app)
    (table,) = tables(app, "percentile")
    again = dict(zip(table["feature"], table["tokens"], strict=True))
    both = called.keys() & again.keys()
    assert both and {feature: called[feature] for feature in both} == {feature: again[feature] for feature in both}
    assert transcript(app)["lines"] == lines, "what features are called does not follow what is compared with"


def test_after_a_run_beside_an_experiment_without_an_inference(with_worker: Open, client: WorkerClient) -> None:
    app = with_worker("live", experiment="empty")
    app.session_state["live_run"] = ended(client, REQUEST)
    app.run()
    assert not app.exception
    assert transcript(app)["ranked"] and "no stored inference yet" in texts(app)


def test_what_is_kept_stays_measured_by_the_experiment_and_watched(
    with_worker: Open, client: WorkerClient, cache: Path
) -> None:
    app = with_worker("live", experiment="tiny")
    hookpoint = app.session_state["view"].hookpoint
    latents = ended(client, REQUEST).trace.latents(hookpoint, "generated")
    feature = int(latents["feature"].iloc[0])
    threshold = 1.001 * float(latents.loc[latents["feature"] == feature, "activation"].min())
    request = REQUEST.model_copy(update={"seed": 5})
    app.session_state["live_run"] = run = ended(client, request, Watch(hookpoint, feature, threshold))
    app.run()
    (unusual,) = tables(app, "percentile")
    app.text_input(key="live_author").set_value("Ada").run()
    app.button(key="live_keep").click().run()
    assert not app.exception
    assert not [button for button in app.button if button.key == "live_keep"], texts(app)
    assert transcript(app)["marked"] == [firing.position for firing in firings(run.trace, run.watched)]
    pd.testing.assert_frame_equal(tables(app, "percentile")[0], unusual)

    (link,) = [link.proto.query_string for link in app.get("page_link") if "Kept as inference" in link.proto.label]
    kept = with_worker("inference", **dict(parse_qsl(link)))
    assert transcript(kept)["texts"] == run.trace.texts
    assert transcript(kept)["marked"] == transcript(app)["marked"]
    assert [table["threshold"].tolist() for table in tables(kept, "threshold")] == [
        table["threshold"].tolist() for table in tables(app, "threshold")
    ]
    assert tables(kept, "threshold") or not transcript(app)["marked"]
    pd.testing.assert_frame_equal(tables(kept, "percentile")[0], unusual)
    assert "Compared with the 3 inferences of tiny." in texts(kept)
    (ranked,) = tables(kept, "lift")
    assert ranked["lift"].tolist() == pytest.approx(
        lifts(run, cache, hookpoint, ranked["feature"].tolist()), nan_ok=True
    )
    by_lift = tables(with_worker("inference", **dict(parse_qsl(link)) | {"ranking": "lift"}), "lift")[0]["lift"]
    known = by_lift.dropna()
    assert by_lift.isna().sum() + len(known) == len(ranked) and known.is_monotonic_decreasing

    again = with_worker("live", **dict(parse_qsl(link)))
    again.session_state["live_run"] = run
    again.run()
    assert "Compared with the 3 inferences of tiny." in texts(again)
    pd.testing.assert_frame_equal(tables(again, "percentile")[0], unusual)


def lifts(run: LiveRun, cache: Path, hookpoint: str, features: list[int]) -> list[float]:
    """By counting: how often a feature fires in the run and in the three stored inferences."""
    with open_reader(cache, "tiny") as reader:
        traces = [StoredTrace(lambda query, *args: query(reader, *args), number) for number in reader.inference_ids]
        segments = [segment for trace in traces for segment in trace.tokens()["segment"]]
        positions = sum(segment != "prompt" for segment in segments)
        found = pd.concat([token_activations(trace, hookpoint, "generated", tuple(features)) for trace in traces])
    own = run.trace.latents(hookpoint, "generated")
    written = sum(segment != "prompt" for segment in run.trace.segments)
    usual = [(found["feature"] == feature).sum() / positions for feature in features]
    shares = [(own["feature"] == feature).sum() / written for feature in features]
    return [share / one if one else float("nan") for share, one in zip(shares, usual, strict=True)]


def test_another_seed_takes_what_the_form_shows(with_worker: Open, client: WorkerClient) -> None:
    app = with_worker("live", experiment="tiny")
    hookpoint = app.session_state["view"].hookpoint
    app.session_state["live_run"] = first = ended(client, REQUEST, Watch(hookpoint, 9, 0.0))
    app.run()
    app.number_input(key="live_temperature").set_value(1.5).run()
    app.number_input(key="live_max_new_tokens").set_value(7).run()
    app.session_state[f"watch {hookpoint}"] = ["3"]
    app.run()
    app.number_input(key=f"watch {hookpoint} 3").set_value(2.5).run()
    app.button(key="live_another").click().run()
    run = app.session_state["live_run"]
    assert run is not first
    changed = {"temperature": 1.5, "max_new_tokens": 7, "seed": 1, "hookpoints": run.request.hookpoints}
    assert run.request == REQUEST.model_copy(update=changed)
    assert run.watched == (Watch(hookpoint, 3, 2.5),)


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("max_new_tokens", 5000, "5000 new tokens are 2952 more than the 2048"),
        ("max_new_tokens", 0, "Most new tokens: "),
        ("temperature", -1.0, "Temperature: "),
        ("top_p", 0.0, "Top-p: "),
        ("seed", -1, "Seed: "),
    ],
)
@pytest.mark.parametrize("text", ["", "Two?"])
def test_with_a_setting_that_cannot_be_nothing_runs(
    with_worker: Open, client: WorkerClient, setting: str, value: float, told: str, text: str
) -> None:
    app = with_worker("live", experiment="tiny")
    app.session_state["prompt_text"] = text
    app.session_state["live_run"] = ended(client, REQUEST)
    before = app.session_state["live_max_new_tokens"] if setting == "max_new_tokens" else 0
    app.number_input(key=f"live_{setting}").set_value(value).run()
    (box,) = payloads(app, "taken")
    assert not box["ready"] and told in box["message"]
    assert app.button(key="live_another").disabled
    app.number_input(key=f"live_{setting}").set_value(before or 1).run()
    (box,) = payloads(app, "taken")
    assert box["ready"] and box["message"] is None and not app.button(key="live_another").disabled


def test_an_old_reason_does_not_stand_beside_a_new_one(with_worker: Open, client: WorkerClient) -> None:
    app = with_worker("live", experiment="tiny")
    app.session_state["live_run"] = ended(client, REQUEST.model_copy(update={"prompt": "word " * 9000}))
    app.run()
    assert "more than the 4096 allowed" in texts(app)
    app.number_input(key="live_max_new_tokens").set_value(5000).run()
    assert not app.error and "5000 new tokens" in payloads(app, "taken")[0]["message"]


def test_more_than_the_context_is_told_before_it_is_sent(
    visit: Open, tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_plan._replace(lm=tiny_plan.lm._replace(context=100))
    with working(plan) as (settings, _):
        monkeypatch.setenv("KTHINK_WORKER_PORT", str(settings.port))
        app = visit("live", experiment="tiny")
        app.session_state["prompt_text"] = "Two?"
        app.run()
        (box,) = payloads(app, "taken")
        given = len(box["tokens"])
        assert not box["ready"] and f"{given} prompt tokens and 100 new ones are {given} more than" in box["message"]
        app.number_input(key="live_max_new_tokens").set_value(100 - given).run()
        assert payloads(app, "taken")[0]["ready"]
        app.number_input(key="live_max_new_tokens").set_value(101 - given).run()
        assert not payloads(app, "taken")[0]["ready"]
        app.toggle(key="live_encode").set_value(True).run()  # nothing new comes
        assert payloads(app, "taken")[0]["ready"]


def test_bypass_has_the_instruction_that_thinking_has(with_worker: Open) -> None:
    app = with_worker("live", experiment="tiny")
    app.selectbox(key="live_example").select_index(0).run()
    for mode in ("think", "bypass"):
        app.session_state["live_mode"] = mode
        app.run()
        assert not app.toggle(key="live_instruction").disabled
        (box,) = payloads(app, "taken")
        assert INSTRUCTION in "".join(text for text, *_ in box["tokens"])
        app.toggle(key="live_instruction").set_value(False).run()
        (box,) = payloads(app, "taken")
        assert INSTRUCTION not in "".join(text for text, *_ in box["tokens"])
        app.toggle(key="live_instruction").set_value(True).run()


def test_a_watched_feature_is_found_by_its_label(with_worker: Open, cache: Path, tiny_plan: Plan) -> None:
    app = with_worker("live", experiment="tiny")
    hookpoint = app.session_state["view"].hookpoint
    experiment = tiny_plan.experiment
    about = FeatureSubject(experiment.config.sae, sae_revision(experiment, hookpoint), hookpoint, 7)
    Notebook(cache / FILE).write(about, "label", "<b>doubt", "Ada")
    app.run()
    first, *others = app.multiselect(key=f"watch {hookpoint}").options
    assert first == "7 · <b>doubt" and all(" · " in option for option in others), "by label, then those that matter"
    app.multiselect(key=f"watch {hookpoint}").set_value(["DOUBT"]).run()
    assert "“DOUBT”: 1 feature is called so" in texts(app) and "is no feature of" not in texts(app)
    app.multiselect(key=f"watch {hookpoint}").set_value([7]).run()
    assert app.number_input(key=f"watch {hookpoint} 7").label == "7 above"


def test_what_was_only_encoded_counts_as_a_whole_and_is_not_kept(with_worker: Open, client: WorkerClient) -> None:
    app = with_worker("live", experiment="tiny")
    assert "no chat template is put around it" not in texts(app)
    assert "no chat template is put around it" in texts(app.toggle(key="live_encode").set_value(True).run())
    app.session_state["live_run"] = ended(client, EncodeRequest(text="Hmm, wait."))
    app.run()
    shown = transcript(app)
    assert [band["counts"] for band in shown["bands"]] == [True] and shown["ranked"]
    assert not [button for button in app.button if button.key in ("live_keep", "live_another")]


def test_a_pasted_trace_is_told_apart_and_kept(with_worker: Open, client: WorkerClient) -> None:
    """As it is told apart in a generation; its kept inference has it so, and no page says that it was sampled."""
    asked = EncodeRequest(text="<｜User｜>Two?<｜Assistant｜><think>\nHmm 🙂.</think>So \\boxed{2}", special=True)
    app = with_worker("live", experiment="tiny")
    app.session_state["live_run"] = run = ended(client, asked)
    app.run()
    labelled = list(zip(run.trace.segments, run.trace.texts, strict=True))
    names = ("prompt", "think", "answer")
    written = {name: "".join(text for segment, text in labelled if segment == name) for name in names}
    assert written["prompt"] == "<｜User｜>Two?<｜Assistant｜><think>\n" and written["answer"] == "So \\boxed{2}"
    assert written["think"].startswith("Hmm") and written["think"].endswith("</think>")
    assert run.end and run.end.finish_reason is None, "nothing was generated"
    app.text_input(key="live_author").set_value("Ada")
    app.button(key="live_keep").click().run()
    kept = run.kept
    app = with_worker("inference", experiment=kept.experiment, inference=kept.inference)
    assert not app.exception and "answer 2 · reference none" in texts(app) and "pasted by Ada" in texts(app)
    assert "seed" not in texts(app).partition("pasted by Ada")[0][-200:]
    bands = transcript(app)["bands"]
    assert [band["segment"] for band in bands] == ["prompt", "think", "answer"]
    without = ended(client, EncodeRequest(text="Hmm.</think>So 2", special=True))
    assert set(without.trace.segments) == {"think", "answer"}, "it begins in the thought"


def test_a_pasted_trace_of_bypass_mode_has_no_thought(with_worker: Open, client: WorkerClient, cache: Path) -> None:
    """It is stored as one that was written here."""
    written = ended(client, GenerateRequest(prompt="Two?", mode="bypass", max_new_tokens=2)).trace
    asked = [text for text, segment in zip(written.texts, written.segments, strict=True) if segment == "prompt"]
    run = ended(client, EncodeRequest(text="".join(asked) + "So 2", special=True))
    assert run.trace.segments[: len(asked)] == written.segments[: len(asked)]
    assert set(run.trace.segments[len(asked) :]) == {"answer"}
    app = with_worker("live", experiment="tiny")
    app.session_state["live_run"] = run
    app.run()
    app.button(key="live_keep").click().run()
    with open_reader(cache, run.kept.experiment) as reader:
        kept = reader.inference(run.kept.inference)
    assert (kept.mode, kept.finish_reason) == ("bypass", "stop")
    assert kept.question.startswith("Two?") and kept.question.endswith("}"), "the empty thought is none of it"


def test_what_of_a_pasted_text_is_no_trace_is_told(with_worker: Open, client: WorkerClient) -> None:
    app = with_worker("live", experiment="tiny")
    for text, said in (
        ("Hmm, wait.", "no trace that can be kept"),
        ("<think>\nHmm <think> so.</think>2", "a second `<think>`"),
        ("<think>\nHmm.</think>2 <think>3", "a second `<think>`"),
        ("<think>\nHmm.</think>2", ""),
    ):
        app.session_state["live_run"] = ended(client, EncodeRequest(text=text, special=True))
        app.run()
        told = [each for each in ("no trace that can be kept", "a second `<think>`") if each in texts(app)]
        assert told == ([said] if said else []) and not app.exception


def test_firings_of_watched_features_are_marked_and_listed(with_worker: Open, client: WorkerClient) -> None:
    app = with_worker("live", experiment="tiny")
    hookpoint = app.session_state["view"].hookpoint
    unwatched = ended(client, REQUEST)
    latents = unwatched.trace.latents(hookpoint, "generated")
    feature = int(latents["feature"].iloc[0])
    own = latents[latents["feature"] == feature]
    threshold = 1.001 * own["activation"].median()  # beside it: what passes together differs in the last bits
    app.session_state["live_run"] = run = ended(client, REQUEST, Watch(hookpoint, feature, threshold))
    app.run()
    wanted = own.loc[own["activation"] > threshold, "position"].tolist()
    assert transcript(app)["marked"] == wanted == [firing.position for firing in firings(run.trace, run.watched)]
    (table,) = tables(app, "threshold") or (None,)
    assert (table["position"].tolist() if table is not None else []) == wanted[::-1]
    assert feature in transcript(app)["features"]


def test_what_is_no_feature_cannot_be_watched(with_worker: Open) -> None:
    app = with_worker("live", experiment="tiny")
    hookpoint = app.session_state["view"].hookpoint
    app.session_state[f"watch {hookpoint}"] = ["3", "128", "<b>", "-1", "9" * 5000]
    app.run()
    assert not app.exception
    assert texts(app).count("is no feature of") == 4 and "go from 0 to 127" in texts(app)
    assert [entry.label for entry in app.number_input if entry.label.endswith(" above")] == ["3 above"]


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ({}, "Neither its prompt nor its settings are in the link."),
        ({"sent": "think_0.3_0.95_30_0"}, "Its settings are filled in; its prompt is not in the link."),
        ({"prompt": "Two?"}, "Its prompt is filled in: run it again."),
        ({"prompt": "Two?", "sent": "think_0.3_0.95_30_0"}, "Its prompt and settings are filled in: run it again."),
    ],
)
def test_of_a_run_that_is_gone_the_page_says_what_is_filled_in(
    with_worker: Open, link: dict[str, str], told: str
) -> None:
    app = with_worker("live", experiment="tiny", live="0123456789abcdef" * 2, **link)
    assert "The run of this link is not here any more" in texts(app) and told in texts(app)
    assert payloads(app, "taken")[0]["text"] == link.get("prompt", "")
    assert app.number_input(key="live_temperature").value == (0.3 if "sent" in link else 0.6)


def test_the_list_of_runs_is_in_sight_on_a_screen_1280_px_wide() -> None:
    assert sum(int(column["width"] or 0) for column in run_list.COLUMNS.values()) + 32 <= 786, "beside its boxes"


def test_a_link_fills_the_watchlist_once(with_worker: Open) -> None:
    app = with_worker("live", experiment="tiny", watch="7_1.5~9_0")
    hookpoint = app.session_state["view"].hookpoint
    assert app.multiselect(key=f"watch {hookpoint}").value == [7, 9]
    assert app.number_input(key=f"watch {hookpoint} 7").value == 1.5
    app.multiselect(key=f"watch {hookpoint}").set_value([9]).run()
    assert app.multiselect(key=f"watch {hookpoint}").value == [9]
    app = at_link(app, watch="3_0")
    assert app.multiselect(key=f"watch {hookpoint}").value == [3]


def test_settings_outlive_a_visit_to_another_page(with_worker: Open) -> None:
    app = with_worker("live", experiment="tiny")
    app.number_input(key="live_temperature").set_value(1.5).run()
    app.switch_page("pages/overview.py").run()
    app.switch_page("pages/live.py").run()
    assert app.number_input(key="live_temperature").value == 1.5


def test_a_refused_prompt_is_a_message(with_worker: Open, client: WorkerClient) -> None:
    app = with_worker("live", experiment="tiny")
    app.session_state["live_run"] = ended(client, REQUEST.model_copy(update={"prompt": "word " * 9000}))
    app.run()
    assert "more than the" in texts(app) and "Refused" in texts(app)
    assert not [button for button in app.button if button.key in ("live_again", "live_another", "live_keep")]
    assert not payloads(app, "bands")


def test_a_run_at_other_hookpoints_says_so(with_worker: Open, client: WorkerClient) -> None:
    app = with_worker("live", experiment="tiny")
    shown = app.session_state["view"].hookpoint
    (other, *_) = [name for name in app.selectbox(key="choose_hookpoint").options if name != shown]
    app.session_state["live_run"] = ended(client, REQUEST.model_copy(update={"hookpoints": (other,)}))
    app.run()
    assert f"This run was not encoded at {shown}, but at {other}." in texts(app)


def test_a_run_of_which_nothing_comes_says_for_how_long(with_worker: Open) -> None:
    app = with_worker("live", experiment="tiny")
    now = [100.0]
    silent = socket.create_server(("127.0.0.1", 0))
    with WorkerClient(WorkerSettings(url=f"http://127.0.0.1:{silent.getsockname()[1]}")) as client, silent:
        app.session_state["live_run"] = run = LiveRun(client, REQUEST, (), lambda: True, now=lambda: now[0])
        now[0] += SILENT - 1
        assert "Nothing has come for" not in texts(app.run())
        now[0] += 3
        assert "Nothing has come for 12 seconds" in texts(app.run())
        silent.close()
        while run.going:
            time.sleep(0.01)
    assert "Nothing has come for" not in texts(app.run()) and not app.exception


def test_who_waits_in_the_queue_hears_of_it(client: WorkerClient) -> None:
    now = [100.0]
    first = LiveRun(client, REQUEST.model_copy(update={"max_new_tokens": 2000}), (), lambda: True)
    while first.position is None and not len(first.trace):
        time.sleep(0.01)
    waiting = LiveRun(client, REQUEST, (), lambda: True, now=lambda: now[0])
    while waiting.position is None:
        time.sleep(0.01)
    now[0] += 5 * SILENT
    while waiting.silence:  # until it is told its place once more
        assert waiting.going
        time.sleep(0.01)
    for run in (waiting, first):
        run.stop()


def test_a_run_after_another_is_asked_for_once_that_one_is_in_the_queue_or_ends(client: WorkerClient) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    with WorkerClient(WorkerSettings(url=f"http://127.0.0.1:{silent.getsockname()[1]}")) as nobody, silent:
        first = LiveRun(nobody, REQUEST, (), lambda: True)
        second = LiveRun(client, REQUEST, (), lambda: True, after=first)
        assert not second.taken.wait(1)
    assert second.taken.wait(60) and first.taken.is_set() and first.trouble
    long = LiveRun(client, REQUEST.model_copy(update={"max_new_tokens": 2000}), (), lambda: True)
    waiting = LiveRun(client, REQUEST, (), lambda: True, after=long)
    assert waiting.taken.wait(60)
    assert long.job is not None and waiting.position
    for run in (waiting, long):
        run.stop()


class EndsWhileThePageIsDrawn(LiveRun):
    """Whoever looks first finds it going, whoever looks later does not."""

    looks = 0

    @property
    def going(self) -> bool:
        self.looks += 1
        return self.looks == 1

    @going.setter
    def going(self, _: bool) -> None:
        """It is as it is."""


def test_a_run_that_ends_while_the_page_is_drawn_leaves_no_button_behind(
    with_worker: Open, client: WorkerClient
) -> None:
    app = with_worker("live", experiment="tiny")
    app.session_state["prompt_text"] = "Two?"
    run = EndsWhileThePageIsDrawn(client, REQUEST, (), lambda: True)
    while run.end is None:
        time.sleep(0.01)
    app.session_state["live_run"] = run
    app.run()
    assert run.looks > 1 and "Done, " in texts(app).replace("\\", "")
    assert payloads(app, "taken")[0]["ready"]
    assert not [button for button in app.button if button.key == "live_stop"]

"""Steering from outside: on the command line, and of a live prompt; what is refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.stand_in import SHAPES
from kthink_core import queries
from kthink_core.cli import main
from kthink_core.errors import WorkerRefused
from kthink_core.live.api import Done, Event, GenerateRequest, Tokens
from kthink_core.live.client import WorkerClient
from kthink_core.precompute.pipeline import Plan
from kthink_core.records import Intervention, Trigger
from kthink_core.store.journal import read_segment
from kthink_core.store.reader import open_reader
from tests.worker_process import request, tokens_of, working

H1, H2 = SHAPES["tiny"].hookpoints
FEATURES = SHAPES["tiny"].num_latents


def logprobs_of(events: list[Event]) -> list[float | None]:
    return [value for event in events if isinstance(event, Tokens) for value in event.logprobs]


@pytest.fixture(scope="module")
def cache(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an unsteered experiment."""
    folder = tmp_path_factory.mktemp("steer")
    (folder / "problems.jsonl").write_text('{"question": "How many?"}\n{"question": "And now?"}\n')
    assert compute(tiny, folder, "plain") == 0
    return folder


def compute(tiny: Path, folder: Path, name: str, *more: str) -> int:
    return main(
        ["precompute", "--experiment", name, "--model", str(tiny / "model"), "--sae", str(tiny / "saes"),
         "--hookpoints", H1, H2, "--problems", str(folder / "problems.jsonl"), "--max-new-tokens", "6",
         "--temperature", "0", "--device", "cpu", "--cache", str(folder), *more]
    )  # fmt: skip


def test_strengths_are_those_of_an_experiment(tiny: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_reader(cache, "plain") as reader:
        counts = queries.feature_counts(reader, H1, top=1)
        feature, largest = int(counts["feature"].iloc[0]), float(counts["max_activation"].iloc[0])
    steer = ["--steer", f"{H1}:{feature}=clamp:2x@1", "--steer", f"{H2}:3=ablate", "--steer-scale", "plain"]
    assert compute(tiny, cache, "steered", *steer) == 0
    wanted = (Intervention(H1, feature, "clamp", 2 * largest, 1), Intervention(H2, 3, "ablate"))
    with open_reader(cache, "steered") as reader:
        assert reader.experiment.config.steering == wanted
        segment = cache / "steered" / "journal" / "000001.parquet"
        assert read_segment(segment, reader.experiment).interventions == wanted
    capsys.readouterr()
    asked = ["query", "interventions", "--experiment", "steered", "--inference", "1", "--cache", str(cache)]
    assert main([*asked, "--format", "json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [(row["feature"], row["action"], row["began"], row["positions"]) for row in rows] == [
        (feature, "clamp", 1, 5), (3, "ablate", 0, 6),
    ]  # fmt: skip
    assert compute(tiny, cache, "steered", *steer) == 0, "the same command finds it complete"
    assert "complete" in capsys.readouterr().err
    assert compute(tiny, cache, "steered") == 2
    assert "steering" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--steer", "layers.9.mlp:1=ablate"], "hookpoint 'layers.9.mlp'"),
        (["--steer", f"{H1}:{FEATURES}=ablate"], "its SAE has features 0 to"),
        (["--steer", f"{H1}:1=clamp:nan"], "write HOOKPOINT:FEATURE=clamp"),
        (["--steer", f"{H1}:1=clamp:2x"], "--steer-scale E"),
        (["--steer", f"{H1}:1=ablate@6"], "the last is number 5"),
        (["--steer", f"{H1}:1=ablate", "--steer", f"{H1}:1=add:2"], "is steered twice"),
        (["--steer", f"{H1}:1=ablate", "--site", "residual"], "--steer-residual does it nevertheless"),
        (["--steer", f"{H1}:1=clamp:2x", "--steer-scale", "nowhere"], "experiment 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tiny: Path, cache: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    capsys.readouterr()
    assert compute(tiny, cache, "never", *more) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("kthink:") == 1
    assert not (cache / "never").exists()


def test_a_dead_feature_has_no_maximum(tiny: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_reader(cache, "plain") as reader:
        maxima = queries.feature_maxima(reader, H1, tuple(range(FEATURES)))
    dead = int(maxima.loc[maxima["max_activation"] == 0, "feature"].iloc[0])
    steer = ["--steer", f"{H1}:{dead}=clamp:2x", "--steer-scale", "plain"]
    assert compute(tiny, cache, "never", *steer) == 2
    assert f"feature {dead} of {H1} never fires in experiment 'plain'" in capsys.readouterr().err


def test_nevertheless(tiny: Path, cache: Path) -> None:
    steer = ["--steer", f"{H1}:1=add:2", "--site", "residual", "--steer-residual"]
    assert compute(tiny, cache, "residual", *steer) == 0


@pytest.fixture(scope="module")
def client(tiny_plan: Plan) -> Iterator[WorkerClient]:
    with working(tiny_plan, requests_per_minute=10_000) as (settings, _), WorkerClient(settings) as client:
        yield client


def run(client: WorkerClient, asked: GenerateRequest) -> tuple[list[int], Done]:
    events = list(client.generate(asked))
    assert isinstance(events[-1], Done), events[-1]
    return tokens_of(events), events[-1]


def test_a_receipt_comes_at_the_end(client: WorkerClient) -> None:
    done = (Intervention(H1, 5, "clamp", 40.0, 2), Intervention(H2, 1, "ablate", after=Trigger(H1, 5)))
    plain, end = run(client, request())
    assert end.receipts == ()
    steered, end = run(client, request(steering=done))
    assert steered[: len(plain) - 24 + 2] == plain[: len(plain) - 24 + 2] and steered != plain
    clamped, waiting = end.receipts
    assert (clamped.began, clamped.positions) == (2, 22)
    assert waiting.began == 3 or (waiting.began or 0) <= 3
    assert all(check.holds for check in clamped.checks) and len(clamped.checks) == 3
    assert clamped.change_max and clamped.after_median


def test_strength_zero_is_the_unsteered_run_bit_for_bit(client: WorkerClient) -> None:
    nothing = request(steering=(Intervention(H1, 5, "add", 0.0), Intervention(H2, 3, "add", 0.0)))
    plain, same = list(client.generate(request())), list(client.generate(nothing))
    logprobs = [
        [value for event in events if event.event == "tokens" for value in event.logprobs] for events in (plain, same)
    ]
    assert tokens_of(plain) == tokens_of(same) and logprobs[0] == logprobs[1]


def test_what_is_not_captured_is_steered_nevertheless(client: WorkerClient) -> None:
    """Its activations afterwards are unknown; the run itself is not to be kept."""
    plain, _ = run(client, request(hookpoints=(H2,)))
    steered, end = run(client, request(hookpoints=(H2,), steering=(Intervention(H1, 5, "clamp", 40.0),)))
    assert steered != plain
    (receipt,) = end.receipts
    assert receipt.positions == 24 and receipt.after_median is None and receipt.before_median is not None


@pytest.mark.parametrize(
    ("done", "message"),
    [
        (Intervention(H1, 5, "ablate", start=24), "the last is number 23"),
        (Intervention(H1, FEATURES, "ablate"), "its SAE has features 0 to"),
        (Intervention("layers.9.mlp", 1, "ablate"), "hookpoint 'layers.9.mlp'"),
        (Intervention(H1, 5, "clamp", -2.0), "activations are never negative"),
    ],
)
def test_refusals(client: WorkerClient, done: Intervention, message: str) -> None:
    with pytest.raises(WorkerRefused, match=message):
        list(client.generate(request(steering=(done,))))
    with pytest.raises(WorkerRefused, match="steered twice"):
        list(client.generate(request(steering=(Intervention(H1, 5, "ablate"), Intervention(H1, 5, "add", 1.0)))))

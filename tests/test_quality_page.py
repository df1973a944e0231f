"""The page Quality, and what follows a hookpoint whose SAE is no better than the mean onto every other page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kthink_core.evidence.passport import passport
from kthink_core.queries import SCOPES
from kthink_core.records import Inference
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer
from tests.app_samples import HOOKPOINTS, sample_experiment, sample_inference, write_experiment
from tests.app_visits import Open, tables, texts, visiting

GOOD, POOR = HOOKPOINTS
SHOWN = ("quality", "inference", "feature", "across", "compare", "reasoning", "live")
"""Pages that show features of one hookpoint."""


def poor_answers(inference: Inference) -> Inference:
    """At one hookpoint the answer is reconstructed worse than by the mean, the thinking well."""
    encoding = inference.encodings[POOR]
    in_answer = np.array(inference.segments) == "answer"
    errors = np.where(in_answer, 3 * encoding.squared_norm, encoding.squared_error).astype(np.float32)
    return replace(inference, encodings=inference.encodings | {POOR: encoding._replace(squared_error=errors)})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 6))
    poor = sample_experiment("poor", 6)
    with open_writer(folder, poor) as writer:
        for inference in range(6):
            writer.append(poor_answers(sample_inference(poor, inference)))
    kept = sample_experiment("kept", 1).model_copy(update={"open_ended": True, "inferences": 0})
    with open_writer(folder, kept) as writer:
        writer.append(sample_inference(kept, 0))
    return folder


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


def test_every_hookpoint_and_scope_has_its_row(visit: Open, cache: Path) -> None:
    app = visit("quality", experiment="demo", hookpoint=GOOD, scope="think")
    [table] = tables(app, "scope")
    assert list(zip(table["hookpoint"], table["scope"], strict=True)) == [(h, s) for h in HOOKPOINTS for s in SCOPES]
    with open_reader(cache, "demo") as reader:
        for hookpoint, scope, recovered, kl in zip(
            table["hookpoint"], table["scope"], table["loss_recovered"], table["kl"], strict=True
        ):
            [row] = passport(reader, scope, hookpoint).to_dict("records")
            assert (recovered, kl) == pytest.approx((row["loss_recovered"], row["kl"]))
    [own] = [table for table in tables(app, "loss_recovered") if "scope" not in table]
    assert own["hookpoint"].tolist() == list(HOOKPOINTS)
    assert len(app.get("vega_lite_chart")) == 3
    assert "resampling the 6 inferences" in texts(app) and "Norms: layers.2.mlp, think" in texts(app)


def test_the_other_tab(visit: Open) -> None:
    app = visit("quality", experiment="demo", passport="audit")
    assert not tables(app, "scope") and "No experiment has these traces at the other site" in texts(app)
    assert r"\'audits\' does not exist" in texts(visit("quality", passport="audits"))


def test_what_is_not_measured_is_said(visit: Open) -> None:
    assert "0 of 6 inferences are measured" in texts(visit("quality", experiment="poor"))
    assert "Kept live runs are not measured" in texts(visit("quality", experiment="kept"))
    assert "It is measured of none of them" in texts(visit("quality", experiment="kept"))


@pytest.mark.parametrize("page", SHOWN)
def test_a_poor_hookpoint_is_told_beside_its_features(visit: Open, page: str) -> None:
    told = texts(visit(page, experiment="poor", hookpoint=POOR, scope="answer"))
    assert f"at {POOR} of poor, scope answer: what the SAE makes of the vectors is no nearer" in told


@pytest.mark.parametrize(("hookpoint", "scope"), [(GOOD, "answer"), (POOR, "think")])
def test_in_its_scope_and_at_its_hookpoint_only(visit: Open, hookpoint: str, scope: str) -> None:
    for page in ("feature", "quality"):
        assert "no nearer" not in texts(visit(page, experiment="poor", hookpoint=hookpoint, scope=scope))


def test_on_the_overview_it_stands_beside_the_hookpoints_name(visit: Open) -> None:
    told = texts(visit("overview", experiment="poor", scope="answer"))
    assert f"**{POOR}** :red[⚠ FVU " in told and f"**{GOOD}** :red" not in told
    assert "⚠" not in texts(visit("overview", experiment="poor", scope="think"))


def test_beside_the_other_experiment(visit: Open) -> None:
    told = texts(visit("compare", experiment="demo", other="poor", hookpoint=POOR, scope="answer"))
    assert "of poor, scope answer" in told and "of demo, scope answer" not in told

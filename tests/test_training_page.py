"""Trainings on disk, as the page Quality lists and draws them; files that somebody else wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from kthink_core.errors import BadFile
from kthink_core.store.trainings import (
    COLUMNS,
    Data,
    HeldOut,
    Progressed,
    Source,
    Training,
    TrainingConfig,
    append_progress,
    cut_progress,
    folder_of,
    list_trainings,
    read_progress,
    read_training,
    write_training,
)
from kthink_core.ui.passport import training_curves
from tests.app_samples import sample_experiment, write_experiment
from tests.app_visits import Open, tables, texts, visiting

HOOKPOINTS = tuple(f"layers.{layer}.mlp" for layer in range(7))
"""More than there are hues."""


def training(created: str, complete: bool = True, **config: object) -> Training:
    given = {"hookpoints": HOOKPOINTS, "data": ("experiment:demo", "**a_b**.jsonl"), "steps": 4} | config
    figures = [
        HeldOut(
            hookpoint=hookpoint, positions=1_234, fvu=None if index == 0 else 0.1 * index, l0=15.5,
            dead_share=0.25, loss_recovered=None if index == 1 else 0.9, predictions=1_200,
        )
        for index, hookpoint in enumerate(HOOKPOINTS)
    ]  # fmt: skip
    return Training(
        config=TrainingConfig.model_validate(given),
        model_revision="sha256:m",
        data=Data(
            digest=f"sha256:{64 * '0'}", windows=9, tokens=5_000, held_out_windows=2, held_out_tokens=1_234,
            sources=tuple(Source(source=source, texts=3, tokens=2_500) for source in given["data"]),
        ),
        steps=4,
        positions=640,
        provenance={"created": created, "kthink": "0.7.0"},
        complete=complete,
        seconds=61.0 if complete else None,
        figures=tuple(figures) if complete else (),
    )  # fmt: skip


def line(step: int, hookpoint: str, fvu: float = 0.5) -> Progressed:
    return Progressed(
        step=step, positions=160 * step, hookpoint=hookpoint, loss=fvu + 0.25, fvu=fvu, dead_share=0.5, seconds=step
    )


def write(cache: Path, name: str, made: Training, steps: int) -> Path:
    folder = folder_of(cache, name)
    folder.mkdir(parents=True)
    write_training(folder, made)
    append_progress(folder, [line(step, hookpoint) for step in range(1, steps + 1) for hookpoint in HOOKPOINTS])
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    write_experiment(tmp_path, sample_experiment("demo", 6))
    return tmp_path


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


def test_without_any_the_command_is_named(visit: Open) -> None:
    app = visit("quality", experiment="demo", hookpoint="layers.2.mlp", passport="training")
    told = texts(app)
    assert "No SAE was trained into" in told
    assert "python -m kthink_core train-sae --hookpoints layers.2.mlp --data experiment:demo" in told


def test_the_newest_is_drawn_and_any_can_be_chosen(visit: Open, cache: Path) -> None:
    write(cache, "older", training("2026-01-01T00:00:00"), 3)
    write(cache, "newer", training("2026-02-01T00:00:00", auxk_alpha=0.5), 4)
    app = visit("quality", experiment="demo", passport="training")
    [figures] = tables(app, "dead_share")
    assert figures["hookpoint"].tolist() == list(HOOKPOINTS)
    assert list(figures)[-2:] == ["loss_recovered", "predictions"], "how many predictions stands beside it"
    assert figures["dead_share"].tolist() == pytest.approx([25.0] * 7)
    assert figures["fvu"].isna().tolist() == [True, *6 * [False]]
    assert len(app.get("vega_lite_chart")) == 3, "the loss is another than the FVU"
    assert app.selectbox(key="choose_training").value == "newer"
    told = texts(app)
    assert r"\*\*a\_b\*\*\.jsonl" in told and "640 positions in 61 s" in told.replace("\\", ""), "as text"
    app = visit("quality", experiment="demo", passport="training", training="older")
    assert len(app.get("vega_lite_chart")) == 2 and app.selectbox(key="choose_training").value == "older"
    app.selectbox(key="choose_training").select("newer").run()
    assert app.query_params["training"] == "newer" and len(app.get("vega_lite_chart")) == 3
    told = texts(visit("quality", passport="training", training="none"))
    assert "There is no training 'none'" in told.replace("\\", "")


def test_the_one_that_made_the_experiments_saes_comes_first(visit: Open, cache: Path) -> None:
    own = write(cache, "own", training("2026-01-01T00:00:00"), 3)
    write(cache, "newer", training("2026-02-01T00:00:00"), 3)
    write_experiment(cache, sample_experiment("with-own", 6, sae=str(own)))
    app = visit("quality", experiment="with-own", passport="training")
    assert app.selectbox(key="choose_training").value == "own"


def test_one_under_way(visit: Open, cache: Path) -> None:
    folder = write(cache, "going", training("2026-01-01T00:00:00", complete=False), 2)
    app = visit("quality", experiment="demo", passport="training")
    assert "2 of 4 steps are done" in str(app.get("progress")[0].proto) and not tables(app, "dead_share")
    append_progress(folder, [line(3, hookpoint) for hookpoint in HOOKPOINTS])
    app.run()
    assert "3 of 4 steps are done" in str(app.get("progress")[0].proto)
    write_training(folder, training("2026-01-01T00:00:00"))
    app.run()
    assert not app.get("progress") and tables(app, "dead_share")
    (folder / "progress.jsonl").unlink()
    assert "No step is reported yet" in texts(visit("quality", experiment="demo", passport="training"))


def test_damaged_ones_disable_no_other(visit: Open, cache: Path) -> None:
    write(cache, "sound", training("2026-01-01T00:00:00"), 3)
    broken = write(cache, "broken", training("2026-02-01T00:00:00"), 3)
    (broken / "training.json").write_text('{"version": 9}')
    app = visit("quality", experiment="demo", passport="training")
    told = texts(app).replace("\\", "")
    assert "Training 'broken' cannot be read" in told and "version" in told
    assert app.selectbox(key="choose_training").value == "sound"
    progress = folder_of(cache, "sound") / "progress.jsonl"
    progress.write_text('{"step": "many"}\n')
    assert "progress.jsonl: step" in texts(visit("quality", experiment="demo", passport="training")).replace("\\", "")


def test_charts_tell_hookpoints_apart_by_hue_and_dash(cache: Path) -> None:
    folder = write(cache, "one", training("2026-01-01T00:00:00"), 4)
    made = read_training(folder)
    assert made is not None
    chart = training_curves._chart(made, read_progress(folder), "fvu")
    hue, dash = chart.spec["encoding"]["color"]["scale"], chart.spec["encoding"]["strokeDash"]["scale"]
    assert hue["domain"] == dash["domain"] == list(HOOKPOINTS)
    assert len(set(zip(hue["range"], map(tuple, dash["range"]), strict=True))) == len(HOOKPOINTS)


@given(some.lists(some.tuples(some.integers(1, 9), some.sampled_from(HOOKPOINTS)), max_size=12), some.integers(0, 9))
def test_lines_survive_and_are_cut(given_lines: list[tuple[int, str]], step: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [line(*each) for each in given_lines]
        append_progress(folder, lines)
        expected = pd.DataFrame([each.model_dump() for each in lines], columns=list(COLUMNS))
        assert read_progress(folder).to_dict("records") == expected.to_dict("records")
        with (folder / "progress.jsonl").open("a") as file:
            file.write('{"step": 3, "posi')  # as a kill leaves it
        assert read_progress(folder).to_dict("records") == expected.to_dict("records")
        cut_progress(folder, step)
        assert read_progress(folder).to_dict("records") == [each.model_dump() for each in lines if each.step <= step]


def test_what_is_no_training(cache: Path) -> None:
    assert list_trainings(cache) == [] and read_training(cache) is None and read_progress(cache).empty
    folder = write(cache, "one", training("2026-01-01T00:00:00"), 1)
    (folder / "training.json").write_text("[]")
    with pytest.raises(BadFile, match="it holds a list"):
        read_training(folder)
    [status] = list_trainings(cache)
    assert status.training is None and status.problem is not None

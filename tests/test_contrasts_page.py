"""The tab of contrasts, and the query on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kthink_core.cli import main
from kthink_core.config import Experiment
from kthink_core.evidence.differences import contrast
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer
from kthink_core.ui.reasoning import volcano
from kthink_core.ui.view.permalink import CONTRASTS
from tests.app_samples import HOOKPOINTS, sample_experiment, sample_inference, write_experiment
from tests.app_visits import Open, tables, texts, visiting

AT = HOOKPOINTS[-1]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`demo` has twelve inferences; `all right` no wrong one; `bypass` thinks not; `elsewhere` has other SAEs."""
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 12))
    write_experiment(folder, sample_experiment("bypass", 12, mode="bypass"))
    write_experiment(folder, sample_experiment("elsewhere", 3, sae="another"))
    write_right(folder, sample_experiment("all-right", 4))
    return folder


def write_right(cache: Path, experiment: Experiment) -> None:
    with open_writer(cache, experiment) as writer:
        for index in range(experiment.inferences):
            writer.append(replace(sample_inference(experiment, index), correct=True, finish_reason="stop"))


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    with visiting(cache, monkeypatch) as opened:
        yield opened


@pytest.mark.parametrize("name", CONTRASTS)
def test_a_tab_shows_both_sides_and_what_is_known_of_them(visit: Open, cache: Path, name: str) -> None:
    between = CONTRASTS[name]
    app = visit("reasoning", experiment="demo", test="contrasts", between=name, other="bypass")
    with open_reader(cache, "demo") as reader, open_reader(cache, "bypass") as other:
        more = {"word": "wait"} if name == "before-after" else {}
        more |= {"other": other} if between in ("think:bypass", "experiments") else {}
        table = contrast(reader, AT, between, top=10**6, **more)
    (shown,) = tables(app, "difference")
    assert shown["feature"].tolist() == table["feature"].head(100).tolist()
    assert {"q", "inferences_a", "inferences_b"} <= {*shown.columns}
    assert f"**{table['inferences_a'][0]}** inferences" in texts(app)
    assert f"{len(table):,} features fire on either side" in texts(app)
    if not (table["q"] < 0.05).any():
        assert "No feature has q < 0.05" in texts(app).replace("\\", "")
    assert len(app.get("vega_lite_chart")) + len(app.get("arrow_vega_lite_chart")) == 1


def test_choices_go_into_the_link(visit: Open) -> None:
    app = visit("reasoning", experiment="demo", test="contrasts")
    app.selectbox(key="choose_between").set_value("before-after").run()
    assert app.query_params["between"] == "before-after"
    app.text_input(key="choose_word").set_value("hmm").run()
    assert app.query_params["word"] == "hmm" and tables(app, "difference")
    app.text_input(key="choose_word").set_value("<script>").run()
    assert "never stands in scope generated" in texts(app) and not tables(app, "difference")
    app.text_input(key="choose_word").set_value("").run()
    assert "Type a word." in texts(app)
    app.selectbox(key="choose_between").set_value("think-bypass").run()
    assert app.selectbox(key="choose_other").value == "bypass", "the one of another mode"
    app.selectbox(key="choose_other").set_value("elsewhere").run()
    assert app.query_params["other"] == "elsewhere"
    assert "cannot be compared: they differ in sae" in texts(app).replace("\\", "")


def test_a_side_without_inferences_is_said(visit: Open) -> None:
    app = visit("reasoning", experiment="all-right", test="contrasts")
    assert "4 right, 0 wrong of 4 inferences" in texts(app).replace("\\", "")
    assert not tables(app, "difference") and not app.error


def test_each_point_is_one_of_three_groups(cache: Path) -> None:
    with open_reader(cache, "demo") as reader:
        table = contrast(reader, AT, "think:answer")
    table = table.assign(q=[0.001, 0.01] + [0.5] * (len(table) - 2))
    table.loc[[0, 1], "matched"] = [0.1, -0.1]
    drawn = volcano.chart(table, ("here", "there"), {int(table["feature"][0]): "a label"}, {})
    groups = dict(zip(drawn.data["feature"], drawn.data["group"], strict=True))
    assert [groups[feature] for feature in table["feature"][:3]] == [
        "more here, q < 0.05",
        "more there, q < 0.05",
        "q ≥ 0.05",
    ]
    assert drawn.data["name"].iloc[-1] == f"{table['feature'][0]} · a label"
    ends = drawn.spec["encoding"]["y"]["scale"]["domain"]
    assert ends[0] < 0.001 and ends[1] > 1


def test_the_query_prints_its_contract(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["query", "contrast", "--cache", str(cache), "--experiment", "demo", "--hookpoint", AT, "--format", "json"]
    assert main([*asked, "--between", "right:wrong", "--top", "5"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert list(rows[0])[:12] == [
        "feature", "rate_a", "rate_b", "mean_a", "mean_b", "difference", "low", "high", "p", "q", "inferences_a",
        "inferences_b",
    ]  # fmt: skip
    assert len(rows) == 5 and all(line.startswith("kthink: ") for line in err.splitlines()) and "wrong" in err
    assert np.isclose(rows[0]["difference"], rows[0]["rate_a"] - rows[0]["rate_b"])
    assert main([*asked, "--between", "think:bypass", "--other", "bypass"]) == 0
    assert "The two experiments differ in mode: think and bypass." in capsys.readouterr().err
    for given, said in (
        ([], "needs --between"),
        (["--between", "think:bypass"], "need --other EXPERIMENT"),
        (["--between", "think:bypass", "--other", "elsewhere"], "they differ in sae: "),
        (["--between", "experiments", "--other", "nowhere"], "unknown experiment 'nowhere'"),
        (["--between", "before:after", "--word", "elephant"], "never stands"),
        (["--between", "experiments", "--other", "demo"], "cannot be compared with itself"),
        (["--between", "think:answer", "--scope", "prompt"], "has scopes of its own"),
        (["--between", "right:wrong", "--feature", "3"], "takes no --feature"),
    ):
        assert main([*asked, *given]) == 2
        out, err = capsys.readouterr()
        assert said in err and not out and err.count("\n") == 1

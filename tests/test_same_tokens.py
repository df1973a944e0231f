"""One text in two experiments, against a count by hand; and the tokens of one passed through another model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df

from benchmarks.stand_in import SHAPES
from kthink_core import queries
from kthink_core.cli import main
from kthink_core.config import ExperimentConfig
from kthink_core.errors import BadProblems, NotComparable, OutOfRange
from kthink_core.evidence.same_problems import paired
from kthink_core.evidence.same_tokens import feature_differences, is_same_text, token_differences
from kthink_core.identity import source_of
from kthink_core.live.api import GenerateRequest
from kthink_core.model.language_model import load_model
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.precompute.traces import open_traces
from kthink_core.store.completion import is_finished
from kthink_core.store.export import export
from kthink_core.store.kept_runs import delete_kept
from kthink_core.store.reader import Reader, open_reader
from kthink_core.travel.imports import import_experiment
from kthink_core.worker.keep import keep
from tests.app_visits import payloads, tables, texts, visiting
from tests.store_samples import rewrite

HOOKPOINT = SHAPES["tiny"].hookpoints[0]


@pytest.fixture(scope="module")
def cache(tiny: Path, tiny_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`, and its tokens at the other site, through a model with other weights, and encoded by other SAEs."""
    cache = tmp_path_factory.mktemp("cache")
    precompute(tiny_plan, cache, 4, Silent())
    other = cache / ".weights"
    shutil.copytree(tiny, other)
    weights = load_file(other / "model" / "model.safetensors")
    torch.manual_seed(1)
    moved = {name: tensor + 0.02 * torch.randn_like(tensor) for name, tensor in weights.items()}
    save_file(moved, other / "model" / "model.safetensors", {"format": "pt"})
    for path in (other / "saes").rglob("sae.safetensors"):
        saes = load_file(path)
        save_file({name: tensor.roll(1, 0) if name == "W_dec" else tensor for name, tensor in saes.items()}, path)
    asked = {"traces": "experiment:tiny", "problems": "experiment:tiny", "limit": None}
    for name, changed in {
        "residual": {"site": "residual"},
        "moved": {"model": str(other / "model")},
        "encoded": {"sae": str(other / "saes")},
    }.items():
        config = tiny_plan.experiment.config.model_copy(update=asked | changed)
        precompute(plan(name, config, "cpu", Silent(), cache), cache, 4, Silent(), site_is_chosen=True)
    return cache


@pytest.fixture(scope="module")
def opened(cache: Path) -> Iterator[dict[str, Reader]]:
    readers = {name: open_reader(cache, name) for name in ("tiny", "residual", "moved", "encoded")}
    yield readers
    for reader in readers.values():
        reader.close()


@pytest.mark.parametrize("name", ["residual", "moved", "encoded"])
def test_an_experiments_very_tokens_are_read(opened: dict[str, Reader], name: str) -> None:
    here, there = opened["tiny"], opened[name]
    assert there.inference_ids == here.inference_ids and source_of(there.experiment) == "tiny"
    assert source_of(here.experiment) is None
    facts = ["problem", "question", "prompt", "mode", "seed", "prompt_tokens", "finish_reason", "answer", "correct"]
    pd.testing.assert_frame_equal(queries.inferences(here)[facts], queries.inferences(there)[facts])
    for inference in here.inference_ids:
        assert is_same_text(here, there, inference)
        one, other = here.inference(inference), there.inference(inference)
        assert one.segments == other.segments and one.texts == other.texts
        same = np.allclose(one.logprobs, other.logprobs, atol=1e-4, equal_nan=True)
        assert same == (name != "moved"), "another model expects other tokens; the same one does not"
    assert not is_same_text(here, there, 99)


@pytest.mark.parametrize("name", ["residual", "moved"])
@pytest.mark.parametrize("scope", ["generated", "think", "all"])
def test_features_differ_as_a_count_by_hand_says(opened: dict[str, Reader], name: str, scope: queries.Scope) -> None:
    here, there = opened["tiny"], opened[name]
    counted = {"generated": ("think", "answer"), "think": ("think",), "all": ("prompt", "think", "answer")}[scope]
    one, other = (reader.inference(1) for reader in (here, there))
    fired: list[dict[int, dict[int, float]]] = []
    for inference in (one, other):
        found: dict[int, dict[int, float]] = {}
        encoding = inference.encodings[HOOKPOINT]
        for position, segment in enumerate(inference.segments):
            for feature, activation in zip(encoding.features[position], encoding.activations[position], strict=True):
                if activation > 0 and segment in counted:
                    found.setdefault(int(feature), {})[position] = float(activation)
        fired.append(found)
    table = feature_differences(here, there, 1, HOOKPOINT, scope, 10_000)
    assert set(table["feature"]) == {*fired[0], *fired[1]} and (table["feature"] == table["feature_other"]).all()
    sizes = []
    for row in table.itertuples():
        a, b = (side.get(int(str(row.feature)), {}) for side in fired)
        assert (row.positions, row.positions_other) == (len(a), len(b))
        assert row.both == len({*a} & {*b}) and row.apart == len({*a} ^ {*b})
        largest = max(a.values(), default=0), max(b.values(), default=0)
        assert (row.max_activation, row.max_activation_other) == pytest.approx(largest)
        sizes.append((-len({*a} ^ {*b}), -max(largest), int(str(row.feature))))
    assert sizes == sorted(sizes)
    tokens = token_differences(here, there, 1, HOOKPOINT)
    np.testing.assert_allclose(tokens["difference"], one.logprobs - other.logprobs, rtol=1e-5, atol=1e-6)
    if scope == "all":
        at = [[{f for f, places in side.items() if position in places} for side in fired] for position in tokens.index]
        assert tokens["shared"].tolist() == [len(a & b) for a, b in at]
        assert tokens["active_other"].tolist() == [len(b) for _, b in at]


def test_of_other_saes_the_nearest_is_found(opened: dict[str, Reader]) -> None:
    """They encode as before under the same numbers, but are not known to: each feature finds itself."""
    here, there = opened["tiny"], opened["encoded"]
    table = feature_differences(here, there, 0, HOOKPOINT, top=10_000)
    assert (table["apart"] == 0).all() and (table["both"] == table["positions"]).all()
    alone = table["positions"] > 3
    assert (table.loc[alone, "feature"] == table.loc[alone, "feature_other"]).all() and alone.any()
    assert token_differences(here, there, 0, HOOKPOINT)["shared"].isna().all()


def test_other_texts_are_not_compared(tiny_plan: Plan, opened: dict[str, Reader], tmp_path: Path) -> None:
    config = tiny_plan.experiment.config.model_copy(update={"seed": 9, "max_new_tokens": 5})
    precompute(plan("seeded", config, "cpu", Silent()), tmp_path, 4, Silent())
    with open_reader(tmp_path, "seeded") as other:
        assert not is_same_text(opened["tiny"], other, 0)
        with pytest.raises(NotComparable, match="--traces experiment:E reads the same"):
            feature_differences(opened["tiny"], other, 0, HOOKPOINT)


def test_tokens_that_read_otherwise_are_refused_unless_asked_by_id(tiny: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "model", tmp_path / "model")
    path = tmp_path / "model" / "tokenizer.json"
    path.write_text(path.read_text("utf-8").replace("<｜Assistant｜>", "<|im_start|>"), "utf-8")
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        own = tmp_path / "model" / name
        own.write_text(own.read_text("utf-8").replace("<｜Assistant｜>", "<|im_start|>"), "utf-8")
    lm = load_model(str(tmp_path / "model"), None, torch.device("cpu"))
    config = ExperimentConfig(model=str(tmp_path / "model"), traces="experiment:tiny", limit=None)
    with pytest.raises(
        BadProblems, match=r"1 of its \d+ tokens: \d+ is '<｜Assistant｜>' there and '<\|im_start\|>' .*by-id"
    ):
        open_traces(config, lm, cache)
    found = open_traces(config.model_copy(update={"by_id": True}), lm, cache)
    assert "reads otherwise 1 of its" in found.notices[0]
    with pytest.raises(BadProblems, match="3 of its 4 inferences"):
        folder = tmp_path / "cache"
        shutil.copytree(cache / "tiny", folder / "tiny")
        experiment = json.loads((folder / "tiny" / "experiment.json").read_text())
        rewrite(folder / "tiny" / "experiment.json", inferences=experiment["inferences"] + 1)
        open_traces(config, lm, folder)


def test_where_a_kept_run_was_deleted_the_others_keep_their_numbers(
    tiny_plan: Plan, opened: dict[str, Reader], tmp_path: Path
) -> None:
    """Of what is kept, of what was read of it, and of either when it was imported."""
    made_by = tiny_plan.experiment
    for inference in (0, 1, 2, 0):
        keep(tmp_path, made_by, opened["tiny"].inference(inference), GenerateRequest(prompt="?"), "Ada")
    for deleted in (0, 2):
        delete_kept(tmp_path, "live", deleted, "Ada")

    def reading(source: str, limit: int | None = None) -> ExperimentConfig:
        asked = {"traces": f"experiment:{source}", "problems": f"experiment:{source}", "limit": limit}
        return made_by.config.model_copy(update=asked)

    read = plan("read", reading("live"), "cpu", Silent(), tmp_path)
    precompute(read, tmp_path, 4, Silent(), site_is_chosen=True)
    assert is_finished(tmp_path, "read", reading("live"))
    with open_reader(tmp_path, "live") as here, open_reader(tmp_path, "read") as there:
        assert there.inference_ids == here.inference_ids == (1, 3) and there.experiment.inferences == 2
        assert is_same_text(here, there, 1) and is_same_text(here, there, 3)
        assert feature_differences(here, there, 3, HOOKPOINT)["apart"].eq(0).all()
        with pytest.raises(OutOfRange):
            queries.transcript(there, 0)
    export(tmp_path, "read", tmp_path / "read.duckdb")
    import_experiment(tmp_path, tmp_path / "read.duckdb", "taken")
    for source in ("live", "read", "taken"):
        assert list(open_traces(reading(source), tiny_plan.lm, tmp_path).numbers) == [1, 3]
        first = open_traces(reading(source, 1), tiny_plan.lm, tmp_path)
        assert list(first.numbers) == [1] and first.read(1).prompt.inference == 1
    for inference in (1, 3):
        delete_kept(tmp_path, "live", inference, "Ada")
    with pytest.raises(BadProblems, match="experiment:live: it holds no inferences"):
        open_traces(reading("live"), tiny_plan.lm, tmp_path)


@pytest.mark.parametrize(("name", "told"), [("moved", "likelier"), ("residual", "alike"), ("encoded", "may be chance")])
def test_the_page_shows_one_text_in_both(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, told: str
) -> None:
    with visiting(cache, monkeypatch) as visit:
        app = visit("compare", experiment="tiny", other=name, facet="tokens", inference=1, hookpoint=HOOKPOINT)
        assert not app.exception and f"{name} read the tokens that tiny has; it generated nothing." in texts(app)
        stretches = [payload["groups"][0] for payload in payloads(app, "groups")]
        assert told in texts(app) + "".join(group["note"] for group in stretches)
        assert tables(app, "apart") and bool(stretches) == (name == "moved")
        for chart in app.get("vega_lite_chart"):
            named = {line["field"] for line in json.loads(chart.proto.spec)["encoding"]["tooltip"]}
            drawn = convert_arrow_bytes_to_pandas_df(chart.proto.data.data)
            assert named <= set(drawn) and {"logprob", "logprob_other"} < named, (
                "each line of the tooltip has its figure"
            )
        app = visit("overview", experiment=name)
        assert "nothing generated, traces experiment:tiny" in texts(app) and "temperature" not in texts(app)
    link = f"compare?experiment=tiny&other={name}&facet=tokens&inference=1&hookpoint={HOOKPOINT}"
    assert main(["save-view", link, str(tmp_path / "out.html"), "--cache", str(cache)]) == 0
    assert "Features that differ" in (tmp_path / "out.html").read_text("utf-8")


def test_runs_of_one_problem_are_paired_in_their_order() -> None:
    here = pd.DataFrame({"problem": [0, 1, 0, 1], "question": ["a", "b", "a", "b"], "inference": [0, 1, 2, 3]})
    there = here.iloc[:3].assign(inference=[5, 6, 7])
    pairs = paired(here, there, ())
    assert list(zip(pairs["inference"], pairs["inference_other"], strict=True)) == [(0, 5), (1, 6), (2, 7)]


def test_both_are_queries(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--experiment", "tiny", "--other", "moved", "--inference", "1", "--hookpoint", HOOKPOINT]
    for query, column in (("token-differences", "logprob_other"), ("feature-differences", "apart")):
        assert main(["query", query, *asked, "--cache", str(cache), "--format", "json"]) == 0
        assert column in json.loads(capsys.readouterr().out)[0]

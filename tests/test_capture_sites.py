"""The same traces at two capture sites: every figure against a plain computation from the model and the journal, what
the page shows of them, and the worker that makes the demo's second experiment."""

from __future__ import annotations

import argparse
import math
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sparsify import SparseCoder

from kthink_core import arguments
from kthink_core.commands import own_traces
from kthink_core.config import DEMO, Experiment
from kthink_core.errors import KthinkError
from kthink_core.evidence import capture_sites
from kthink_core.identity import sites_apart
from kthink_core.model.language_model import LanguageModel
from kthink_core.precompute.pipeline import Plan, plan, plan_with, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.presets import DEMO_RESIDUAL, PRESETS, companion
from kthink_core.prompts import Segment
from kthink_core.records import Inference
from kthink_core.store.completion import is_finished
from kthink_core.store.journal import read_segment
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.scopes import SEGMENTS_OF, Scope
from kthink_core.ui.passport import audit
from kthink_core.worker.background import background
from kthink_core.worker.engine import Engine
from kthink_core.worker.keeping import Keeping
from tests.app_visits import Open, tables, texts, visiting

QUESTIONS = 6
NAMES = {"hookpoint": "here", "residual": "there"}


@pytest.fixture(scope="module")
def cache(tiny_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same six traces at both sites, and one experiment whose traces no other has."""
    folder = tmp_path_factory.mktemp("sites")
    problems = folder.with_suffix(".jsonl")
    problems.write_text("".join(f'{{"question": "How many are {n} and {n * n}?"}}\n' for n in range(QUESTIONS)))
    config = tiny_plan.experiment.config.model_copy(update={"problems": str(problems), "max_new_tokens": 20})
    for site, name in NAMES.items():
        few = QUESTIONS if site == "hookpoint" else QUESTIONS - 1
        made = config.model_copy(update={"site": site, "limit": few})
        precompute(plan_with(tiny_plan, name, made), folder, 8, Silent())
    alone = config.model_copy(update={"seed": 77, "limit": 1})
    precompute(plan_with(tiny_plan, "alone", alone), folder, 8, Silent())
    return folder


@pytest.fixture(scope="module")
def readers(cache: Path) -> dict[str, Reader]:
    return {site: open_reader(cache, name) for site, name in NAMES.items()}


def stored(cache: Path, name: str) -> list[Inference]:
    return [read_segment(path) for path in sorted((cache / name / "journal").glob("*.parquet"))]


def in_scope(inference: Inference, scope: Scope) -> np.ndarray:
    wanted: tuple[Segment, ...] = SEGMENTS_OF[scope]
    return np.array([segment in wanted for segment in inference.segments])


def vectors_at(lm: LanguageModel, inference: Inference, hookpoint: str, site: str) -> np.ndarray:
    """By transformers' own hidden states, or one hook."""
    kept: list[torch.Tensor] = []
    handle = lm.model.base_model.get_submodule(hookpoint).register_forward_hook(lambda _m, _i, out: kept.append(out[0]))
    states = lm.model(torch.tensor([inference.token_ids.tolist()]), output_hidden_states=True).hidden_states
    handle.remove()
    return (kept[0] if site == "hookpoint" else states[int(hookpoint.split(".")[1])][0]).double().numpy()


def plain_fvu(rows: np.ndarray, sae: SparseCoder) -> float:
    w, b, d, mean = (part.double().numpy() for part in (sae.encoder.weight, sae.encoder.bias, sae.W_dec, sae.b_dec))
    z = np.maximum((rows - mean) @ w.T + b, 0)
    z[z < -np.sort(-z, axis=1)[:, sae.cfg.k - 1 : sae.cfg.k]] = 0
    return float(((rows - z @ d - mean) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum())


@pytest.mark.parametrize("site", NAMES)
@pytest.mark.parametrize("scope", ["generated", "all", "prompt"])
def test_fvu(
    cache: Path, readers: dict[str, Reader], tiny: Path, tiny_lm: LanguageModel, site: str, scope: Scope
) -> None:
    hookpoint, chosen = "layers.2.mlp", (0, 1, 2, 3, 4)
    sae = SparseCoder.load_from_disk(tiny / "saes" / hookpoint).requires_grad_(False)
    some = [each for each in stored(cache, NAMES[site]) if each.inference in chosen]
    rows = [vectors_at(tiny_lm, each, hookpoint, site)[in_scope(each, scope)] for each in some]
    found = capture_sites.site_fvu(readers[site], hookpoint, scope, chosen).iloc[0]
    assert found["fvu"] == pytest.approx(plain_fvu(np.concatenate(rows), sae), rel=1e-3)
    assert (found["inferences"], found["positions"]) == (5, sum(map(len, rows)))
    lengths = np.concatenate([np.linalg.norm(each, axis=1) for each in rows])
    assert found["norm"] == pytest.approx(np.median(lengths), rel=1e-3)
    random = np.random.default_rng(5)  # not the draws of the query
    drawn = [plain_fvu(np.concatenate([rows[i] for i in random.integers(0, 5, 5)]), sae) for _ in range(400)]
    assert found[["low", "high"]].tolist() == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), rel=0.1)
    assert found["low"] <= found["fvu"] * 1.05 and found["high"] >= found["fvu"] * 0.95


@pytest.mark.parametrize("site", NAMES)
def test_sizes_of_activations(cache: Path, readers: dict[str, Reader], site: str) -> None:
    hookpoint, chosen = "layers.1.mlp", (1, 4)
    table = capture_sites.activation_sizes(readers[site], hookpoint, "generated", chosen)
    own = [each for each in stored(cache, NAMES[site]) if each.inference in chosen]
    values = np.concatenate(
        [each.encodings[hookpoint].activations[in_scope(each, "generated")].ravel() for each in own]
    )
    values = values[values > 0].astype(np.float64)
    assert table["count"].sum() == len(values) and table["share"].sum() == pytest.approx(1)
    assert table["low"].is_monotonic_increasing
    for row in table.to_dict("records"):
        assert row["count"] == ((values >= row["low"]) & (values < row["high"])).sum()
        assert row["high"] / row["low"] == pytest.approx(10**0.1)


def test_relevant_sets_and_their_overlap(cache: Path, readers: dict[str, Reader]) -> None:
    hookpoint, chosen = "layers.1.mlp", (0, 2, 3, 4)

    def relevant(each: Inference) -> set[int]:
        encoding, at = each.encodings[hookpoint], in_scope(each, "generated")
        best: dict[int, float] = {}
        pairs = zip(encoding.features[at].ravel().tolist(), encoding.activations[at].ravel().tolist(), strict=True)
        for feature, activation in pairs:
            if activation > 0:
                best[feature] = max(activation, best.get(feature, 0))
        return set(sorted(best, key=lambda feature: (-best[feature], feature))[:7])

    sides = [
        capture_sites.relevant_sets(reader, hookpoint, "generated", chosen, relevant=7) for reader in readers.values()
    ]
    table = capture_sites.overlaps(*sides, chosen)
    wanted = []
    for inference in chosen:
        one, other = (relevant(stored(cache, name)[inference]) for name in NAMES.values())
        both = len([feature for feature in one if feature in other])
        wanted.append((inference, len(one), len(other), both, both / (len(one) + len(other) - both)))
    assert [tuple(row) for row in table.itertuples(index=False)] == wanted
    mean = capture_sites.mean_overlap(table).iloc[0]
    assert mean["jaccard"] == pytest.approx(np.mean([row[-1] for row in wanted])) and mean["inferences"] == 4
    assert math.isnan(mean["low"]), "four inferences are too few for a range"


def test_overlap_of_nothing_and_the_range_of_many() -> None:
    none = pd.DataFrame({"inference": [], "rank": [], "feature": []})
    table = capture_sites.overlaps(none, none, (3,))
    assert table["jaccard"].isna().all() and table["both"].tolist() == [0]
    assert math.isnan(capture_sites.mean_overlap(table)["jaccard"].iloc[0])
    values = np.random.default_rng(1).random(200)
    mean = capture_sites.mean_overlap(pd.DataFrame({"jaccard": values})).iloc[0]
    half = 1.96 * values.std() / math.sqrt(200)
    assert (mean["low"], mean["high"]) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


@pytest.mark.parametrize("site", NAMES)
def test_first_tokens(cache: Path, readers: dict[str, Reader], site: str) -> None:
    hookpoint, chosen = "layers.2.mlp", (0, 3)
    table = capture_sites.first_tokens(readers[site], hookpoint, chosen)
    own = [stored(cache, NAMES[site])[inference] for inference in chosen]
    largest = [each.encodings[hookpoint].activations.max(axis=1) for each in own]
    norms = [np.sqrt(each.encodings[hookpoint].squared_norm.astype(np.float64)) for each in own]
    for position, row in enumerate(table.to_dict("records")[:2]):
        at = int(np.argmax([each[position] for each in largest]))
        encoding = own[at].encodings[hookpoint]
        assert (row["position"], row["text"], row["positions"]) == (position, own[at].texts[position], 2)
        assert row["largest"] == largest[at][position]
        assert row["feature"] == encoding.features[position, encoding.activations[position].argmax()]
        assert row["norm"] == pytest.approx(np.median([each[position] for each in norms]))
    rest = table.iloc[2]
    assert pd.isna(rest["position"]) and pd.isna(rest["feature"]) and len(table) == 3
    assert rest["largest"] == pytest.approx(np.median(np.concatenate([each[2:] for each in largest])))
    assert rest["positions"] == sum(len(each) - 2 for each in largest)


def test_same_traces(cache: Path, readers: dict[str, Reader]) -> None:
    digests = [capture_sites.trace_digests(reader) for reader in readers.values()]
    own = {name: {each.inference: tuple(each.token_ids) for each in stored(cache, name)} for name in NAMES.values()}
    same = tuple(inference for inference, ids in own["there"].items() if own["here"][inference] == ids)
    assert capture_sites.same_traces(*digests) == same == tuple(range(QUESTIONS - 1))
    with open_reader(cache, "alone") as other:
        assert capture_sites.same_traces(digests[0], capture_sites.trace_digests(other)) == ()


@pytest.mark.parametrize("query", [capture_sites.site_fvu, capture_sites.activation_sizes, capture_sites.relevant_sets])
@pytest.mark.parametrize(
    ("hookpoint", "scope", "inferences"),
    [("layers.9.mlp", "all", (0,)), ("layers.1.mlp", "nowhere", (0,)), ("layers.1.mlp", "all", (0, 99))],
)
def test_what_is_not_there(
    readers: dict[str, Reader], query: object, hookpoint: str, scope: str, inferences: tuple[int, ...]
) -> None:
    assert callable(query)
    with pytest.raises(KthinkError):
        query(readers["hookpoint"], hookpoint, scope, inferences)


def test_no_inference_and_no_position_give_no_figure(readers: dict[str, Reader]) -> None:
    for chosen, scope in (((), "all"), ((0,), "answer")):
        row = capture_sites.site_fvu(readers["hookpoint"], "layers.1.mlp", scope, chosen).iloc[0]
        assert row["positions"] == 0 and math.isnan(row["fvu"]) and math.isnan(row["low"])
        assert capture_sites.activation_sizes(readers["hookpoint"], "layers.1.mlp", scope, chosen).empty
    assert capture_sites.first_tokens(readers["hookpoint"], "layers.1.mlp", ()).empty


class TestSitesApart:
    @pytest.fixture
    def pair(self, readers: dict[str, Reader]) -> tuple[Experiment, Experiment]:
        return readers["hookpoint"].experiment, readers["residual"].experiment

    def test_they_are(self, pair: tuple[Experiment, Experiment]) -> None:
        one, other = pair
        assert sites_apart(one, other, "layers.1.mlp") and sites_apart(other, one, "layers.2.mlp")
        assert not sites_apart(one, one, "layers.1.mlp") and not sites_apart(one, other, "layers.3.mlp")

    @pytest.mark.parametrize(
        "changed",
        [{"seed": 5}, {"problems": "others"}, {"temperature": 0.1}, {"mode": "bypass"}, {"site": "hookpoint"}],
    )
    def test_they_are_not(self, pair: tuple[Experiment, Experiment], changed: dict[str, object]) -> None:
        one, other = pair
        moved = other.model_copy(update={"config": other.config.model_copy(update=changed)})
        assert not sites_apart(one, moved, "layers.1.mlp")

    def test_files_elsewhere_are_the_same(self, pair: tuple[Experiment, Experiment]) -> None:
        one, other = pair
        moved = other.config.model_copy(
            update={"model": "elsewhere", "sae": "elsewhere", "hookpoints": ("layers.1.mlp",)}
        )
        assert sites_apart(one, other.model_copy(update={"config": moved}), "layers.1.mlp")
        revised = other.model_copy(update={"revisions": other.revisions.model_copy(update={"model": "sha256:0"})})
        assert not sites_apart(one, revised, "layers.1.mlp")
        assert not sites_apart(one, other.model_copy(update={"open_ended": True}), "layers.1.mlp")


class TestView:
    @pytest.fixture
    def visit(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
        with visiting(cache, monkeypatch) as opened:
            yield opened

    @pytest.mark.parametrize("name", NAMES.values())
    def test_both_sites_from_either(self, visit: Open, readers: dict[str, Reader], name: str) -> None:
        app = visit("quality", experiment=name, passport="audit", hookpoint="layers.2.mlp", scope="all")
        said = texts(app)
        assert f"{QUESTIONS - 1} of {QUESTIONS - 1} traces are the same" in said
        [fvu] = tables(app, "range")
        assert [row.split()[0] for row in fvu["site"]] == list(NAMES)
        shared = tuple(range(QUESTIONS - 1))
        wanted = [
            capture_sites.site_fvu(reader, "layers.2.mlp", "all", shared)["fvu"].iloc[0] for reader in readers.values()
        ]
        assert [float(shown) for shown in fvu["fvu"]] == pytest.approx(wanted, abs=5e-4)
        [overlap] = tables(app, "jaccard")
        assert overlap["inference"].tolist() == list(shared)
        [first] = tables(app, "times")
        assert len(first) == 6 and first["token"].tolist().count("a further token (median)") == 2
        assert len(app.get("vega_lite_chart")) == 2

    def test_a_range_of_one_value_is_said_to_be_one(self) -> None:
        drawn = [(0, 0, 8), (0.3, 0.1 + 0.2, 5), (0.3, 0.30004, 8), (math.nan, math.nan, 4)]
        assert audit.ranges(pd.DataFrame(drawn, columns=["low", "high", "inferences"]), 3) == [
            "the same in all 8 traces", "the same in all 5 traces", "0.300 to 0.300", "too few traces",
        ]  # fmt: skip

    def test_a_scope_without_positions(self, visit: Open) -> None:
        app = visit("quality", experiment="here", passport="audit", scope="answer")
        assert "No feature fires in scope answer" in texts(app)
        [fvu] = tables(app, "range")
        assert set(fvu["range"]) == {"too few traces"}

    def test_without_the_other_it_says_how_to_make_it(self, visit: Open, tiny: Path) -> None:
        app = visit("quality", experiment="alone", passport="audit")
        [command] = [each.value for each in app.code if "precompute" in each.value]
        assert "No experiment has these traces at the other site, residual" in texts(app)
        for part in ("--experiment alone-residual", "--site residual", "--seed 77", "--limit 1", str(tiny / "saes")):
            assert part in command

    @pytest.mark.parametrize(
        "changed",
        [
            {"instruction": "", "samples": 2, "grade": "text"},
            {"mode": "bypass"},
            {"instruction": " Be brief.", "system": "Sums.", "limit": None, "sae_revision": "abc"},
            {"traces": "t.jsonl", "problems": "t.jsonl", "skip_bad": True, "limit": None},
            {"traces": "experiment:demo", "problems": "experiment:demo", "by_id": True, "mode": "bypass"},
            {"chat_template": "{{ messages[0].content }}", "hookpoints": ("layers.1.mlp",)},
        ],
    )
    def test_the_command_is_taken_and_makes_what_belongs_beside(
        self, readers: dict[str, Reader], changed: dict[str, object]
    ) -> None:
        config = readers["hookpoint"].experiment.config.model_copy(update=changed)
        here = readers["hookpoint"].experiment.model_copy(update={"config": config, "name": "mine"})
        parser = argparse.ArgumentParser()
        for add in (arguments.add_preset, arguments.add_config, own_traces.add):
            add(parser)
        parser.add_argument("--experiment")
        given = parser.parse_args(shlex.split(audit.command(here, "residual"))[4:])
        made = here.model_copy(update={"config": own_traces.config_with_traces(given), "name": given.experiment})
        assert sites_apart(here, made, "layers.1.mlp")


def test_the_demos_second_experiment_is_its_first_ones_at_the_other_site() -> None:
    first, second = PRESETS[DEMO], PRESETS[DEMO_RESIDUAL]
    assert second == first.model_copy(update={"site": "residual", "limit": 8})
    assert companion(DEMO, first) == DEMO_RESIDUAL
    assert companion("mine", first) is companion(DEMO, second) is companion(DEMO_RESIDUAL, second) is None


def test_a_worker_makes_it_after_the_demo(tiny_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = tiny_plan.experiment.config
    second = demo.model_copy(update={"site": "residual", "limit": 2})
    monkeypatch.setitem(PRESETS, DEMO, demo)
    monkeypatch.setitem(PRESETS, DEMO_RESIDUAL, second)
    ready = replace_name(tiny_plan, DEMO)
    told: list[str] = []
    engine = Engine(lambda: ready, background(tmp_path, 8, Keeping(tmp_path)), 8)
    say = engine.say
    monkeypatch.setattr(engine, "say", lambda text: (told.append(text), say(text))[1])
    while not (is_finished(tmp_path, DEMO_RESIDUAL, second) and engine.load().background == "nothing"):
        assert engine.failure is None and "stopped" not in engine.load().background
        time.sleep(0.02)
    assert is_finished(tmp_path, DEMO, demo)
    engine.close()
    here, there = (stored(tmp_path, name) for name in (DEMO, DEMO_RESIDUAL))
    assert len(there) == 2
    for one, other in zip(here, there, strict=False):
        assert one.token_ids.tolist() == other.token_ids.tolist()


def replace_name(made: Plan, name: str) -> Plan:
    return made._replace(experiment=made.experiment.model_copy(update={"name": name}))


def test_a_plan_with_what_another_has_loaded_is_that_of_its_own(tiny: Path, tiny_plan: Plan) -> None:
    config = tiny_plan.experiment.config.model_copy(update={"site": "residual"})
    shared, own = plan_with(tiny_plan, "x", config), plan("x", config, "cpu", Silent())
    assert shared.prompts == own.prompts and shared.lm is tiny_plan.lm
    facts = [
        made.experiment.model_copy(update={"provenance": made.experiment.provenance | {"created": ""}})
        for made in (shared, own)
    ]
    assert facts[0] == facts[1]

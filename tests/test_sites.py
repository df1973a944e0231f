"""At which site was an SAE trained: FVU against a plain computation, planted SAEs found, and what precompute says."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kthink_core import demo
from kthink_core.cli import main
from kthink_core.config import ExperimentConfig
from kthink_core.errors import UnknownName, UnsupportedSae, WrongSite
from kthink_core.model import sites
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.sae_folders import hookpoints_in, load_saes
from kthink_core.model.sites import (
    ATTENTION_OUTPUT,
    LAYER_INPUT,
    LAYER_OUTPUT,
    MLP_OUTPUT,
    Audit,
    Fvu,
    capture,
    measured,
    sites_of,
)  # fmt: skip
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.problems import load_problems
from kthink_core.precompute.progress import Silent
from kthink_core.precompute.site_check import check_site
from kthink_core.presets import preset
from kthink_core.prompts import prompt_ids
from kthink_core.store.manifest import committed_count
from kthink_core.worker.background import background
from kthink_core.worker.engine import Engine
from kthink_core.worker.keeping import Keeping
from tests.planted_saes import plant_sae
from tests.test_model_families import FAMILIES

HOOKPOINT = "layers.4.mlp"
RANK = 40


@pytest.fixture(scope="module")
def prompts(bundle: LanguageModel) -> list[list[int]]:
    return [prompt_ids(bundle.tokenizer, bundle.frames, each.question, "think") for each in load_problems("demo", 8)]


@pytest.fixture(scope="module")
def vectors(bundle: LanguageModel, prompts: list[list[int]]) -> dict[str, Tensor]:
    return capture(bundle, prompts, [HOOKPOINT])[HOOKPOINT]


@pytest.fixture
def planted(vectors: dict[str, Tensor], tmp_path: Path) -> Callable[..., Path]:
    """The folder of SAEs in which one works at a site and has the name of a hookpoint."""

    def made(site: str, name: str = HOOKPOINT) -> Path:
        return plant_sae(tmp_path / "saes" / name, vectors[site], RANK).parent

    return made


def seen(lm: LanguageModel, ids: Sequence[int], layer: int) -> dict[str, Tensor]:
    """What passes a layer, by transformers' own hidden states and one hook a part, a sequence at a time."""
    block = lm.model.get_submodule(f"model.layers.{layer}")
    found: dict[str, Tensor] = {}
    hooks = [
        block.mlp.register_forward_hook(lambda _m, _i, out: found.__setitem__(MLP_OUTPUT, out[0])),
        block.self_attn.register_forward_hook(lambda _m, _i, out: found.__setitem__(ATTENTION_OUTPUT, out[0][0])),
    ]
    states = lm.model(torch.tensor([list(ids)]), output_hidden_states=True).hidden_states
    for hook in hooks:
        hook.remove()
    return found | {LAYER_INPUT: states[layer][0], LAYER_OUTPUT: states[layer + 1][0]}


def plain_fvu(rows: Tensor, folder: Path) -> tuple[float, int]:
    """From the SAE's own file: dense, one position after the other, in float64; and how many sinks are left out."""
    weights = {name: tensor.double() for name, tensor in load_file(folder / "sae.safetensors").items()}
    k = json.loads((folder / "cfg.json").read_text())["k"]
    rows = rows.double()
    norms = sorted(float(row.norm()) for row in rows)
    kept = [row for row in rows if float(row.norm()) <= 10 * norms[(len(norms) - 1) // 2]]
    error = 0.0
    for row in kept:
        z = (weights["encoder.weight"] @ (row - weights["b_dec"]) + weights["encoder.bias"]).clamp(min=0)
        made = weights["b_dec"].clone()
        for feature in z.argsort(descending=True)[:k]:
            made += z[feature] * weights["W_dec"][feature]
        error += float(((row - made) ** 2).sum())
    mean = torch.stack(kept).mean(0)
    return error / sum(float(((row - mean) ** 2).sum()) for row in kept), len(rows) - len(kept)


@pytest.mark.parametrize("layer", [2, 6])
def test_the_fvu_of_every_site_is_the_plain_one(bundle: LanguageModel, prompts: list[list[int]], layer: int) -> None:
    """Layer 2 has sinks at its MLP's output."""
    hookpoint = f"layers.{layer}.mlp"
    some = prompts[:2]
    sae = load_saes("demo", None, [hookpoint], torch.device("cpu")).by_hookpoint[hookpoint]
    audit = measured(bundle, hookpoint, sae, capture(bundle, some, [hookpoint])[hookpoint])
    passed = [seen(bundle, ids, layer) for ids in some]
    wanted = {site: plain_fvu(torch.cat([one[site] for one in passed]), demo.SAES / hookpoint) for site in passed[0]}
    assert {each.site for each in audit.sites} == wanted.keys()
    for each in audit.sites:
        fvu, sinks = wanted[each.site]
        assert each.fvu == pytest.approx(fvu, rel=2e-3), each.site
        assert (each.sinks, each.positions + each.sinks) == (sinks, sum(map(len, some)))
    assert audit.trained == audit.named == MLP_OUTPUT and not audit.is_misnamed
    assert any(sinks for _, sinks in wanted.values()) == (layer == 2)


@pytest.mark.parametrize("site", [MLP_OUTPUT, ATTENTION_OUTPUT, LAYER_INPUT, LAYER_OUTPUT])
def test_a_planted_sae_is_found(bundle: LanguageModel, prompts: list[list[int]], planted: Callable, site: str) -> None:
    """By other positions than it was made of."""
    sae = load_saes(str(planted(site)), None, [HOOKPOINT], torch.device("cpu")).by_hookpoint[HOOKPOINT]
    tried = capture(bundle, prompts[:3], [HOOKPOINT])[HOOKPOINT]
    audit = measured(bundle, HOOKPOINT, sae, tried)
    assert audit.trained == site
    assert audit.is_misnamed == (site != MLP_OUTPUT)


def test_sites_of_other_families_and_of_parts(tiny_lm: LanguageModel) -> None:
    for make, mlp, _ in FAMILIES.values():
        lm = tiny_lm._replace(model=make(len(tiny_lm.tokenizer) + 8).eval())
        name = mlp.format(1)
        found = sites_of(lm, name)
        assert found.keys() == {MLP_OUTPUT, ATTENTION_OUTPUT, LAYER_INPUT, LAYER_OUTPUT}
        assert found[MLP_OUTPUT] == name and name.startswith(found[LAYER_INPUT])
        assert capture(lm, [[1, 2, 3], [4]], [name])[name][ATTENTION_OUTPUT].shape == (4, 32)
    within = sites_of(tiny_lm, "layers.1.mlp.down_proj")
    assert MLP_OUTPUT not in within and within["layers.1.mlp.down_proj output"] == "layers.1.mlp.down_proj"
    assert sites_of(tiny_lm, "layers.1")[LAYER_OUTPUT] == "layers.1"
    assert sites_of(tiny_lm, "norm") == {"norm output": "norm"}
    with pytest.raises(UnknownName, match=r"layers\.9\.mlp"):
        sites_of(tiny_lm, "layers.9.mlp")


def test_a_residual_sae_is_tried_where_its_name_says(
    bundle: LanguageModel, prompts: list[list[int]], planted: Callable
) -> None:
    source = str(planted(LAYER_OUTPUT, "layers.4"))
    sae = load_saes(source, None, ["layers.4"], torch.device("cpu")).by_hookpoint["layers.4"]
    audit = measured(bundle, "layers.4", sae, capture(bundle, prompts, ["layers.4"])["layers.4"])
    assert audit.named == audit.trained == LAYER_OUTPUT
    check_site(bundle, {"layers.4": sae}, prompts)


def test_sites_of_another_width_are_left_out(tiny_lm: LanguageModel, tmp_path: Path) -> None:
    hookpoint = "layers.1.mlp.act_fn"
    captured = capture(tiny_lm, [list(range(40))], [hookpoint])[hookpoint]
    own = f"{hookpoint} output"
    folder = plant_sae(tmp_path / hookpoint, captured[own], 8).parent
    sae = load_saes(str(folder), None, [hookpoint], torch.device("cpu")).by_hookpoint[hookpoint]
    assert [each.site for each in measured(tiny_lm, hookpoint, sae, captured).sites] == [own]
    with pytest.raises(UnsupportedSae, match="width 64, those of its layer have 32"):
        measured(tiny_lm, hookpoint, sae, {site: rows for site, rows in captured.items() if site != own})


MODULES = {MLP_OUTPUT: HOOKPOINT, LAYER_INPUT: "layers.4", LAYER_OUTPUT: "layers.4"}


@pytest.mark.parametrize(
    ("found", "trained", "is_misnamed"),
    [
        ({MLP_OUTPUT: 0.1, LAYER_INPUT: 0.9}, MLP_OUTPUT, False),
        ({MLP_OUTPUT: 0.1, LAYER_INPUT: 0.14}, None, False),
        ({LAYER_INPUT: 0.2, LAYER_OUTPUT: 0.25, MLP_OUTPUT: 4.0}, None, True),
        ({LAYER_INPUT: 0.2, MLP_OUTPUT: 0.25}, None, False),
        ({LAYER_INPUT: 0.2, MLP_OUTPUT: 0.5}, LAYER_INPUT, True),
        ({LAYER_INPUT: 1.2, MLP_OUTPUT: 9.0}, None, False),
        ({LAYER_INPUT: 0.2, MLP_OUTPUT: math.nan}, LAYER_INPUT, False),
        ({LAYER_INPUT: 0.0, MLP_OUTPUT: 0.7}, LAYER_INPUT, True),
        ({MLP_OUTPUT: math.nan}, None, False),
    ],
)
def test_what_is_clear(found: dict[str, float], trained: str | None, is_misnamed: bool) -> None:
    audit = Audit(HOOKPOINT, tuple(Fvu(site, fvu, 50, 0) for site, fvu in found.items()), MODULES)
    assert (audit.trained, audit.is_misnamed) == (trained, is_misnamed)


def planned(saes: Path, **config: object) -> Plan:
    given = {"sae": str(saes), "hookpoints": (HOOKPOINT,), "limit": 4, "max_new_tokens": 4} | config
    return plan("planted", ExperimentConfig.model_validate(given), "cpu", Silent())


class TestPrecompute:
    @pytest.mark.parametrize(
        ("site", "remedy"),
        [
            (LAYER_INPUT, "take --site residual"),
            (LAYER_OUTPUT, "name layers.4 and take"),
            (ATTENTION_OUTPUT, "name layers.4.self_attn and take"),
        ],
    )
    def test_it_stops_before_it_begins(
        self, planted: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str], site: str, remedy: str
    ) -> None:
        arguments = [
            "precompute", "--experiment", "planted", "--sae", str(planted(site)), "--hookpoints", HOOKPOINT, "--limit",
            "4", "--max-new-tokens", "4", "--device", "cpu", "--cache", str(tmp_path / "cache"),
        ]  # fmt: skip
        capsys.readouterr()
        assert main(arguments) == 2
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kthink: ")]
        assert len(told) == 1 and remedy in told[0] and f"was trained at the {site}" in told[0]
        assert not (tmp_path / "cache").exists()
        assert main([*arguments, "--site", "hookpoint"]) == 0
        assert committed_count(tmp_path / "cache", "planted") == 4
        assert main([*arguments[:-1], str(tmp_path / "other"), "--site", "residual"]) == 0

    def test_what_has_begun_goes_on(self, planted: Callable, tmp_path: Path) -> None:
        ready = planned(planted(LAYER_INPUT))
        precompute(ready, tmp_path, 4, Silent(), site_is_chosen=True)
        shutil.rmtree(tmp_path / "planted" / "journal")
        precompute(ready, tmp_path, 4, Silent())

    def test_at_the_other_site_nothing_is_doubted(self, planted: Callable, tmp_path: Path) -> None:
        precompute(planned(planted(MLP_OUTPUT), site="residual"), tmp_path, 4, Silent())

    def test_a_worker_says_so_and_serves_on(self, planted: Callable, tmp_path: Path) -> None:
        ready = planned(planted(LAYER_INPUT))
        ran = []

        def run(made: Plan, engine: Engine) -> None:
            try:
                background(tmp_path / "cache", 4, Keeping(tmp_path / "cache"))(made, engine)
            except WrongSite as error:
                ran.append(error)
                raise

        engine = Engine(lambda: ready, run, 8)
        while not (ran and "stopped" in engine.load().background):
            assert engine.failure is None
            time.sleep(0.01)
        assert "--site residual" in engine.load().background
        engine.close()
        assert not (tmp_path / "cache" / "planted").exists()

    def test_the_demos_own_are_where_they_belong(self, bundle: LanguageModel) -> None:
        config = preset("demo")
        saes = load_saes("demo", None, config.hookpoints, torch.device("cpu")).by_hookpoint
        for mode in ("think", "bypass"):
            asked = [
                prompt_ids(bundle.tokenizer, bundle.frames, each.question, mode) for each in load_problems("demo", 1)
            ]
            check_site(bundle, saes, asked)


class TestCommand:
    def test_the_demo(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["audit", "--limit", "2", "--max-new-tokens", "8", "--device", "cpu"]
        capsys.readouterr()
        assert main([*arguments, "--format", "json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert all(
            list(row) == ["hookpoint", "site", "module", "fvu", "ratio", "positions", "sinks", "named", "trained"]
            for row in rows
        )
        assert [row["site"] for row in rows if row["trained"]] == [MLP_OUTPUT] * 3
        assert len(rows) == 12 and all(row["named"] == row["trained"] for row in rows)
        assert main(arguments) == 0
        assert capsys.readouterr().out.count("trained at: mlp output") == 3

    def test_a_folder_is_audited_as_a_whole(self, planted: Callable, capsys: pytest.CaptureFixture[str]) -> None:
        folder = planted(LAYER_INPUT)
        planted(LAYER_OUTPUT, "layers.4")
        planted(MLP_OUTPUT, "layers.10.mlp")
        assert hookpoints_in(folder) == ["layers.4", "layers.4.mlp", "layers.10.mlp"]
        shutil.rmtree(folder / "layers.10.mlp")
        assert main(["audit", "--sae", str(folder), "--limit", "8", "--max-new-tokens", "1", "--device", "cpu"]) == 0
        told = capsys.readouterr().out
        assert "layers.4: trained at: layer output" in told
        assert "layers.4.mlp: trained at: layer input" in told and "clearly not at the mlp output that its name" in told

    def test_random_saes_are_undecided(self, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["audit", "--model", str(tiny / "model"), "--sae", str(tiny / "saes"), "--max-new-tokens", "4"]
        assert main([*arguments, "--device", "cpu"]) == 0
        assert capsys.readouterr().out.count("undecided") == 2

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--sae", "owner/name"], "--hookpoints"),
            (["--hookpoints", "layers.77.mlp"], "unknown SAE hookpoint"),
            (["--hookpoints", "layers.1.mlp"], "unknown SAE hookpoint"),
            (["--hookpoints", HOOKPOINT, "layers.1.mlp"], "unknown SAE hookpoint 'layers.1.mlp'"),
            (["--sae", "{empty}/none"], "none does not exist"),
            (["--sae", "~/kthink none"], "none does not exist"),
            (["--limit", "0"], "--limit"),
            (["--sae", "{empty}"], "holds no SAEs"),
        ],
    )
    def test_mistakes(
        self, arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = [each.replace("{empty}", str(tmp_path)) for each in arguments]
        assert main(["audit", "--max-new-tokens", "1", "--device", "cpu", *given]) == 2
        said = capsys.readouterr().err
        assert told in said and "loading" not in said, "before anything takes long"


def test_a_site_that_does_not_vary_has_no_fvu(bundle: LanguageModel) -> None:
    sae = load_saes("demo", None, [HOOKPOINT], torch.device("cpu")).by_hookpoint[HOOKPOINT]
    same = dict.fromkeys(sites_of(bundle, HOOKPOINT), torch.ones(5, 192))
    audit = measured(bundle, HOOKPOINT, sae, same)
    assert all(math.isnan(each.fvu) for each in audit.sites) and audit.trained is None
    assert sites.CLEAR > 1

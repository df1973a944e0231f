"""SAEs in SAELens's format: as the package encodes them, and all the way from a folder of it to what is told of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from kthink_core import demo
from kthink_core.cli import main
from kthink_core.config import ExperimentConfig
from kthink_core.errors import BadFile, KthinkError, MissingFiles, UnknownName, UnsupportedSae
from kthink_core.evidence.passport import passport
from kthink_core.live.api import Done, Tokens
from kthink_core.live.client import WorkerClient
from kthink_core.model.hook_names import hookpoint_named, is_at
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.sae import Latents, Sae
from kthink_core.model.sae_folders import check_hookpoints, hookpoints_in, load_saes
from kthink_core.precompute.pipeline import Plan, plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.presets import preset
from kthink_core.records import Inference
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.writer import open_writer
from kthink_core.ui.live.run_state import RunName, RunState
from tests.app_visits import tables, texts, transcript, visiting
from tests.worker_process import request, working

CPU = torch.device("cpu")
MADE = Path(__file__).parent / "data/saelens-6.54.12"
"""By the package: see make_folders.py there."""
AT = {
    "standard": "layers.1", "narrow": "layers.2", "topk": "layers.1.mlp", "jumprelu": "layers.1",
    "batchtopk": "layers.3.self_attn", "batchtopk-training": "layers.3.self_attn", "older": "layers.0",
    "oldest": "layers.4.mlp", "older-topk": "layers.15",
}  # fmt: skip
HOOKPOINT = "layers.4.mlp"
MOST = 30
"""Features that are kept at a position of the experiment: at some more fire."""


def one_of(folder: Path, hookpoint: str, most: int = 2048) -> Sae:
    return load_saes(str(folder), None, [hookpoint], CPU, most).by_hookpoint[hookpoint]


def dense(sae: Sae, latents: Latents) -> torch.Tensor:
    """[positions, num_latents]; fails where a feature stands twice at a position."""
    found = torch.zeros(len(latents.indices), sae.shape.num_latents)
    for row, (activations, features) in enumerate(zip(latents.activations, latents.indices, strict=True)):
        firing = features[activations > 0]
        assert len(set(firing.tolist())) == len(firing)
        found[row, firing] = activations[activations > 0].float()
    return found


@pytest.mark.parametrize("name", AT)
def test_what_the_package_makes_of_it(name: str) -> None:
    sae = one_of(MADE / name, AT[name])
    expected = {name: torch.from_numpy(values) for name, values in np.load(MADE / name / "expected.npz").items()}
    latents = sae.encode(expected["vectors"].to(sae.W_dec.dtype))
    close = {"rtol": 0, "atol": 2e-2 if name == "narrow" else 1e-6}
    torch.testing.assert_close(dense(sae, latents), expected["activations"], **close)
    torch.testing.assert_close(sae.decode(latents).float(), expected["reconstruction"], **close)
    assert sae.W_dec.dtype == (torch.bfloat16 if name == "narrow" else torch.float32)
    counts = (expected["activations"] > 0).sum(1)
    assert sae.shape.k == {"topk": 4, "older-topk": 3}.get(name)
    assert (counts.max() > counts.min()) == (sae.shape.k is None), "the sample must vary where there is no k"


@pytest.mark.parametrize("name", ["standard", "jumprelu"])
def test_no_more_than_are_kept_and_those_the_largest(name: str) -> None:
    vectors = torch.from_numpy(np.load(MADE / name / "expected.npz")["vectors"])
    whole, bounded = one_of(MADE / name, "layers.1"), one_of(MADE / name, "layers.1", most=5)
    assert (whole.shape.most, bounded.shape.most) == (None, 5)
    wanted = dense(whole, whole.encode(vectors))
    for row in wanted:
        row[row.argsort(descending=True)[5:]] = 0
    latents = bounded.encode(vectors)
    torch.testing.assert_close(dense(bounded, latents), wanted)
    torch.testing.assert_close(bounded.decode(latents), wanted @ bounded.W_dec + bounded.decode(nothing(1)))
    assert bounded.decode(bounded.encode(vectors[:0])).shape == (0, 8)


def nothing(positions: int) -> Latents:
    return Latents(torch.zeros(positions, 1), torch.zeros(positions, 1, dtype=torch.int64))


@pytest.mark.parametrize("name", ["standard", "topk", "jumprelu"])
def test_gradients_and_who_is_certainly_quiet(name: str) -> None:
    sae = one_of(MADE / name, AT[name])
    vectors = torch.from_numpy(np.load(MADE / name / "expected.npz")["vectors"]).requires_grad_()
    latents = sae.encode(vectors)
    latents.activations.sum().backward()
    weight = load_file(MADE / name / "sae_weights.safetensors")
    scale = weight["W_dec"].norm(dim=1) if name == "topk" else torch.ones(24)
    firing = dense(sae, latents) > 0
    torch.testing.assert_close(vectors.grad, firing.float() @ (weight["W_enc"] * scale).T)
    quiet = [[sae.quiet(row[None].detach(), torch.tensor([feature])) for feature in range(24)] for row in vectors]
    assert not (torch.tensor(quiet) & firing).any() and np.sum(quiet) > 60


def test_hooks_have_hookpoints() -> None:
    for hook, hookpoint in {
        "blocks.19.hook_resid_post": "layers.19",
        "blocks.20.hook_resid_pre": "layers.19",
        "blocks.7.hook_mlp_out": "layers.7.mlp",
        "blocks.7.hook_attn_out": "layers.7.self_attn",
        "model.layers.12.mlp": "layers.12.mlp",
        "transformer.h.3": "h.3",
    }.items():
        assert hookpoint_named(hook) == hookpoint and is_at(hook, hookpoint)
    assert is_at("blocks.7.hook_attn_out", "h.7.attn") and is_at("blocks.0.hook_resid_post", "h.0")
    assert not is_at("blocks.7.hook_mlp_out", "layers.7") and not is_at("blocks.7.hook_resid_pre", "layers.7")
    refused = ("attn.hook_z", "hook_resid_mid", "hook_mlp_in", "mlp.hook_post", "ln1.hook_normalized")
    for hook in ("blocks.0.hook_resid_pre", *(f"blocks.3.{name}" for name in refused), "hook_embed", ""):
        with pytest.raises(UnsupportedSae, match=r"output of no module: kthink captures blocks\.L\.hook_resid_post"):
            hookpoint_named(hook)


@pytest.mark.parametrize(
    ("name", "changed", "told"),
    [
        ("standard", {"architecture": "gated"}, "architecture is 'gated'"),
        ("standard", {"architecture": "jumprelu_skip_transcoder"}, "architecture is 'jumprelu_skip_transcoder'"),
        ("standard", {"normalize_activations": "layer_norm"}, "normalize_activations is 'layer_norm'"),
        ("standard", {"normalize_activations": "constant_norm_rescale"}, "normalize_activations"),
        ("older-topk", {"architecture": "gated"}, "architecture is 'gated'"),
        ("older", {"activation_fn_str": "tanh-relu"}, "activation_fn is 'tanh-relu'"),
        ("older", {"finetuning_scaling_factor": True}, "finetuning_scaling_factor"),
        ("older", {"hook_head_index": 3}, "hook_head_index is '3'"),
        ("standard", {"reshape_activations": "hook_z"}, "reshape_activations is 'hook_z'"),
        ("standard", {"dtype": "int8"}, "dtype is 'int8'"),
        ("topk", {"k": None}, "k is no whole number"),
        ("topk", {"k": 25}, "k is 25, more than the 24 latents"),
        ("topk", {"d_sae": "24"}, "d_sae: Input should be a valid integer"),
        ("jumprelu", {"architecture": "standard"}, "unexpected: threshold"),
        ("jumprelu", {"d_sae": 23}, r"W_enc \[8, 24\] instead of \[8, 23\]"),
    ],
)
def test_what_is_refused(name: str, changed: dict[str, object], told: str, tmp_path: Path) -> None:
    folder = tmp_path / AT[name]
    shutil.copytree(MADE / name, folder)
    cfg = folder / "cfg.json"
    cfg.write_text(json.dumps(json.loads(cfg.read_text()) | changed))
    with pytest.raises((UnsupportedSae, BadFile), match=told):
        one_of(tmp_path, AT[name])


def test_a_factor_that_is_not_folded_in_and_half_a_folder(tmp_path: Path) -> None:
    shutil.copytree(MADE / "older", tmp_path / "older")
    weights = tmp_path / "older/sae_weights.safetensors"
    save_file(load_file(weights) | {"scaling_factor": torch.full((24,), 2.0)}, weights)
    with pytest.raises(UnsupportedSae, match="scaling_factor is not 1 everywhere; multiply it into W_dec"):
        one_of(tmp_path, "layers.0")
    weights.unlink()
    with pytest.raises(MissingFiles, match=r"no complete SAE: no sae_weights\.safetensors"):
        one_of(tmp_path, "layers.0")


@pytest.mark.parametrize("largest", ["W_enc", "b_dec"])
def test_numbers_that_its_own_type_does_not_hold(largest: str, tmp_path: Path) -> None:
    """Infinite ones would make features silent, or never end."""
    folder = tmp_path / "standard"
    shutil.copytree(MADE / "standard", folder)
    weights, cfg = folder / "sae_weights.safetensors", folder / "cfg.json"
    tensors = load_file(weights)
    save_file(tensors | {largest: tensors[largest] + 1e6}, weights)
    cfg.write_text(json.dumps(json.loads(cfg.read_text()) | {"dtype": "float16"}))
    with pytest.raises(BadFile, match=rf"{largest}: too large for torch\.float16"):
        one_of(tmp_path, "layers.1")


def test_where_they_are_found(tmp_path: Path) -> None:
    """Beside sparsify's, by their hooks or their folders' names; and who is meant where there are several."""
    shutil.copytree(demo.SAES / "layers.2.mlp", tmp_path / "layers.2.mlp")
    shutil.copytree(MADE / "topk", tmp_path / "blocks.1.hook_mlp_out")
    shutil.copytree(MADE / "standard", tmp_path / "width_24")
    shutil.copytree(MADE / "narrow", tmp_path / "layers.9")
    assert hookpoints_in(tmp_path) == ["layers.1", "layers.1.mlp", "layers.2", "layers.2.mlp"]
    found = load_saes(str(tmp_path), None, ["layers.2.mlp", "layers.1.mlp", "layers.1"], CPU)
    assert [shape.activation for shape in found.shapes().values()] == ["topk", "topk", "standard"]
    assert found.shapes()["layers.2.mlp"].num_latents == 2048 and len(set(found.revisions.values())) == 3
    alone = load_saes(str(tmp_path / "width_24"), None, ["layers.1"], CPU)
    assert alone.revisions["layers.1"] == alone.revision
    assert one_of(tmp_path, "layers.9").W_dec.dtype == torch.bfloat16, "a folder's own name has the last word"
    shutil.copytree(MADE / "jumprelu", tmp_path / "another")
    with pytest.raises(UnsupportedSae, match=r"several SAEs of layers\.1: another, width_24; name the folder"):
        check_hookpoints(str(tmp_path), None, ["layers.1"])
    release, nearer = tmp_path / "release", tmp_path / "release/layer_1/width_16"
    shutil.copytree(MADE / "jumprelu", nearer / "average_l0_82")
    shutil.copytree(MADE / "topk", release / "mlp/layer_1/width_16/l0_9")
    assert hookpoints_in(release) == ["layers.1", "layers.1.mlp"]
    deep = load_saes(str(release), None, ["layers.1", "layers.1.mlp"], CPU)
    assert [shape.activation for shape in deep.shapes().values()] == ["jumprelu", "topk"]
    assert len({deep.revision, *deep.revisions.values()}) == 3, "each by its own files"
    shutil.copytree(MADE / "standard", nearer / "average_l0_90")
    with pytest.raises(UnsupportedSae, match=r"average_l0_82, layer_1/width_16/average_l0_90; name the folder"):
        check_hookpoints(str(release), None, ["layers.1"])
    assert one_of(nearer / "average_l0_90", "layers.1").shape.activation == "standard"
    shutil.copytree(MADE / "standard", release / "chosen")
    assert load_saes(str(release), None, ["layers.1"], CPU).shapes()["layers.1"].activation == "standard"
    cfg = tmp_path / "blocks.1.hook_mlp_out/cfg.json"
    cfg.write_text(cfg.read_text().replace("blocks.1.hook_mlp_out", "blocks.1.attn.hook_z"))
    with pytest.raises(UnknownName, match=r"hookpoint 'layers\.1\.mlp'.*hook_z' is the output of no module"):
        check_hookpoints(str(tmp_path), None, ["layers.1.mlp"])


def test_the_preset_of_the_reason_scores_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its repository on the hub has the SAE under the name of its hook, as one in the hub's own cache does."""
    config = preset("r1-distill-llama-8b")
    snapshot = tmp_path / f"models--{config.sae.replace('/', '--')}" / "snapshots" / "0123456789abcdef"
    shutil.copytree(MADE / "older", snapshot / "blocks.19.hook_resid_post")
    cfg = snapshot / "blocks.19.hook_resid_post/cfg.json"
    fields = json.loads(cfg.read_text()) | {"hook_name": "blocks.19.hook_resid_post"}
    cfg.write_text(json.dumps(fields | {"normalize_activations": "expected_average_only_in"}))
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    check_hookpoints(config.sae, config.sae_revision, config.hookpoints)
    loaded = load_saes(config.sae, config.sae_revision, config.hookpoints, CPU, config.most_active)
    assert loaded.revision == loaded.revisions["layers.19"] == snapshot.name
    assert (config.most_active, loaded.shapes()["layers.19"].k) == (2048, None)


class Wide(Silent):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


class Made:
    """An experiment of the bundled model with one of its SAEs in SAELens's format: thresholds instead of a k."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        own = load_file(demo.SAES / HOOKPOINT / "sae.safetensors")
        self.weights = {
            "W_enc": own["encoder.weight"].T.contiguous(), "b_enc": own["encoder.bias"], "W_dec": own["W_dec"],
            "b_dec": own["b_dec"], "threshold": torch.linspace(0.7, 1.2, len(own["W_dec"])),
        }  # fmt: skip
        (folder / "sae").mkdir()
        save_file(self.weights, folder / "sae/sae_weights.safetensors")
        latents, width = own["W_dec"].shape
        cfg = {"architecture": "jumprelu", "d_in": width, "d_sae": latents, "dtype": "float32",
               "metadata": {"hook_name": "blocks.4.hook_mlp_out", "sae_lens_version": "6.54.12"}}  # fmt: skip
        (folder / "sae/cfg.json").write_text(json.dumps(cfg))
        config = ExperimentConfig(
            sae=str(folder / "sae"), hookpoints=(HOOKPOINT,), limit=6, max_new_tokens=60, most_active=MOST
        )
        self.plan: Plan = plan("lens", config, "cpu", Silent())
        told = Wide()
        precompute(self.plan, self.cache, 6, told)
        self.notices = told.notices

    def activations(self, bundle: LanguageModel, trace: Inference) -> torch.Tensor:
        """[positions, latents] by the definition, all that fire."""
        kept: list[torch.Tensor] = []
        module = bundle.model.base_model.get_submodule(HOOKPOINT)
        handle = module.register_forward_hook(lambda _m, _i, output: kept.append(output[0]))
        with torch.inference_mode():
            bundle.model(torch.tensor([trace.token_ids.tolist()]))
        handle.remove()
        z = (kept[0] - self.weights["b_dec"]) @ self.weights["W_enc"] + self.weights["b_enc"]
        return torch.where((z > 0) & (z > self.weights["threshold"]), z, 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("lens"))


@pytest.fixture
def reader(made: Made) -> Iterator[Reader]:
    with open_reader(made.cache, "lens") as opened:
        yield opened


def test_it_is_stored_position_by_position(made: Made, reader: Reader, bundle: LanguageModel) -> None:
    fired, cut, counts = 0, 0, []
    for inference in range(reader.inferences):
        trace = reader.inference(inference)
        wanted = made.activations(bundle, trace)
        fires = (wanted > 0).sum(1)
        cut += int((fires >= MOST).sum())
        for row in wanted:
            row[row.argsort(descending=True)[MOST:]] = 0
        encoding = trace.encodings[HOOKPOINT]
        found = torch.zeros_like(wanted)
        for position, (features, values) in enumerate(zip(encoding.features, encoding.activations, strict=True)):
            found[position, features[values > 0]] = torch.from_numpy(values[values > 0])
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
        fired += int((wanted > 0).sum())
        counts += (wanted > 0).sum(1).tolist()
    assert min(counts) < 3 and max(counts) == MOST and 0 < cut < len(counts) / 2, "the sample must vary"
    stored = reader.query("SELECT count(*) AS n, min(activation) AS least FROM latents")
    assert stored["n"][0] == fired and stored["least"][0] > 0, "a zero is not stored"
    [row] = passport(reader, "all").to_dict("records")
    assert row["cut"] == cut and row["l0"] == pytest.approx(fired / len(counts)) and row["fvu"] < 1
    assert sum(passport(reader, "all", inference=inference)["cut"][0] for inference in range(reader.inferences)) == cut
    [notice] = made.notices
    assert notice.startswith(f"{HOOKPOINT}: the {MOST} strongest features are kept at {cut:,} positions")


def test_live_and_from_the_command_line(
    made: Made,
    reader: Reader,
    bundle: LanguageModel,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker streams as much as fires, and Live says where that is bounded; a feature is taken out, attributed to,
    and steered as any."""
    with working(made.plan, cache=made.cache) as (settings, _):
        events = list(WorkerClient(settings).generate(request()))
    assert isinstance(events[-1], Done)
    kept = [ids for event in events if isinstance(event, Tokens) for ids in event.latents[HOOKPOINT].features]
    assert len({len(ids) for ids in kept}) > 3 and max(map(len, kept)) <= MOST
    run = RunState(request(), (), RunName("ab" * 16, experiment="lens", mark=reader.experiment.mark))
    run.end = events[-1]
    for event in events:
        if isinstance(event, Tokens):
            run.trace.add(event)
    monkeypatch.setenv("KTHINK_WORKER_URL", "http://127.0.0.1:9")
    with visiting(made.cache, monkeypatch) as opened:
        app = opened("live", experiment="lens", hookpoint=HOOKPOINT)
        app.session_state["live_run"] = run
        full = sum(len(ids) == MOST for ids in kept)
        assert full and f"At {full} of {len(kept)} positions {MOST} features fire" in texts(app.run())

    trace = reader.inference(0)
    wanted = made.activations(bundle, trace)
    feature = int(wanted[trace.prompt_tokens :].sum(0).argmax())

    def asked(*command: str) -> list[dict[str, object]]:
        given = ("--experiment", "lens", "--cache", str(made.cache), "--format", "json", "--device", "cpu")
        assert main([*command, *given]) == 0
        return json.loads(capsys.readouterr().out)

    [row] = asked("ablate", "--inference", "0", "--hookpoint", HOOKPOINT, "--features", str(feature))
    assert row["max_activation"] == pytest.approx(float(wanted[:, feature].max()), rel=1e-3)
    assert row["kl_sum"] > 0
    nodes = asked("attribute", "--inference", "0", "--hookpoints", HOOKPOINT, "--position", str(len(trace.texts) - 1))
    assert len(nodes) > 5
    given = ("--sae", made.plan.experiment.config.sae, "--hookpoints", HOOKPOINT, "--cache", str(made.cache))
    steered = ("precompute", "--experiment", "calm", "--limit", "1", "--max-new-tokens", "8", "--device", "cpu")
    steered = (*steered, *given, "--steer", f"{HOOKPOINT}:{feature}=clamp:3")
    assert main([*steered]) == 0
    capsys.readouterr()
    assert main([*steered, "--most-active", "31"]) == 2, "another bound makes other encodings"
    told = capsys.readouterr().err
    assert told.count("kthink:") == 1 and "(most_active: 2048 stored, 31 asked)" in told
    with open_reader(made.cache, "calm") as calm:
        [receipt] = calm.inference(0).receipts
        assert receipt.positions == calm.inference(0).generated_tokens and all(check.holds for check in receipt.checks)
        assert receipt.after_median > receipt.before_median


def test_pages_tell_no_k(made: Made, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    with visiting(made.cache, monkeypatch) as opened:
        app = opened("quality", experiment="lens", hookpoint=HOOKPOINT, scope="all")
        [table] = tables(app, "cut")[:1]
        assert max(table["cut"]) > 0
        overview = opened("overview", experiment="lens")
        assert any("2,048 features, jumprelu]" in text.value for text in overview.markdown)
        assert transcript(opened("inference", experiment="lens", hookpoint=HOOKPOINT, inference="0"))["bands"]
        shape = reader.experiment.saes[HOOKPOINT].model_copy(update={"most": 2048})
        usual = reader.experiment.config.model_copy(update={"most_active": 2048})
        wide = reader.experiment.model_copy(update={"name": "wide", "saes": {HOOKPOINT: shape}, "config": usual})
        with open_writer(made.cache, wide):
            pass
        for name, most in {"lens": str(MOST), "wide": "2048"}.items():
            told = tables(opened("overview", experiment=name), "What")[0].set_index("What")["Value"]
            assert told["most active"] == most


def test_errors_are_a_users(tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_text("[]")
    with pytest.raises(KthinkError):
        one_of(tmp_path, "layers.0")

"""Encoding against the formulas written out in NumPy; everything that is no autoencoder for the model is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from sparsify import SparseCoder, SparseCoderConfig, sparse_coder
from torch import Tensor

from kthink_core import queries
from kthink_core.config import SaeShape
from kthink_core.errors import BadFile, MissingFiles, UnknownName, UnsupportedSae
from kthink_core.model import sae as sae_module
from kthink_core.model.sae import Latents, Sae, check_widths, encode
from kthink_core.model.sae_folders import load_saes
from kthink_core.store.reader import open_reader
from tests.store_samples import sample_experiment, sample_inference, write_sample

CPU = torch.device("cpu")
WIDTH, LATENTS, K = 12, 40, 8


def make_sae(folder: Path, activation: Literal["topk", "groupmax"] = "topk", **options: bool) -> Path:
    torch.manual_seed(3)
    sae = SparseCoder(WIDTH, SparseCoderConfig(activation=activation, num_latents=LATENTS, k=K, **options))
    sae.encoder.bias.data.normal_(-1.0, 0.5)
    sae.b_dec.data.normal_()
    sae.save_to_disk(folder / "layers.0.mlp")
    return folder


def plain_latents(sae: SparseCoder, x: np.ndarray, activation: str) -> np.ndarray:
    """[positions, latents], by the definition: relu, then the k largest, or the largest of each of k groups."""
    weight, bias = sae.encoder.weight.numpy().astype(np.float64), sae.encoder.bias.numpy().astype(np.float64)
    z = np.maximum((x - sae.b_dec.numpy()) @ weight.T + bias, 0)
    kept = np.zeros_like(z)
    for row in range(len(z)):
        if activation == "topk":
            chosen = sorted(range(LATENTS), key=lambda feature: -z[row, feature])[:K]
        else:
            size = LATENTS // K
            chosen = [group * size + int(z[row, group * size : (group + 1) * size].argmax()) for group in range(K)]
        kept[row, chosen] = z[row, chosen]
    return kept


@pytest.mark.parametrize("activation", ["topk", "groupmax"])
@pytest.mark.parametrize("chunk", [1, 3 * LATENTS, 2**26])
def test_encode(
    tmp_path: Path, activation: Literal["topk", "groupmax"], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sae_module, "_PRE_ACTIVATIONS", chunk)
    sae = load_saes(str(make_sae(tmp_path, activation)), None, ["layers.0.mlp"], CPU).by_hookpoint["layers.0.mlp"]
    x = np.random.default_rng(0).normal(size=(10, WIDTH)).astype(np.float32)
    segments = ("prompt",) * 4 + ("think",) * 5 + ("answer",)
    encoding = encode(sae, torch.from_numpy(x), segments)

    coder = SparseCoder.load_from_disk(tmp_path / "layers.0.mlp")
    wanted = plain_latents(coder.requires_grad_(False), x.astype(np.float64), activation)
    got = np.zeros_like(wanted)
    for row in range(10):
        for feature, value in zip(encoding.features[row], encoding.activations[row], strict=True):
            got[row, feature] += value
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert (wanted > 0).sum(1).min() < K, "the sample must have positions with fewer than k positive features"

    reconstruction = wanted @ coder.W_dec.numpy() + coder.b_dec.numpy()
    np.testing.assert_allclose(encoding.squared_error, ((x - reconstruction) ** 2).sum(1), rtol=1e-4)
    np.testing.assert_allclose(encoding.squared_norm, (x.astype(np.float64) ** 2).sum(1), rtol=1e-5)
    assert list(encoding.vector_sums) == ["prompt", "think", "answer"]
    np.testing.assert_allclose(encoding.vector_sums["think"], x[4:9].astype(np.float64).sum(0), rtol=1e-6)


def test_bfloat16_vectors_are_encoded_in_the_saes_type(tmp_path: Path) -> None:
    sae = load_saes(str(make_sae(tmp_path)), None, ["layers.0.mlp"], CPU).by_hookpoint["layers.0.mlp"]
    x = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(0)).bfloat16()
    narrow, wide = encode(sae, x, ("think",) * 5), encode(sae, x.float(), ("think",) * 5)
    np.testing.assert_array_equal(narrow.activations, wide.activations)


@pytest.mark.parametrize("activation", ["topk", "groupmax"])
def test_who_is_certainly_quiet_does_not_fire(tmp_path: Path, activation: Literal["topk", "groupmax"]) -> None:
    """Told for some, never for one that fires; of narrow numbers nothing is certain."""
    sae = load_saes(str(make_sae(tmp_path, activation)), None, ["layers.0.mlp"], CPU).by_hookpoint["layers.0.mlp"]
    rows = torch.randn(60, WIDTH, generator=torch.Generator().manual_seed(4))
    told = 0
    for row in rows:
        latents = sae.encode(row[None])
        firing = set(latents.indices[latents.activations > 0].tolist())
        for feature in range(LATENTS):
            if sae.quiet(row[None], torch.tensor([feature])):
                told += 1
                assert feature not in firing
        assert not firing or not sae.quiet(row[None], torch.tensor(sorted(firing)))
    assert told > 60
    assert not any(sae.quiet(rows[:1].bfloat16(), torch.tensor([feature])) for feature in range(LATENTS))


@pytest.mark.parametrize("option", ["transcode", "skip_connection"])
def test_transcoders_are_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(UnsupportedSae, match=r"layers\.0\.mlp is a transcoder"):
        load_saes(str(make_sae(tmp_path, **{option: True})), None, ["layers.0.mlp"], CPU)


def test_unknown_activation_is_refused(tmp_path: Path) -> None:
    cfg = make_sae(tmp_path) / "layers.0.mlp" / "cfg.json"
    cfg.write_text(json.dumps(json.loads(cfg.read_text()) | {"activation": "jumprelu"}))
    with pytest.raises(UnsupportedSae, match="jumprelu"):
        load_saes(str(tmp_path), None, ["layers.0.mlp"], CPU)


def test_width_must_match(tmp_path: Path) -> None:
    loaded = load_saes(str(make_sae(tmp_path)), None, ["layers.0.mlp"], CPU)
    check_widths(loaded.by_hookpoint, {"layers.0.mlp": torch.zeros(1, WIDTH)})
    with pytest.raises(UnsupportedSae, match="width 12, the model gives 13"):
        check_widths(loaded.by_hookpoint, {"layers.0.mlp": torch.zeros(1, WIDTH + 1)})


def test_shapes_come_from_the_files(tmp_path: Path) -> None:
    shape = load_saes(str(make_sae(tmp_path)), None, ["layers.0.mlp"], CPU).shapes()["layers.0.mlp"]
    assert (shape.d_in, shape.num_latents, shape.k, shape.activation) == (WIDTH, LATENTS, K, "topk")


def test_missing_hookpoint_names_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"layers\.1\.mlp.*layers\.0\.mlp"):
        load_saes(str(make_sae(tmp_path)), None, ["layers.1.mlp"], CPU)


@pytest.mark.parametrize("damage", ["absent", "cut", "no safetensors", "broken cfg"])
def test_incomplete_sae(tmp_path: Path, damage: str) -> None:
    folder = make_sae(tmp_path) / "layers.0.mlp"
    weights = folder / "sae.safetensors"
    match damage:
        case "absent":
            weights.unlink()
        case "cut":
            weights.write_bytes(weights.read_bytes()[:100])
        case "no safetensors":
            weights.write_bytes(b"PK\x03\x04 a pickle in a zip")
        case "broken cfg":
            (folder / "cfg.json").write_text("{")
    told = {
        "absent": r"layers\.0\.mlp is no complete SAE: no sae\.safetensors",
        "cut": r"sae\.safetensors: it is no whole safetensors file",
        "no safetensors": r"sae\.safetensors: it is no whole safetensors file",
        "broken cfg": r"cfg\.json: it is no JSON",
    }
    with pytest.raises((MissingFiles, BadFile), match=told[damage]):
        load_saes(str(tmp_path), None, ["layers.0.mlp"], CPU)


def test_a_source_that_is_nowhere_says_how_to_get_it() -> None:
    with pytest.raises(MissingFiles, match="hf download nobody/nothing"):
        load_saes("nobody/nothing", None, ["layers.0.mlp"], CPU)


class Jump:
    """An SAE that keeps what exceeds a threshold: now three features of a position, now none (JumpReLU)."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(1)
        self.W_dec = torch.randn(LATENTS, WIDTH, generator=random)
        self.shape = SaeShape(num_latents=LATENTS, d_in=WIDTH, activation="jumprelu")

    def dense(self, vectors: torch.Tensor) -> torch.Tensor:
        z = vectors @ self.W_dec.T / WIDTH
        return torch.where(z > 0.8, z, 0.0)

    def quiet(self, vectors: torch.Tensor, features: torch.Tensor) -> bool:
        return False

    def encode(self, vectors: torch.Tensor) -> Latents:
        z = self.dense(vectors)
        return Latents(*z.topk(max(1, int((z > 0).sum(1).max())), dim=1))

    def decode(self, latents: Latents) -> torch.Tensor:
        return (latents.activations[:, :, None] * self.W_dec[latents.indices]).sum(1)


@pytest.mark.parametrize("chunk", [1, 2 * LATENTS, 2**26])
def test_an_sae_may_keep_another_number_at_each_position(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to what a reader sees: rows of different lengths, zeros nowhere, an outline without k."""
    monkeypatch.setattr(sae_module, "_PRE_ACTIVATIONS", chunk)
    sae: Sae = Jump()
    x = torch.randn(7, WIDTH, generator=torch.Generator().manual_seed(2)) * torch.tensor([[0.0], *[[3.0]] * 6])
    wanted = Jump().dense(x).numpy()
    kept = (wanted > 0).sum(1)
    assert kept[0] == 0 and len(set(kept)) > 2, "the sample must vary"
    encoding = encode(sae, x, ("prompt",) * 3 + ("think",) * 4)
    shape = sample_experiment()
    experiment = shape.model_copy(update={"saes": dict.fromkeys(shape.saes, sae.shape), "inferences": 1})
    inference = replace(
        sample_inference(shape, 0), token_ids=np.arange(7, dtype=np.int32), texts=tuple("abcdefg"), prompt_tokens=3,
        segments=("prompt",) * 3 + ("think",) * 4, logprobs=np.full(7, np.nan, np.float32),
        encodings=dict.fromkeys(shape.saes, encoding), alternatives=None,
    )  # fmt: skip
    write_sample(tmp_path, experiment, [inference], 1)
    with open_reader(tmp_path, experiment.name) as reader:
        assert reader.experiment.saes == experiment.saes
        hookpoint = next(iter(experiment.saes))
        rows = reader.query("SELECT position, feature, activation FROM latents WHERE hookpoint = $h", {"h": hookpoint})
        got = np.zeros_like(wanted)
        got[rows["position"], rows["feature"]] = rows["activation"]
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
        assert len(rows) == kept.sum()
        [quality] = queries.quality(reader, "all").query(f"hookpoint == '{hookpoint}'").to_dict("records")
        assert quality["l0"] == pytest.approx(kept.mean())
        error = ((x.numpy() - wanted @ sae.W_dec.numpy()) ** 2).sum()
        assert quality["fvu"] == pytest.approx(error / ((x - x.mean(0)) ** 2).sum().item(), rel=1e-4)


def test_decoding_where_triton_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There sparsify's own decoder takes triton's kernel, which refuses tensors on a CPU."""
    make_sae(tmp_path)
    sae = load_saes(str(tmp_path), None, ["layers.0.mlp"], CPU).by_hookpoint["layers.0.mlp"]
    plain = SparseCoder.load_from_disk(tmp_path / "layers.0.mlp")
    assert plain.W_dec is not None

    def kernel(*_given: object) -> Tensor:
        raise ValueError("Pointer argument (at 0) cannot be accessed from Triton (cpu tensor?)")

    monkeypatch.setattr(sparse_coder, "decoder_impl", kernel)
    latents = sae.encode(torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(1)))
    dense = torch.zeros(5, LATENTS).scatter_(1, latents.indices, latents.activations)
    torch.testing.assert_close(sae.decode(latents), dense @ plain.W_dec.detach() + plain.b_dec.detach())

"""Maximum activations of features in changed texts, against a plain forward pass of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from kthink_core.config import ExperimentConfig, Site
from kthink_core.errors import BadValue
from kthink_core.evidence.injection_test import LENGTH, TEXTS
from kthink_core.evidence.strategies import STRATEGIES, Drivers, Injected, inject
from kthink_core.model.feature_maxima import FeatureMaxima
from kthink_core.model.language_model import LanguageModel
from kthink_core.model.replay import replay
from kthink_core.model.sae import Sae
from kthink_core.model.sae_folders import load_saes
from kthink_core.precompute.plain_texts import plain_texts
from tests.hooks import hooks_of

HOOKPOINT = "layers.4.mlp"
SITES: tuple[Site, ...] = ("hookpoint", "residual")


@pytest.fixture(scope="module")
def sae() -> Sae:
    return load_saes("demo", None, [HOOKPOINT], torch.device("cpu")).by_hookpoint[HOOKPOINT]


def plain(bundle: LanguageModel, sae: Sae, site: Site, feature: int, token_ids: list[int]) -> np.ndarray:
    """[positions] of the text alone, BOS left out: one whole forward pass, and the SAE's formula in float64."""
    ids = [bundle.tokenizer.bos_token_id, *token_ids]
    vectors = replay(bundle, [ids], [HOOKPOINT], site)[0].vectors[HOOKPOINT]  # type: ignore[list-item]
    latents = sae.encode(vectors)
    return torch.where(latents.indices == feature, latents.activations, 0).sum(-1)[1:].numpy()


def rows(texts: list[list[int]], features: list[int]) -> Iterator[tuple[int, Injected]]:
    drivers = Drivers(0, ((11,), (200,)), ((11, 30),), ((7, 8, 9),), ((5, 11),), ((11, 6),), ((40, 41, 42),))
    for number in (0, 5):
        for strategy in STRATEGIES:
            for feature in features:
                yield feature, inject(strategy, drivers._replace(feature=feature), texts[number], number, 1)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("lengths", ["alike", "different"])
def test_maxima_by_a_plain_pass(bundle: LanguageModel, sae: Sae, site: Site, lengths: str) -> None:
    rng, before = np.random.default_rng(2), hooks_of(bundle.model)
    sizes = [24] * 6 if lengths == "alike" else [20, 24, 31, 8, 24, 40]
    texts = [rng.integers(0, 1400, size).tolist() for size in sizes]
    paused: list[int] = []
    probe = FeatureMaxima(bundle, sae, HOOKPOINT, site, texts, lambda: paused.append(1))
    often = torch.cat(
        [sae.encode(replay(bundle, [text], [HOOKPOINT], site)[0].vectors[HOOKPOINT]).indices for text in texts]
    )
    features = [*often.flatten().bincount().topk(2).indices.tolist(), 5]
    asked = list(rows(texts, features))
    found = probe.maxima(asked)
    expected = [plain(bundle, sae, site, feature, list(changed.token_ids)).max() for feature, changed in asked]
    assert (np.array(expected) > 0).mean() > 0.3
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
    baselines = [[plain(bundle, sae, site, feature, text).max() for text in texts] for feature in features]
    np.testing.assert_allclose(probe.baselines(features), baselines, rtol=2e-3, atol=2e-3)
    shown = probe.activations(features[0], list(asked[0][1].token_ids))
    np.testing.assert_allclose(shown, plain(bundle, sae, site, features[0], list(asked[0][1].token_ids)), atol=2e-3)
    assert len(paused) > 1
    assert hooks_of(bundle.model) == before


def test_the_demos_texts(bundle: LanguageModel) -> None:
    found = plain_texts(bundle.tokenizer, ExperimentConfig(), None, LENGTH, TEXTS)
    assert len(found.token_ids) == TEXTS and found.short == 0
    assert {len(ids) for ids in found.token_ids} == {LENGTH}
    assert not any(word in bundle.tokenizer.decode(ids) for ids in found.token_ids for word in ("Wait", "Hmm", "think"))


def test_texts_of_a_file(bundle: LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("Tom has 3 apples.\n\n" + "How many apples has Tom now? " * 40 + "\n")
    found = plain_texts(bundle.tokenizer, ExperimentConfig(), file, LENGTH, TEXTS)
    assert found.short == 1 and {len(ids) for ids in found.token_ids} == {LENGTH} and len(found.token_ids) > 1
    rows = tmp_path / "texts.jsonl"
    rows.write_text('{"text": "' + "How many\u2028apples\x85has Tom? " * 40 + '"}\r\n', "utf-8", newline="")
    assert len(plain_texts(bundle.tokenizer, ExperimentConfig(), rows, LENGTH, TEXTS).token_ids) > 1
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadValue, match="no text in UTF-8"):
        plain_texts(bundle.tokenizer, ExperimentConfig(), file, LENGTH, TEXTS)
    with pytest.raises(BadValue, match="cannot be read"):
        plain_texts(bundle.tokenizer, ExperimentConfig(), tmp_path / "none", LENGTH, TEXTS)


def test_questions_are_joined_until_they_are_long_enough(bundle: LanguageModel, tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"question": "Tom has 3 apples and buys 4 more. How many has he now?"}\n' * 50)
    found = plain_texts(bundle.tokenizer, ExperimentConfig(problems=str(problems)), None, LENGTH, TEXTS)
    assert 5 < len(found.token_ids) < 50 and {len(ids) for ids in found.token_ids} == {LENGTH}

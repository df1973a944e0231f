"""Loading models, and the text of single tokens."""

from __future__ import annotations

import shutil
import unicodedata
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.config import Device
from kthink_core.errors import BadValue, MissingFiles
from kthink_core.model.language_model import LanguageModel, leave_a_core, load_model, pick_device, text_of, token_text

CPU = torch.device("cpu")


@given(st.text(max_size=40).filter(lambda text: "�" not in text))
def test_texts_of_tokens_make_up_the_text(bundle: LanguageModel, text: str) -> None:
    """Tokens put together give the text (NFC, as Qwen's tokenizer normalizes), split characters through their bytes."""
    clean = unicodedata.normalize("NFC", text.encode("utf-8", "ignore").decode())
    ids = bundle.tokenizer.encode(clean, add_special_tokens=False)
    pieces = [token_text(bundle.tokenizer, token_id) for token_id in ids]
    whole = b"".join(
        piece.encode() if text_of(bundle.tokenizer, [token_id]) == piece else bytes.fromhex(piece.replace("\\x", ""))
        for token_id, piece in zip(ids, pieces, strict=True)
    )
    assert whole.decode() == clean


def test_half_an_emoji_is_spelled_in_bytes(bundle: LanguageModel) -> None:
    ids = bundle.tokenizer.encode("🙂", add_special_tokens=False)
    assert "".join(token_text(bundle.tokenizer, token_id) for token_id in ids) == "\\xf0\\x9f\\x99\\x82"


def test_special_and_unknown_ids(bundle: LanguageModel) -> None:
    assert token_text(bundle.tokenizer, bundle.tokenizer.convert_tokens_to_ids("</think>")) == "</think>"
    assert token_text(bundle.tokenizer, len(bundle.tokenizer) + 5) == f"<id {len(bundle.tokenizer) + 5}>"


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_incomplete_model(tiny: Path, tmp_path: Path, missing: str) -> None:
    shutil.copytree(tiny / "model", tmp_path / "model")
    (tmp_path / "model" / missing).unlink()
    with pytest.raises(MissingFiles, match=r"no complete model|no tokenizer"):
        load_model(str(tmp_path / "model"), None, CPU)


def test_cut_weights(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "model", tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(MissingFiles, match="no complete model"):
        load_model(str(tmp_path / "model"), None, CPU)


def test_pickled_weights_are_not_read(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "model", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(MissingFiles):
        load_model(str(tmp_path / "model"), None, CPU)


@pytest.mark.parametrize("source", ["nobody/nothing", "no such folder/at all/here"])
def test_a_model_that_is_nowhere(source: str) -> None:
    with pytest.raises(MissingFiles, match="neither a folder here nor"):
        load_model(source, None, CPU)


def test_revision_follows_the_files(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "model", tmp_path / "model")
    first = load_model(str(tiny / "model"), None, CPU).revision
    assert load_model(str(tmp_path / "model"), None, CPU).revision == first
    (tmp_path / "model" / "generation_config.json").write_text("{}")
    assert load_model(str(tmp_path / "model"), None, CPU).revision != first


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none() -> None:
    with pytest.raises(BadValue, match="no CUDA device"):
        pick_device("cuda")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_devices(device: Device) -> None:
    assert pick_device(device).type == ("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(("said", "before", "after"), [(None, 2, 1), (None, 1, 1), ("2", 2, 2)])
def test_a_core_is_left_to_others(
    said: str | None, before: int, after: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    torch.set_num_threads(before)
    leave_a_core()
    assert torch.get_num_threads() == after

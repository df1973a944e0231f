"""The language model and its tokenizer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.utils.logging import disable_progress_bar

from kthink_core import demo
from kthink_core.config import Device, Dtype
from kthink_core.errors import BadValue, MissingFiles
from kthink_core.sources import locate

FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""What is read of a model: no pickles, no code."""

_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")

_BYTE_OF = {character: byte for byte, character in bytes_to_unicode().items()}


class LanguageModel(NamedTuple):
    """A model in evaluation mode on its device."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    revision: str
    context: int
    """Most positions that the model can take."""
    stop_ids: Tensor
    """[stops] token ids that end a generation, on the model's device."""

    @property
    def device(self) -> torch.device:
        return self.model.device


def leave_a_core() -> None:
    """Let torch's operations run on all cores but one, unless `OMP_NUM_THREADS` says how many.

    Their threads wait for each other by spinning: where the app takes a core from one of them, a token that takes 4 ms
    takes 50.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def pick_device(device: Device) -> torch.device:
    """`auto` is CUDA where there is one. Raises BadValue for `cuda` where there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise BadValue("--device cuda: this machine has no CUDA device that torch can use; take auto or cpu")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def load_model(source: str, revision: str | None, device: torch.device, dtype: Dtype = "auto") -> LanguageModel:
    """Load from a folder, the hub or the bundle; safetensors only, never remote code.

    dtype `auto`: as the model's files say on CUDA, float32 on a CPU, which is slow at anything narrower.
    Raises MissingFiles.
    """
    found = locate(source, demo.MODEL, revision, FILES)
    disable_progress_bar()  # of reading the shards: two seconds, and it would break the bar of the run
    wanted = "float32" if dtype == "auto" and device.type == "cpu" else dtype
    if not any((found.folder / name).is_file() for name in _VOCABULARIES):  # transformers would make up an empty one
        raise MissingFiles(f"{source} has no tokenizer (one of {', '.join(_VOCABULARIES)})")
    try:
        tokenizer = AutoTokenizer.from_pretrained(found.folder, trust_remote_code=False, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            found.folder,
            dtype=wanted if wanted == "auto" else getattr(torch, wanted),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, SafetensorError) as error:  # for absent, cut and unknown files
        reason = str(error).strip().partition("\n")[0]
        raise MissingFiles(f"{source} is no complete model (config.json, tokenizer, safetensors): {reason}") from error
    model.to(device)  # pyright: ignore[reportArgumentType] - transformers' wrapper hides torch's signature
    model.eval().requires_grad_(False)
    stops = model.generation_config.eos_token_id if model.generation_config else None
    stops = tokenizer.eos_token_id if stops is None else stops
    return LanguageModel(
        model,
        tokenizer,
        found.revision,
        model.config.max_position_embeddings,
        torch.tensor([stops] if isinstance(stops, int) else list(stops or []), device=device),
    )


def text_of(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], *, special: bool = True) -> str:
    """The text of token ids, as the model wrote it; with or without special tokens."""
    text = tokenizer.decode(list(token_ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)  # a list of lists would give a list
    return text


def token_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """The text of one token by itself. Bytes that are no UTF-8 by themselves (half an emoji) are written `\\xF0`.

    Ids that the tokenizer does not know (models pad their vocabulary) are written `<id 151900>`.
    """
    piece = tokenizer.convert_ids_to_tokens([token_id])[0]
    if piece is None:
        return f"<id {token_id}>"
    text = text_of(tokenizer, [token_id])
    if "�" not in text or not all(character in _BYTE_OF for character in piece):
        return text
    return bytes(_BYTE_OF[character] for character in piece).decode("utf-8", errors="backslashreplace")

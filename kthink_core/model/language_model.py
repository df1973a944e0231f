"""The language model and its tokenizer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from kthink_core import demo
from kthink_core.config import Device, Dtype
from kthink_core.errors import BadValue, MissingFiles, UnsupportedModel
from kthink_core.model.chat_template import frames
from kthink_core.model.model_files import VOCABULARIES, ModelFiles, admitted
from kthink_core.model.sources import locate
from kthink_core.model.weights import listed, not_finite
from kthink_core.prompts import ARTICLES, Chat, Frames

FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""What is read of a model: no pickles, no code."""

_LOADS = ("_attn_implementation", "_experts_implementation", "quantization_config", "transformers_weights")
"""Attributes of a configuration that make transformers load kernels, or weights in another way."""

_SLACK = 2**27
"""Numbers that a model may make besides its weights, such as masks: half a gigabyte."""

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
    frames: Frames
    """What the chat template writes around a prompt."""
    chat_template: str = ""
    """It is a program: only chat_template.py runs it."""

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def vocabulary(self) -> int:
        """How many token ids the model has, those that no token has included."""
        return cast(Tensor, self.model.get_input_embeddings().weight).shape[0]

    @property
    def dtype_name(self) -> str:
        """As `--dtype` has it: `float32`."""
        return str(self.model.dtype).removeprefix("torch.")


def leave_a_core() -> None:
    """Let torch's operations run on all cores but one, unless `OMP_NUM_THREADS` says how many.

    An operation ends with the slowest of them: where the app takes the core of one, a token waits until it is back.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def pick_device(device: Device) -> torch.device:
    """`auto` is CUDA where there is one. Raises BadValue for `cuda` where there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise BadValue("--device cuda: this machine has no CUDA device that torch can use; take auto or cpu")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def load_model(
    source: str, revision: str | None, device: torch.device, dtype: Dtype = "auto", chat: Chat = ARTICLES
) -> LanguageModel:
    """Load from a folder, the hub or the bundle; safetensors only, never remote code.

    dtype `auto`: as the model's files say on CUDA, float32 on a CPU, which is slow at anything narrower. chat: how a
    typed text becomes a prompt.
    The libraries see checked files only (model_files.py); weights that are missing, too many, of other shapes or not
    finite are refused by name. Raises MissingFiles, BadFile, UnsupportedModel, BadTemplate.
    """
    found = locate(source, demo.MODEL, revision, FILES)
    disable_progress_bar()  # of reading the shards: two seconds, and it would break the bar of the run
    set_verbosity_error()  # what it would print of missing weights is refused, in one line
    wanted = "float32" if dtype == "auto" and device.type == "cpu" else dtype
    if not any((found.folder / name).is_file() for name in VOCABULARIES):
        raise MissingFiles(f"{source} has no tokenizer (one of {', '.join(VOCABULARIES)})")
    try:
        with admitted(found.folder, chat.template) as files:
            config = _config(source, files)
            tokenizer = _tokenizer(source, files)
            template = files.chat_template
            chats = frames(template, tokenizer.special_tokens_map, chat)
            model = _model(source, files, config, wanted)
    except FileNotFoundError as error:
        name = Path(error.filename or "").name
        raise MissingFiles(f"{source} is no complete model (config.json, tokenizer, safetensors): no {name}") from error
    model.to(device)  # pyright: ignore[reportArgumentType] - transformers' wrapper hides torch's signature
    model.eval().requires_grad_(False)
    stops = files.stop_ids or ((tokenizer.eos_token_id,) if isinstance(tokenizer.eos_token_id, int) else ())
    stop_ids = torch.tensor(stops, device=device, dtype=torch.int64)
    return LanguageModel(model, tokenizer, found.revision, _context(source, model), stop_ids, chats, template)


def _tokenizer(source: str, files: ModelFiles) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(files.folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise UnsupportedModel(f"{source}: its tokenizer cannot be read: {_one_line(error)}") from error


def _config(source: str, files: ModelFiles) -> PreTrainedConfig:
    try:
        config = AutoConfig.from_pretrained(files.folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise UnsupportedModel(f"{source}: its config.json cannot be used: {_one_line(error)}") from error
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        # Looked at once more where it cannot be said under another name.
        if loaded := [name for name in _LOADS if getattr(part, name, None) is not None]:
            raise UnsupportedModel(f"{source}: its config.json asks for {listed(loaded)}, which would load other code")
    return config


def _model(source: str, files: ModelFiles, config: PreTrainedConfig, dtype: str) -> PreTrainedModel:
    """The model with its weights, all of them from its files."""
    kind = dtype if dtype == "auto" else getattr(torch, dtype)
    try:
        with torch.device("meta"):
            outline = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        needed = sum(tensor.numel() for tensor in (*outline.parameters(), *outline.buffers()))
        if needed > 2 * files.elements + _SLACK:  # weights may be shared, and masks may be made
            raise UnsupportedModel(
                f"{source}: config.json describes a model of {needed:,} numbers, the weights are at most "
                f"{files.elements:,}"
            )
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            files.folder,
            dtype=kind,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told by name
        )
    except (OSError, SafetensorError) as error:  # cut files
        raise MissingFiles(f"{source} is no complete model: {_one_line(error)}") from error
    except UnsupportedModel:
        raise
    except Exception as error:
        raise UnsupportedModel(f"{source}: its config.json cannot be used: {_one_line(error)}") from error
    model, info = loaded
    _check_weights(source, model, info)
    return model


def _check_weights(source: str, model: PreTrainedModel, info: Mapping[str, Any]) -> None:
    """Raises UnsupportedModel: what is missing would be random, what is left over says that it is another model."""
    named = {
        "missing": info["missing_keys"],
        "unexpected": info["unexpected_keys"],
        "of another shape": [key[0] for key in info["mismatched_keys"]],
        "not finite": not_finite({name: tensor.detach() for name, tensor in model.named_parameters()}),
    }
    wrong = "; ".join(f"{what}: {listed(names)}" for what, names in named.items() if names)
    if wrong:
        raise UnsupportedModel(f"{source}: its weights are not those of the model that config.json describes ({wrong})")


def _context(source: str, model: PreTrainedModel) -> int:
    most = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(most, int) or isinstance(most, bool) or most < 2:
        raise UnsupportedModel(f"{source}: config.json must say how many positions it takes (max_position_embeddings)")
    return most


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


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

"""The files of a language model, checked before a library interprets them.

The libraries get a private folder: the configuration and the tokenizer's settings written anew from checked values, and
links to the plain files that hold vocabulary and weights. Whatever else lies in the given folder they never see: code,
pickles, adapters, generation settings, chat templates.
"""

from __future__ import annotations

import json
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from kthink_core.documents import checked, parse_object, read_bounded
from kthink_core.errors import BadFile, UnsupportedModel

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""One of them a model needs: else transformers would make up an empty vocabulary."""

_BESIDE = ("merges.txt", "vocab.txt")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,200}\.safetensors")

_MOST_LAYERS = 1024
"""Of layers and of experts: each is a module that is made."""
_LARGEST = 2**24
"""Of any other number, but those that count nothing that is made."""
_COUNTS = re.compile(r"layers?$|experts$|^attention_types$")
_COUNTS_NOTHING = re.compile(r"model_max_length|max_.*position|max_.*length|theta|window|seed|token_id")
_MOST_BYTES = 50_000_000
"""Of a table of tokens or an index of weights."""
_MOST_VOCABULARY_BYTES = 200_000_000

_PRIVATE = re.compile(r"_(?!_)")
"""Names of attributes that transformers keeps for itself; `__type` and `__float__` say what a value is."""
_LEFT_OUT = (
    "auto_map", "custom_pipelines", "attn_implementation", "experts_implementation",
    "attribute_map", "sub_configs", "fusion_config", "per_layer_config",
    "num_labels", "id2label", "label2id",
    "init_inputs", "vocab", "merges",
)  # fmt: skip
"""Name code or files, give attributes other names, or are made for classifiers: a language model computes the same
without them."""
_OTHER_WEIGHTS = ("quantization_config", "compression_config", "transformers_weights", "adapter_config")
"""Say that the weights are not what they are called, or lie elsewhere: such a model is refused."""
_TOKEN_NAME = re.compile(r"[a-z]+(_[a-z]+)*_token|additional_special_tokens|extra_special_tokens")

TokenId = Annotated[int, Field(ge=0, lt=2**31, strict=True)]


class _Ends(BaseModel):
    """What generation_config.json is read for."""

    model_config = ConfigDict(extra="ignore")

    eos_token_id: TokenId | Annotated[tuple[TokenId, ...], Field(max_length=100)] | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        ends = self.eos_token_id
        return () if ends is None else (ends,) if isinstance(ends, int) else ends


class _Config(_Ends):
    """What must be right in config.json whatever the architecture; the rest is checked for size and kind."""

    model_config = ConfigDict(extra="allow")

    model_type: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")


class ModelFiles(NamedTuple):
    """What a library may read of a model."""

    folder: Path
    """Exists as long as the context is open."""
    stop_ids: tuple[int, ...]
    """What the model's own files say ends a generation; may be empty."""
    chat_template: str
    elements: int
    """Numbers in the weights' files, by their size: at least two bytes each."""


@contextmanager
def admitted(given: Path, chat_template: str | None = None) -> Iterator[ModelFiles]:
    """The private folder of a model's checked files. `chat_template`: in the place of its own.

    Raises BadFile, naming the file and what is wrong in it; UnsupportedModel; OSError where a file is missing.
    """
    config = _sanitized(given / "config.json", _read_json(given / "config.json"))
    stated = checked(given / "config.json", config, _Config).ids
    ends = _optional(given / "generation_config.json")
    own = checked(given / "generation_config.json", ends, _Ends).ids
    tokenizer = _sanitized(given / "tokenizer_config.json", _optional(given / "tokenizer_config.json"))
    own_template = tokenizer.pop("chat_template", None)
    template = _chat_template(given, own_template) if chat_template is None else chat_template
    weight_map = _weight_map(given)
    weights = _weights(given, weight_map)
    with tempfile.TemporaryDirectory(prefix="kthink-model-") as name:
        folder = Path(name)
        tables = {
            "config.json": config,
            "tokenizer_config.json": {key: tokenizer[key] for key in tokenizer if not key.endswith("_file")},
            "special_tokens_map.json": _special_tokens(given / "special_tokens_map.json"),
            "added_tokens.json": _added_tokens(given / "added_tokens.json"),
        }
        for file, table in tables.items():
            if table:
                _write(folder / file, table)
        for file in (*VOCABULARIES, *_BESIDE):
            if (given / file).is_file():
                if (given / file).stat().st_size > _MOST_VOCABULARY_BYTES:
                    raise BadFile(given / file, f"it is longer than {_MOST_VOCABULARY_BYTES:,} bytes")
                (folder / file).symlink_to((given / file).resolve())
        for path in weights:
            (folder / path.name).symlink_to(path.resolve())
        if weight_map:
            _write(folder / _INDEX, {"metadata": {}, "weight_map": weight_map})
        elements = sum(path.stat().st_size for path in weights) // 2
        yield ModelFiles(folder, own or stated, template, elements)


def _read_json(path: Path) -> dict[str, Any]:
    return parse_object(path, read_bounded(path, _MOST_BYTES), infinite=True)


def _optional(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.exists() else {}


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _sanitized(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without what makes a library run or load something else. Raises BadFile, UnsupportedModel."""
    for name in _OTHER_WEIGHTS:
        if settings.get(name):
            raise UnsupportedModel(f"{path}: it has a {name}; kthink loads plain safetensors weights")
    return _plain(path, settings, "")


def _plain(path: Path, value: Any, where: str) -> Any:
    if isinstance(value, dict):
        kept = {key: part for key, part in value.items() if not _PRIVATE.match(key) and key not in _LEFT_OUT}
        return {key: _plain(path, part, key) for key, part in kept.items()}
    if isinstance(value, list):
        return [_plain(path, part, where) for part in value]
    most = _MOST_LAYERS if _COUNTS.search(where) else _LARGEST
    if isinstance(value, int) and value > most and not _COUNTS_NOTHING.search(where):
        raise BadFile(path, f"{where} is {str(value)[:20]}: too large")
    return value


def _special_tokens(path: Path) -> dict[str, Any]:
    """What stands for the beginning, the end and so on: texts, or descriptions of tokens. Nothing else of the file: the
    library would take any other name in it for an option of its own."""
    return {name: value for name, value in _optional(path).items() if _TOKEN_NAME.fullmatch(name)}


def _added_tokens(path: Path) -> dict[str, int]:
    """Ids by text. Raises BadFile."""
    tokens = _optional(path)
    for text, token_id in tokens.items():
        if not isinstance(token_id, int) or isinstance(token_id, bool) or not 0 <= token_id < 2**31:
            raise BadFile(path, f"{text[:40]!r} must have a token id")
    return tokens


def _chat_template(given: Path, stated: object) -> str:
    """From its own file, else from the tokenizer's settings: a text, or texts by name. Raises UnsupportedModel."""
    path = given / "chat_template.jinja"
    if path.exists():
        return read_bounded(path).decode("utf-8", "replace")
    if isinstance(stated, list):
        named = {part.get("name"): part.get("template") for part in stated if isinstance(part, dict)}
        stated = named.get("default")
    if not isinstance(stated, str) or not stated:
        raise UnsupportedModel(
            f"{given} has no chat template (chat_template.jinja, or `chat_template` in tokenizer_config.json): "
            "kthink prompts a model through its own; take one that was trained to chat, or give --chat-template"
        )
    return stated


def _weights(given: Path, weight_map: dict[str, str]) -> list[Path]:
    """The files that hold the weights. Raises BadFile, OSError."""
    paths = [given / name for name in sorted(set(weight_map.values()) or {_WEIGHTS})]
    for path in paths:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadFile(path, "it is no plain file")
    return paths


def _weight_map(given: Path) -> dict[str, str]:
    """Which tensor lies in which file, by the index; empty where one file has them all. Raises BadFile where that is no
    plain name."""
    path = given / _INDEX
    if (given / _WEIGHTS).exists() or not path.exists():
        return {}
    found = _read_json(path).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise BadFile(path, "weight_map: it must say which tensor lies in which file")
    for name in found.values():
        if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
            raise BadFile(path, f"weight_map: {str(name)[:60]!r} is no plain name of a safetensors file beside it")
    return found

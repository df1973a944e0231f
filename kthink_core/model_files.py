"""The files of a language model, checked before a library interprets them.

The libraries get a private folder: the configuration and the tokenizer's settings written anew from checked values, and
links to the plain files that hold vocabulary and weights. Whatever else lies in the given folder they never see: code,
pickles, adapters, generation settings, chat templates.
"""

from __future__ import annotations

import json
import re
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
_TOKEN_TABLES = ("special_tokens_map.json", "added_tokens.json")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,200}\.safetensors")

_MOST_LAYERS = 4096
"""Of layers and of experts: each is a module that is made."""
_LARGEST = 2**40
_MOST_BYTES = 50_000_000
"""Of a table of tokens or an index of weights."""

_RUNS_CODE = ("auto_map", "custom_pipelines", "attn_implementation", "experts_implementation")
"""Name code to be run, from the hub or the folder. They do not change what the model computes: they are left out."""
_OTHER_WEIGHTS = ("quantization_config", "compression_config", "transformers_weights", "adapter_config")
"""Say that the weights are not what they are called, or lie elsewhere: such a model is refused."""

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
def admitted(given: Path) -> Iterator[ModelFiles]:
    """The private folder of a model's checked files.

    Raises BadFile, naming the file and what is wrong in it; UnsupportedModel; OSError where a file is missing.
    """
    config = _sanitized(given / "config.json", _read_json(given / "config.json"))
    stated = checked(given / "config.json", config, _Config).ids
    ends = _optional(given / "generation_config.json")
    own = checked(given / "generation_config.json", ends, _Ends).ids
    tokenizer = _sanitized(given / "tokenizer_config.json", _optional(given / "tokenizer_config.json"))
    template = _chat_template(given, tokenizer.pop("chat_template", None))
    weights = _weights(given)
    with tempfile.TemporaryDirectory(prefix="kthink-model-") as name:
        folder = Path(name)
        _write(folder / "config.json", config)
        _write(
            folder / "tokenizer_config.json", {key: tokenizer[key] for key in tokenizer if not key.endswith("_file")}
        )
        for table in _TOKEN_TABLES:
            if (given / table).exists():
                _write(folder / table, _sanitized(given / table, _read_json(given / table)))
        for file in (*VOCABULARIES, *_BESIDE):
            if (given / file).is_file():
                (folder / file).symlink_to((given / file).resolve())
        for path in weights:
            (folder / path.name).symlink_to(path.resolve())
        if len(weights) > 1 or weights[0].name != _WEIGHTS:
            _write(folder / _INDEX, {"metadata": {}, "weight_map": _weight_map(given)})
        elements = sum(path.stat().st_size for path in weights) // 2
        yield ModelFiles(folder, own or stated, template, elements)


def _read_json(path: Path) -> dict[str, Any]:
    return parse_object(path, read_bounded(path, _MOST_BYTES))


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
        kept = {key: part for key, part in value.items() if not key.startswith("_") and key not in _RUNS_CODE}
        return {key: _plain(path, part, key) for key, part in kept.items()}
    if isinstance(value, list):
        return [_plain(path, part, where) for part in value]
    if isinstance(value, int) and not isinstance(value, bool):
        counts = re.search(r"layers?$|experts$", where) is not None
        if value > (_MOST_LAYERS if counts else _LARGEST) and where != "model_max_length":
            raise BadFile(path, f"{where} is {str(value)[:20]}: too large")
    return value


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
            "kthink prompts a model through its own; take one that was trained to chat, or write a template"
        )
    return stated


def _weights(given: Path) -> list[Path]:
    """The files that hold the weights. Raises BadFile, OSError."""
    if (given / _WEIGHTS).exists() or not (given / _INDEX).exists():
        paths = [given / _WEIGHTS]
    else:
        paths = [given / name for name in sorted(set(_weight_map(given).values()))]
    for path in paths:
        if not path.stat() or not path.is_file():
            raise BadFile(path, "it is no plain file")
    return paths


def _weight_map(given: Path) -> dict[str, str]:
    """Which tensor lies in which file, by the index. Raises BadFile where that is no plain name."""
    path = given / _INDEX
    found = _read_json(path).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise BadFile(path, "weight_map: it must say which tensor lies in which file")
    for name in found.values():
        if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
            raise BadFile(path, f"weight_map: {str(name)[:60]!r} is no plain name of a safetensors file beside it")
    return found

"""Settings of this installation, the configuration of an experiment, and the presets."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from kthink_core.errors import BadValue, UnknownName, encodable
from kthink_core.prompts import Mode

Site = Literal["hookpoint", "residual"]
Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

SCHEMA = 2
"""Version of the store layout; raised with every change that an older reader would misread. Experiments and segment
files of older versions are read as they are, databases are built again.
2: tables of features by inference and by token, and of decoder directions."""

BATCH_SIZE = 32
"""Inferences generated at once, unless asked otherwise."""

MOST_INFERENCES = 1_000_000
"""Of one experiment."""

MOST_LATENTS = 2**26
MOST_WIDTH = 2**20
"""Of an SAE: far above what there is, far below what no memory holds."""

DEMO = "demo"
"""As a model, SAE or problem source: the bundle that comes with the package."""


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds a NUL, which no path and no name has")
    return text


Text = Annotated[str, Field(max_length=4096), AfterValidator(_without_nul)]
"""Pydantic itself refuses what is no text, such as an argument of bytes that are not UTF-8."""


def _host(name: str) -> str:
    try:
        if name.encode("idna"):  # as the system is asked for it
            return name
    except UnicodeError:
        pass
    raise ValueError("no name or address of a machine")


Host = Annotated[Text, AfterValidator(_host)]


class Settings(BaseSettings):
    """What belongs to this installation, not to an experiment. Each can be set as `KTHINK_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="KTHINK_", frozen=True)

    cache: Path = Field(default=Path("cache"), description="folder of the experiments")
    experiment: Text = Field(default=DEMO, description="experiment that the app opens first")
    app_host: Host = Field(default="127.0.0.1", description="address the app listens on")
    app_port: int = Field(default=8501, ge=1, le=65535, description="port the app listens on")

    @field_validator("cache")
    @classmethod
    def _utf8(cls, cache: Path) -> Path:
        """DuckDB takes no other paths."""
        if encodable(str(cache)) != str(cache):
            raise ValueError("no text: its bytes are not UTF-8")
        return cache


class WorkerSettings(BaseSettings):
    """Of the worker, and of the app's way to it. Each can be set as `KTHINK_WORKER_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="KTHINK_WORKER_", frozen=True)

    host: Host = Field(default="127.0.0.1", description="address the worker listens on; any other needs a token")
    port: int = Field(default=8765, ge=1, le=65535, description="port the worker listens on")
    url: Text | None = Field(default=None, description="where the app finds the worker, if on another machine")
    token: SecretStr | None = Field(default=None, description="bearer token that callers must send")
    prompt_tokens: int = Field(default=4096, ge=1, description="most tokens of a prompt")
    new_tokens: int = Field(default=2048, ge=1, description="most new tokens of a generation")
    queue: int = Field(default=32, ge=1, description="most jobs that wait")
    jobs_per_client: int = Field(default=4, ge=1, description="most jobs of one client, waiting and running")
    requests_per_minute: int = Field(default=120, ge=1, description="most runs that one client starts in a minute")
    body_bytes: int = Field(default=1_000_000, ge=1, description="longest request")
    silence: int = Field(default=30, ge=2, le=86_400, description="seconds without an answer after which `up` kills it")

    @property
    def address(self) -> str:
        """Base URL of the worker, wherever it is."""
        return (self.url or self.own_address).rstrip("/")

    @property
    def own_address(self) -> str:
        """Base URL of a worker on this machine with these settings."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str | None) -> str | None:
        try:
            parts = urlsplit(url or "http://nowhere")
            if parts.scheme in ("http", "https") and parts.port != 0 and _host(parts.hostname or ""):
                return url
        except ValueError:
            pass
        raise ValueError("no address such as http://gpu-host:8765")

    @field_validator("token", mode="before")
    @classmethod
    def _sendable(cls, token: object) -> object:
        """A token goes into a header; the line end of the file that it was read from does not."""
        if not isinstance(token, str):
            return token
        token = token.strip()
        if not token:
            return None
        if not re.fullmatch(r"[!-~]{8,}", token):
            raise ValueError("take at least 8 characters, a long random text, of ASCII without spaces")
        return token


Kind = TypeVar("Kind", Settings, WorkerSettings)


def from_environment(kind: type[Kind], **given: object) -> Kind:
    """Settings of a kind; what is `given` goes before the environment. Raises BadValue, naming the variable."""
    try:
        return kind(**given)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{kind.model_config.get('env_prefix')}{first['loc'][0]}".upper()
        raise BadValue(f"setting {name}: {first['msg'].removeprefix('Value error, ')}") from error


MOST_NAME = 100
"""Characters of an experiment's name."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MODULE = re.compile(r"\w+(\.\w+)*", re.ASCII)


def check_name(name: str) -> None:
    """Raises BadValue for an experiment's name that is no plain folder name: it never leads out of the cache."""
    if len(name) > MOST_NAME:
        raise BadValue(f"experiment name of {len(name):,} characters: at most {MOST_NAME} characters")
    if not _NAME.fullmatch(name):
        raise BadValue(f"experiment name '{name}': use letters, digits, '.', '-' and '_'; begin with letter or digit")


def _module(name: str) -> str:
    if not _MODULE.fullmatch(name):
        raise ValueError("no name of a module such as layers.10.mlp: use letters, digits and '_', and '.' between")
    return name


Hookpoint = Annotated[str, Field(max_length=200), AfterValidator(_module)]


class ExperimentConfig(BaseModel):
    """What makes an experiment: two runs with equal configurations may share a store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Text = Field(default=DEMO, min_length=1, description="hub id, local folder, or `demo`")
    model_revision: Text | None = None
    sae: Text = Field(default=DEMO, min_length=1, description="hub id, local folder, or `demo`")
    sae_revision: Text | None = None
    hookpoints: tuple[Hookpoint, ...] = Field(
        default=("layers.2.mlp", "layers.4.mlp", "layers.6.mlp"), min_length=1, max_length=64
    )
    site: Site = "hookpoint"
    problems: Text = Field(default=DEMO, min_length=1, description="`demo`, `gsm8k`, or a JSONL file")
    limit: int | None = Field(default=32, ge=1, description="number of problems; None: all")
    mode: Mode = "think"
    temperature: float = Field(default=0.6, ge=0, le=10, allow_inf_nan=False, description="0: greedy")
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_new_tokens: int = Field(default=400, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31, description="inference i is sampled with seed + i")
    dtype: Dtype = "auto"


class SaeShape(BaseModel):
    """The outline of one SAE, as its `cfg.json` has it."""

    model_config = ConfigDict(frozen=True)

    num_latents: int = Field(ge=1, le=MOST_LATENTS)
    k: int = Field(ge=1)
    d_in: int = Field(ge=1, le=MOST_WIDTH)
    activation: Literal["topk", "groupmax"]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.k > self.num_latents:
            raise ValueError(f"k is {self.k}, more than the {self.num_latents} latents there are")
        return self


class Experiment(BaseModel):
    """Configuration and provenance of one experiment: the content of its `experiment.json`."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA
    name: str = Field(max_length=200)
    config: ExperimentConfig
    inferences: int = Field(ge=0, le=MOST_INFERENCES)
    """How many inferences the finished experiment has; 0 where it is open-ended."""
    open_ended: bool = False
    """Whether inferences are added for ever, as to `live`."""
    saes: dict[Hookpoint, SaeShape] = Field(min_length=1, max_length=64)
    """By hookpoint, in the order of the configuration."""
    provenance: dict[str, str]
    """created, kthink, python and library versions, model and SAE fingerprints or hub revisions, device, dtype, …"""

    @property
    def mark(self) -> str:
        """What its files bear, so that one of another experiment is not taken for its own: 16 hexadecimal digits."""
        shapes = {hookpoint: sae.model_dump() for hookpoint, sae in self.saes.items()}
        facts = json.dumps([self.name, shapes, self.provenance], sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


PRESETS: dict[str, ExperimentConfig] = {
    DEMO: ExperimentConfig(),
    "r1-distill-qwen-1.5b": ExperimentConfig(
        model="deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        sae="EleutherAI/sae-DeepSeek-R1-Distill-Qwen-1.5B-65k",
        hookpoints=("layers.5.mlp", "layers.10.mlp", "layers.20.mlp"),
        problems="gsm8k",
    ),
}


def preset(name: str) -> ExperimentConfig:
    """The configuration of a preset. Raises UnknownName."""
    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    return PRESETS[name]

"""Settings of this installation, the configuration of an experiment, and the presets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kthink_core.errors import BadValue, UnknownName
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

DEMO = "demo"
"""As a model, SAE or problem source: the bundle that comes with the package."""


class Settings(BaseSettings):
    """What belongs to this installation, not to an experiment. Each can be set as `KTHINK_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="KTHINK_", frozen=True)

    cache: Path = Field(default=Path("cache"), description="folder of the experiments")
    experiment: str = Field(default=DEMO, description="experiment that the app opens first")
    app_host: str = Field(default="127.0.0.1", description="address the app listens on")
    app_port: int = Field(default=8501, ge=1, le=65535, description="port the app listens on")
    app_names: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="names others reach the app by, comma separated"
    )

    @field_validator("app_names", mode="before")
    @classmethod
    def _hosts(cls, names: object) -> object:
        """Names only: which scheme and port lead to the app is its proxy's matter."""
        if not isinstance(names, str):
            return names
        hosts = tuple(name.strip().lower() for name in names.split(",") if name.strip())
        for host in hosts:
            if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", host):
                raise ValueError(f"'{host}' is not the name of a host: give names such as kthink.lab.example")
        return hosts


class WorkerSettings(BaseSettings):
    """Of the worker, and of the app's way to it. Each can be set as `KTHINK_WORKER_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="KTHINK_WORKER_", frozen=True)

    host: str = Field(default="127.0.0.1", description="address the worker listens on; any other needs a token")
    port: int = Field(default=8765, ge=1, le=65535, description="port the worker listens on")
    url: str | None = Field(default=None, description="where the app finds the worker, if on another machine")
    token: SecretStr | None = Field(default=None, description="bearer token that callers must send")
    prompt_tokens: int = Field(default=4096, ge=1, description="most tokens of a prompt")
    new_tokens: int = Field(default=2048, ge=1, description="most new tokens of a generation")
    queue: int = Field(default=32, ge=1, description="most jobs that wait")
    jobs_per_client: int = Field(default=4, ge=1, description="most jobs of one client, waiting and running")
    requests_per_minute: int = Field(default=120, ge=1, description="most runs that one client starts in a minute")
    body_bytes: int = Field(default=1_000_000, ge=1, description="longest request")

    @property
    def address(self) -> str:
        """Base URL of the worker."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return (self.url or f"http://{f'[{host}]' if ':' in host else host}:{self.port}").rstrip("/")

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


class ExperimentConfig(BaseModel):
    """What makes an experiment: two runs with equal configurations may share a store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(default=DEMO, min_length=1, description="hub id, local folder, or `demo`")
    model_revision: str | None = None
    sae: str = Field(default=DEMO, min_length=1, description="hub id, local folder, or `demo`")
    sae_revision: str | None = None
    hookpoints: tuple[str, ...] = Field(default=("layers.2.mlp", "layers.4.mlp", "layers.6.mlp"), min_length=1)
    site: Site = "hookpoint"
    problems: str = Field(default=DEMO, min_length=1, description="`demo`, `gsm8k`, or a JSONL file")
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

    num_latents: int
    k: int
    d_in: int
    activation: Literal["topk", "groupmax"]


class Experiment(BaseModel):
    """Configuration and provenance of one experiment: the content of its `experiment.json`."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA
    name: str
    config: ExperimentConfig
    inferences: int
    """How many inferences the finished experiment has; 0 where it is open-ended."""
    open_ended: bool = False
    """Whether inferences are added for ever, as to `live`."""
    saes: dict[str, SaeShape]
    """By hookpoint, in the order of the configuration."""
    provenance: dict[str, str]
    """created, kthink, python and library versions, model and SAE fingerprints or hub revisions, device, dtype, …"""


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

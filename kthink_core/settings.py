"""Settings of this installation, from the environment."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kthink_core.config import DEMO, Text
from kthink_core.errors import BadValue, encodable, in_words


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
    app_names: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="names others reach the app by, comma separated"
    )
    base_path: str = Field(default="", description="path that the app lies under behind a proxy, such as /kthink")

    @field_validator("base_path")
    @classmethod
    def _path(cls, path: str) -> str:
        """With a slash before it and none behind it; empty: at the root."""
        path = path.strip("/")
        if path and not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*", path):
            raise ValueError("no path such as /kthink")
        return f"/{path}" if path else ""

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

    @field_validator("cache")
    @classmethod
    def _utf8(cls, cache: Path) -> Path:
        """DuckDB takes no other paths."""
        if encodable(str(cache)) != str(cache):
            raise ValueError("no text: its bytes are not UTF-8")
        return cache


Access = Literal["invitations", "oidc", "proxy"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _parts(given: object) -> object:
    """The parts of a list that is separated by commas."""
    return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given


class AccessSettings(BaseSettings):
    """Who may use the app. Each can be set as `KTHINK_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="KTHINK_", frozen=True)

    access: Annotated[tuple[Access, ...], NoDecode] = Field(default=(), description="how people come in; none: open")
    open: bool = Field(default=False, description="open to whoever reaches the app, on any address")
    app_url: Text | None = Field(default=None, description="where others reach the app, for links in invitations")
    secret_file: Path | None = Field(default=None, description="file with the key that links and cookies are signed by")
    roles_file: Path | None = Field(default=None, description="TOML file: roles by e-mail, domain or claim")
    proxy: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(), description="addresses of the proxy whose header names who asks"
    )
    proxy_header: str = Field(default="X-Forwarded-Email", pattern=r"^[A-Za-z0-9-]{1,100}$", description="that header")

    @field_validator("access", mode="before")
    @classmethod
    def _ways(cls, given: object) -> object:
        ways = _parts(given)
        if isinstance(ways, tuple) and set(ways) - set(get_args(Access)):
            raise ValueError(f"give one or more of {', '.join(get_args(Access))}, separated by commas")
        return ways

    @field_validator("proxy", mode="before")
    @classmethod
    def _networks(cls, given: object) -> object:
        return _parts(given)

    @field_validator("app_url")
    @classmethod
    def _web(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "http://nowhere")
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ValueError("no address such as https://kthink.lab.example")
        return url and url.rstrip("/")


class HistorySettings(BaseSettings):
    """Of the live runs that the app remembers for each visitor. Each can be set as `KTHINK_HISTORY_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="KTHINK_HISTORY_", frozen=True)

    days: float = Field(default=7.0, ge=0, le=3650, description="how long a run is remembered; 0: none is")
    runs: int = Field(default=100, ge=1, le=10_000, description="most runs of one visitor")
    bytes: int = Field(default=1_000_000_000, ge=1_000_000, description="most bytes of all visitors' runs")
    away: float = Field(default=30.0, ge=0, le=86_400, description="seconds that a run goes on with no page open")


class WorkerSettings(BaseSettings):
    """Of the worker, and of the app's way to it. Each can be set as `KTHINK_WORKER_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="KTHINK_WORKER_", frozen=True)

    host: Host = Field(default="127.0.0.1", description="address the worker listens on; any other needs a token")
    port: int = Field(default=8765, ge=1, le=65535, description="port the worker listens on")
    url: Text | None = Field(default=None, description="where the app finds the worker, if on another machine")
    token_file: Path | None = Field(
        default=None, description="file with the token; a worker makes it where it is missing"
    )
    token: SecretStr | None = Field(
        default=None, validate_default=True, description="bearer token that callers must send; goes before the file"
    )
    prompt_tokens: int = Field(default=4096, ge=1, description="most tokens of a prompt")
    trace_tokens: int = Field(
        default=32_768, ge=1, description="most tokens of a trace that is pasted, or that a branch goes on with"
    )
    new_tokens: int = Field(default=2048, ge=1, description="most new tokens of a generation")
    queue: int = Field(default=32, ge=1, description="most jobs that wait")
    jobs_per_client: int = Field(default=4, ge=1, description="most jobs of one client, waiting and running")
    requests_per_minute: int = Field(default=120, ge=1, description="most runs that one client starts in a minute")
    seconds_per_day: int = Field(
        default=0, ge=0, description="seconds of the device that one client's jobs may take in a day; 0: any number"
    )
    audit_prompts: bool = Field(default=False, description="write live prompts into the audit log, not their length")
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
    def _sendable(cls, token: object, others: ValidationInfo) -> object:
        """A token goes into a header; the line end of the file that it was read from does not."""
        file: Path | None = others.data.get("token_file")
        if file is not None and not (token.strip() if isinstance(token, str) else token):
            try:
                token = file.read_text("utf-8", "replace")[:10_000]
            except FileNotFoundError:
                return None
            except OSError as error:
                raise ValueError(in_words(error)) from error
        if not isinstance(token, str):
            return token
        token = token.strip()
        if not token:
            return None
        if not re.fullmatch(r"[!-~]{8,}", token):
            raise ValueError("take at least 8 characters, a long random text, of ASCII without spaces")
        return token


Kind = TypeVar("Kind", Settings, AccessSettings, HistorySettings, WorkerSettings)


def from_environment(kind: type[Kind], **given: object) -> Kind:
    """Settings of a kind; what is `given` goes before the environment. Raises BadValue, naming the variable."""
    try:
        return kind(**given)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{kind.model_config.get('env_prefix')}{first['loc'][0]}".upper()
        raise BadValue(f"setting {name}: {first['msg'].removeprefix('Value error, ')}") from error

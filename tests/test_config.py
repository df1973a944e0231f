"""What an experiment and an installation may be configured with."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from kthink_core.config import ExperimentConfig, check_name
from kthink_core.errors import BadValue
from kthink_core.presets import PRESETS
from kthink_core.settings import Settings, WorkerSettings, from_environment


@pytest.mark.parametrize("field", ["model", "model_revision", "sae", "sae_revision", "problems"])
@pytest.mark.parametrize("text", ["a\0b", "caf\udce9", "x" * 4097])
def test_texts_that_no_file_and_no_page_takes_are_refused(field: str, text: str) -> None:
    with pytest.raises(ValidationError):
        ExperimentConfig.model_validate({field: text})


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".a",
        "a.",
        "a..b",
        "../a",
        "a/b",
        "a b",
        "layers.1.mlp\n",
        "caf\udce9",
        "é",
        "a\0",
        "x" * 201,
        "layers.*.mlp",
    ],
)
def test_a_hookpoint_has_the_name_of_a_module(name: str) -> None:
    with pytest.raises(ValidationError):
        ExperimentConfig.model_validate({"hookpoints": ["layers.1.mlp", name]})


def test_hookpoints_are_bounded() -> None:
    many = [f"model.layers.{layer}.self_attn" for layer in range(64)]
    assert ExperimentConfig.model_validate({"hookpoints": many}).hookpoints == tuple(many)
    for wrong in ([], [*many, "norm"]):
        with pytest.raises(ValidationError):
            ExperimentConfig.model_validate({"hookpoints": wrong})


def test_names_of_experiments() -> None:
    for name in (*PRESETS, "live", "A.b-c_9", "x" * 100):
        check_name(name)
    for name in ("", ".", "..", ".a", "-a", "a/b", "a b", "a\n", "é", "caf\udce9", "a\0", "x" * 101):
        with pytest.raises(BadValue, match="experiment name"):
            check_name(name)


@pytest.mark.parametrize(
    "value", ["nonsense", "http://", "http://[", "http://x:ab", "http://a..b", "ftp://x", "caf\udce9"]
)
def test_an_address_that_nothing_can_have_is_one_line(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTHINK_WORKER_URL", value)
    with pytest.raises(BadValue, match=r"setting KTHINK_WORKER_URL: .*"):
        from_environment(WorkerSettings)


@pytest.mark.parametrize("value", ["https://gpu-host/kthink", "http://[::1]:80", "http://10.0.0.1:8765/"])
def test_an_address_is_taken_as_it_is(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KTHINK_WORKER_URL", value)
    assert from_environment(WorkerSettings).address == value.rstrip("/")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Settings, "KTHINK_CACHE", "caf\udce9"),
        (Settings, "KTHINK_EXPERIMENT", "caf\udce9"),
        (Settings, "KTHINK_APP_HOST", "a..b"),
        (Settings, "KTHINK_APP_PORT", "9" * 5000),
        (WorkerSettings, "KTHINK_WORKER_HOST", "caf\udce9"),
        (WorkerSettings, "KTHINK_WORKER_HOST", "x" * 300),
        (WorkerSettings, "KTHINK_WORKER_QUEUE", "9" * 5000),
        (WorkerSettings, "KTHINK_WORKER_SILENCE", "1"),
        (WorkerSettings, "KTHINK_WORKER_SILENCE", "1e999"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(
    kind: type[Settings] | type[WorkerSettings], name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadValue, match=f"setting {name}: ") as caught:
        from_environment(kind)
    assert len(str(caught.value).encode()) < 200

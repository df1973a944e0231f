"""The GPU's benchmark on a tiny model and the CPU: every part gives figures, once."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import main
from benchmarks.gpu_parts import PARTS

MEASURED = [name for name in PARTS if name != "tests"]
"""Tests do not run tests."""


def test_every_part_gives_figures_and_none_is_measured_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    arguments = ["--device", "cpu", "--small", "--out", str(tmp_path / "out"), "--parts", *MEASURED]
    assert main(arguments) == 0
    path = tmp_path / "out" / "results-cpu-tiny.json"
    first = json.loads(path.read_text())
    assert list(first) == MEASURED
    for name, part in first.items():
        assert part["figures"], name
        assert all(isinstance(value, str) or math.isfinite(value) for value in part["figures"].values()), name
    whole = first["precompute"]["figures"]
    assert whole["inferences"] == 3 and whole["generated tokens"] == 18
    assert whole["ratio"] == pytest.approx(whole["article's way, s, from some of them"] / whole["kthink, s"])
    assert "| ratio |" in capsys.readouterr().out

    path.write_text(json.dumps({name: part for name, part in first.items() if name != "encode"}))
    assert main(arguments) == 0
    again = json.loads(path.read_text())
    assert again.pop("encode") and again == {name: part for name, part in first.items() if name != "encode"}
    said = capsys.readouterr().out
    assert "### encode" in said and "### decode" not in said


def test_a_part_that_there_was_no_time_for_is_asked_for_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--device", "cpu", "--small", "--out", str(tmp_path), "--seconds", "-1", "--parts", "live"]
    assert main(arguments) == 1
    assert "missing, call again: live" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_it_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "no CUDA device" in said.err and said.out == ""
    assert not (tmp_path / "out").exists()

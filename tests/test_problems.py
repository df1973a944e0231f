"""Problem files: what is read, and every way in which a line can be broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.errors import BadProblems, MissingFiles
from kthink_core.precompute.problems import load_problems
from kthink_core.records import Problem


def write(path: Path, *lines: str | bytes) -> str:
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return str(path)


def test_the_bundles_problems() -> None:
    problems = load_problems("demo", None)
    assert [problem.problem for problem in problems] == list(range(32))
    assert all(problem.question and problem.reference for problem in problems)


def test_jsonl(tmp_path: Path) -> None:
    source = write(
        tmp_path / "p.jsonl",
        '\ufeff{"question": "a?", "answer": "He has 1 + 1.\\n#### 2"}',  # as editors begin a file on Windows
        "",
        '{"question": "b?"}',
        '{"question": "c?", "answer": 7, "kind": "ignored"}',
        '{"question": "d?", "answer": null}',
        '{"question": "e?", "answer": " "}',
    )
    assert load_problems(source, None) == [
        Problem(0, "a?", "2"), Problem(1, "b?", None), Problem(2, "c?", "7"), Problem(3, "d?", None),
        Problem(4, "e?", None),
    ]  # fmt: skip
    assert len(load_problems(source, 2)) == 2


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "no JSON"),
        ("[]", "`question`"),
        ('{"answer": "1"}', "`question`"),
        ('{"question": ""}', "`question`"),
        ('{"question": " \\n "}', "`question`"),
        ('{"question": 5}', "`question`"),
        ('{"question": "q", "answer": [1]}', "`answer`"),
        ('{"question": "q", "answer": true}', "`answer`"),
        ('{"question": "q", "answer": NaN}', "`answer`"),
        ('{"question": "q", "answer": 1e999}', "`answer`"),
        (b'{"question": "\xff"}', "no JSON"),
        ('{"question": "half a pair: \\ud83d"}', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"question": "q", "answer": 1' + "0" * 5000 + "}", "no JSON"),
        ('{"question": "' + "q" * 1_000_001 + '"}', "longer than 1,000,000 bytes"),
    ],
)
def test_broken_line_is_named(tmp_path: Path, line: str | bytes, complaint: str) -> None:
    source = write(tmp_path / "p.jsonl", '{"question": "fine"}', line)
    with pytest.raises(BadProblems, match=f"line 2.*{complaint}"):
        load_problems(source, None)


def test_lines_beyond_the_limit_are_not_read(tmp_path: Path) -> None:
    assert len(load_problems(write(tmp_path / "p.jsonl", '{"question": "fine"}', "{"), 1)) == 1


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(BadProblems, match="does not exist"):
        load_problems(str(tmp_path / "none.jsonl"), None)
    with pytest.raises(BadProblems, match="no problems"):
        load_problems(write(tmp_path / "empty.jsonl"), None)


def test_gsm8k_offline_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(MissingFiles, match="JSONL file"):
        load_problems("gsm8k", 1)


@given(st.lists(st.text(min_size=1).filter(lambda text: bool(text.strip())), min_size=1, max_size=5))
def test_any_question_survives(tmp_path_factory: pytest.TempPathFactory, questions: list[str]) -> None:
    path = tmp_path_factory.mktemp("problems") / "p.jsonl"
    encodable = [question.encode("utf-8", "replace").decode() for question in questions]
    write(path, *(json.dumps({"question": question}) for question in encodable))
    assert [problem.question for problem in load_problems(str(path), None)] == encodable

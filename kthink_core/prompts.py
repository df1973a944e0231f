"""Questions become prompts; generations become segments and final answers.

Two modes, after "Do k-Sparse Autoencoders Reveal Thinking Patterns?" (the article): `think` asks for step-by-step
reasoning and lets the chat template open `<think>`; `bypass` writes an empty thought into the prompt, so that the
model answers at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Mode = Literal["think", "bypass"]
Segment = Literal["prompt", "think", "answer"]

INSTRUCTION = " Please reason step by step in a few words, and put your final answer within \\boxed{}"
BYPASS = "<｜Assistant｜><think>\n\n</think>"
THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"
MARK = "\ue000kthink\ue000"
"""Stands for the typed text while the chat template is applied; from Unicode's private use area."""


class Frame(NamedTuple):
    """What stands around a typed text in a prompt: what the chat template writes, and what kthink appends."""

    before: str
    after: str


Kind = Literal["think", "without instruction", "bypass", "bypass without instruction"]
Frames = Mapping[Kind, Frame]
"""Of one model."""

Grade = Literal["number", "text", "none"]
NONE = "none"


class Chat(NamedTuple):
    """How a typed text becomes a prompt; as the article has it, unless told."""

    think: str = INSTRUCTION
    """What is appended to the text in think mode."""
    bypass: str = ""
    """And in bypass mode."""
    system: str | None = None
    """What a system message before it says."""
    template: str | None = None
    """In the place of the model's own; `none`: the text stands as it is, behind the token that begins one."""

    @property
    def kinds(self) -> dict[Kind, tuple[str, bool]]:
        """By kind of prompt: what follows the typed text in the one user message, and whether the generation prompt is
        added. In bypass mode the message ends in an empty thought, as the article has it."""
        return {
            "think": (self.think, True),
            "without instruction": ("", True),
            "bypass": (self.bypass + BYPASS, False),
            "bypass without instruction": (BYPASS, False),
        }


ARTICLES = Chat()
CHATS = ARTICLES.kinds


def prompt_ids(tokenizer: PreTrainedTokenizerBase, frames: Frames, question: str, mode: Mode) -> list[int]:
    """Token ids of the whole prompt, chat template applied; the generation prompt is added in think mode only."""
    frame = frames[mode]
    return _encode(tokenizer, frame.before + question + frame.after)


def plain_kind(mode: Mode) -> Kind:
    """A prompt of that mode to which nothing is appended."""
    return "without instruction" if mode == "think" else "bypass without instruction"


class SentPrompt(NamedTuple):
    """A prompt that somebody typed, as the model gets it."""

    token_ids: list[int]
    typed: list[bool]
    """For each token, whether any of it was typed; else it comes from the template."""


def typed_prompt(
    tokenizer: PreTrainedTokenizerBase,
    frames: Frames,
    text: str,
    mode: Mode,
    *,
    instruction: bool = True,
    special: bool = False,
) -> SentPrompt:
    """Apply the chat template to a prompt that somebody typed.

    instruction: append what the stored inferences have behind their question. special: let `<｜Assistant｜>`,
    `</think>` and the like in the text be the tokens of that name; else they are spelled out, so that a prompt cannot
    fake the template.
    """
    before, after = frames[mode if instruction else plain_kind(mode)]
    if special or not _markers(tokenizer, text):  # as one text, so that the ids are those of a stored inference
        sent = tokenizer(before + text + after, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        begin, end = len(before), len(before) + len(text)
        typed = [first < end and last > begin for first, last in sent["offset_mapping"]]
        return SentPrompt(cast("list[int]", sent["input_ids"]), typed)
    parts = [_encode(tokenizer, before), spelled_ids(tokenizer, text), _encode(tokenizer, after)]
    return SentPrompt([*chain(*parts)], [index == 1 for index, part in enumerate(parts) for _ in part])


def spelled_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text in which nothing stands for a special token: each of their names is cut in two."""
    cuts = [0, *_markers(tokenizer, text), len(text)]
    return [token_id for start, end in pairwise(cuts) for token_id in _encode(tokenizer, text[start:end])]


def _markers(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Where to cut a text, ascending, so that no piece holds the name of an added token."""
    names = [token.content for token in tokenizer.added_tokens_decoder.values()]
    found = {match.start() + 1 for name in names for match in re.finditer(f"(?={re.escape(name)})", text)}
    return sorted(found)


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return cast("list[int]", tokenizer.encode(text, add_special_tokens=False, verbose=False))


class Segmenter:
    """Tells the segment of generated tokens, in order, as they come.

    `think` runs from the first generated token up to and including the first `</think>` (`think_close`: its token
    ids); `answer` is what follows. A generation cut before `</think>` has no answer; in bypass mode the thought was
    closed by the prompt, so that all that is generated is answer.
    """

    def __init__(self, mode: Mode, think_close: Sequence[int]) -> None:
        self._thinks = mode == "think"
        self._close = list(think_close)
        self._last: list[int] = []
        """The latest tokens, as many as `</think>` has."""

    def next(self, token_id: int) -> Segment:
        """The segment of the next token."""
        if not self._thinks:
            return "answer"
        self._last = [*self._last, token_id][-len(self._close) :]
        self._thinks = self._last != self._close
        return "think"


def segments(
    token_ids: Sequence[int], prompt_tokens: int, mode: Mode, think_close: Sequence[int]
) -> tuple[Segment, ...]:
    """The segment of every position of a prompt and what was generated after it, as `Segmenter` tells them."""
    segmenter = Segmenter(mode, think_close)
    prompt: tuple[Segment, ...] = ("prompt",) * prompt_tokens
    generated: list[Segment] = [segmenter.next(token_id) for token_id in token_ids[prompt_tokens:]]
    return (*prompt, *generated)


def think_close(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids of `</think>`: one, or several where the tokenizer knows no such token."""
    return _encode(tokenizer, THINK_CLOSE)


def final_answer(text: str) -> str | None:
    """Content of the last `\\boxed{…}` whose braces balance, stripped; None where there is none."""
    span = answer_span(text)
    return span and text[slice(*span)]


def answer_span(text: str) -> tuple[int, int] | None:
    """Where it stands: the first of its characters, and the one behind its last."""
    for start in (match.end() for match in reversed(list(re.finditer(r"\\boxed\{", text)))):
        depth = 1
        for end, character in enumerate(text[start:], start):
            depth += (character == "{") - (character == "}")
            if depth == 0:
                content = text[start:end]
                first = start + len(content) - len(content.lstrip())
                return first, first + len(content.strip())
    return None


def is_correct(answer: str | None, reference: str | None, grade: Grade = "number") -> bool | None:
    """Whether an answer states the reference. Where that is a number, numbers are compared (`1,000` = `1000`, `$10.00`
    = `10`), unless `grade` is `text`; anything else as text without case and spaces. None where there is no reference,
    or nothing is graded."""
    if reference is None or grade == NONE:
        return None
    if answer is None:
        return False
    wanted, given = _number(reference), _number(answer)
    if wanted is not None and grade == "number":
        return given == wanted
    return "".join(answer.split()).casefold() == "".join(reference.split()).casefold()


def answer_key(answer: str | None, grade: Grade = "number") -> str:
    """Equal for answers that state the same, as `is_correct` compares them; of none, the empty text."""
    if answer is None:
        return ""
    number = None if grade == "text" else _number(answer)
    return str(number) if number is not None else "".join(answer.split()).casefold() or " "


_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d+)\}\{(\d+)\}")
_NUMBER = re.compile(r"(?<![\d.])-?\$?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:/\d+(?!\d))?", re.ASCII)
_LONGEST_NUMBER = 300
"""Characters; a longer one, as a model writes that repeats itself, is a text: Python reads no thousands of digits."""


def _number(text: str) -> Fraction | None:
    """The one number in a text such as `$1,234.50 dollars` or `\\frac{3}{4}`; None with no number, several, or a long
    one."""
    plain = _FRACTION.sub(r"\1/\2", text.replace("{,}", ",").replace("\\$", "$").replace("\\,", ""))
    found = _NUMBER.findall(plain)
    if len(found) != 1 or len(found[0]) > _LONGEST_NUMBER:
        return None
    numerator, _, denominator = found[0].replace("$", "").replace(",", "").partition("/")
    divisor = int(denominator or 1)
    return Fraction(numerator) / divisor if divisor else None

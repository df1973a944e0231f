"""A trace that was written elsewhere becomes token ids and segments, as if the model had written it here.

The prompt is what the chat template makes of it; the completion follows. Where the template opens the thought itself, a
`<think>` at the beginning of the completion is that one and no second. What is thought:

    the template opens it, or the completion begins with `<think>`, or only closes it    up to and with `</think>`
    none of these                                                                        nothing: all is answer

A thought that is never closed is all there is: it was cut off. A second `<think>`, and one behind other text, are
refused.
"""

from __future__ import annotations

from itertools import islice, zip_longest
from typing import NamedTuple, cast

from transformers import PreTrainedTokenizerBase

from kthink_core.config import ExperimentConfig
from kthink_core.errors import BadProblems, BadTemplate, short
from kthink_core.model.chat_template import conversation
from kthink_core.model.language_model import LanguageModel, text_of
from kthink_core.precompute.trace_rows import Message, TraceRow
from kthink_core.prompts import NONE, THINK_CLOSE, THINK_OPEN, Segment, final_answer, is_correct, plain_kind
from kthink_core.records import FinishReason, Generation, Given, Problem, Prompt

_SHOWN = 5
"""Characters that a message names."""


class _Thought(NamedTuple):
    """A completion as the model would have written it, and where its thought ends."""

    text: str
    end: int | None
    """Its first character behind the thought, 0 where there is none; None: it is never closed."""


class TraceTokenizer:
    """Of one model and experiment."""

    def __init__(self, lm: LanguageModel, config: ExperimentConfig) -> None:
        self._lm, self._config = lm, config
        self._refused: dict[tuple[str, ...], str] = {}

    def generation(self, where: str, row: TraceRow, inference: int, problem: int) -> Generation:
        """The trace as an inference of that number. Raises BadProblems, which begins with `where`."""
        lm, config = self._lm, self._config
        before = self._before(where, row.prompt)
        thought = self._thought(where, before, row.completion)
        prompt_ids, _ = _encoded(where, "prompt", lm.tokenizer, before)
        token_ids, starts = _encoded(where, "completion", lm.tokenizer, thought.text)
        self._check(where, prompt_ids + token_ids)
        end = len(thought.text) if thought.end is None else thought.end
        prompted: tuple[Segment, ...] = ("prompt",) * len(prompt_ids)
        labels: list[Segment] = ["think" if start < end else "answer" for start in starts]
        answer = final_answer(text_of(lm.tokenizer, token_ids, special=False)) if row.answer is None else row.answer
        correct = is_correct(answer, row.reference, config.grade) if row.correct is None else row.correct
        asked = Problem(problem, row.question, row.reference)
        cut_off = thought.end is None and row.correct is None  # who says how it came out knows that it ended
        finished: FinishReason = "length" if cut_off else "stop"
        prompt = Prompt(inference, asked, "think" if end else "bypass", config.seed + inference, tuple(prompt_ids))
        return Generation(prompt, tuple(token_ids), finished, Given((*prompted, *labels), answer, correct, row.tags))

    def _before(self, where: str, prompt: str | tuple[Message, ...]) -> str:
        """The whole prompt."""
        if isinstance(prompt, str):
            frame = self._lm.frames[plain_kind(self._config.mode)]
            begun = self._config.chat_template == NONE and prompt.startswith(frame.before)  # by the prompt itself
            return ("" if begun else frame.before) + prompt + frame.after
        if self._config.chat_template == NONE:
            raise BadProblems(f"{where}: without a chat template `prompt` must be a text")
        if self._config.mode == "bypass":
            raise BadProblems(f"{where}: in mode bypass `prompt` must be a text")
        roles = tuple(said.role for said in prompt)
        if roles not in self._refused:
            try:
                parts = conversation(self._lm.chat_template, self._lm.tokenizer.special_tokens_map, roles)
            except BadTemplate as error:
                self._refused[roles] = str(error)
            else:
                after = zip(prompt, parts[1:], strict=True)
                return parts[0] + "".join(said.content + written for said, written in after)
        raise BadProblems(f"{where}: messages of {short(', '.join(roles))}: {self._refused[roles]}")

    def _thought(self, where: str, before: str, completion: str) -> _Thought:
        start = completion.lstrip()
        if self._config.mode == "bypass":
            if THINK_OPEN in completion or THINK_CLOSE in completion:
                raise BadProblems(
                    f"{where}: in mode bypass a completion has no thought, and this one has a mark of one"
                )
            return _Thought(completion, 0)
        opened = before.rstrip().endswith(THINK_OPEN)
        begins = start.startswith(THINK_OPEN)
        if begins and opened:  # the template's line break is its own, too
            completion = start.removeprefix(THINK_OPEN)
            completion = completion.removeprefix("\n") if before.endswith("\n") else completion
            if not completion.strip():
                raise BadProblems(f"{where}: `completion` holds nothing but {THINK_OPEN}")
        rest = completion if opened or not begins else start.removeprefix(THINK_OPEN)
        if THINK_OPEN in rest:
            what = "a second" if opened or begins else "text before"
            raise BadProblems(f"{where}: {what} {THINK_OPEN}: a trace has one thought, which comes first")
        closed = completion.find(THINK_CLOSE)
        if closed >= 0:
            return _Thought(completion, closed + len(THINK_CLOSE))
        return _Thought(completion, None if opened or begins else 0)

    def _check(self, where: str, token_ids: list[int]) -> None:
        if len(token_ids) > self._lm.context:
            raise BadProblems(
                f"{where}: {len(token_ids):,} tokens are more than the model's context of {self._lm.context:,}"
            )
        if strange := [token_id for token_id in token_ids if token_id >= self._lm.vocabulary]:
            raise BadProblems(
                f"{where}: token id {strange[0]} is none that the model has, 0 to {self._lm.vocabulary - 1}"
            )


def _encoded(where: str, name: str, tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[int]]:
    """Token ids, names of special tokens in the text among them, and at which character each begins."""
    sent = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    token_ids = cast("list[int]", sent["input_ids"])
    back = text_of(tokenizer, token_ids)
    if back != text:
        raise BadProblems(f"{where}: the tokenizer does not give `{name}` back: {_lost(tokenizer, text, back)}")
    return token_ids, [first for first, _ in sent["offset_mapping"]]


def _lost(tokenizer: PreTrainedTokenizerBase, text: str, back: str) -> str:
    """Which characters."""
    at = next(at for at, (given, read) in enumerate(zip_longest(text, back)) if given != read)
    alone = (character for character in dict.fromkeys(text[at:]) if _read_back(tokenizer, character) != character)
    named = "".join(f"'{character}' (U+{ord(character):04X}), " for character in islice(alone, _SHOWN))
    return f"{named}at character {at} '{short(text[at : at + 8])}' is read as '{short(back[at : at + 8])}'"


def _read_back(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    return text_of(tokenizer, tokenizer.encode(text, add_special_tokens=False))

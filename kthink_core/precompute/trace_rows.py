"""What a row of a file or a data set of traces says: fields of known kinds and bounded sizes, else it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kthink_core.errors import BadProblems, short
from kthink_core.precompute.problems import is_scalar, reference_in

FIELDS = ("prompt", "completion", "answer", "reference", "correct", "tags")
"""Any other is not read."""
_MESSAGES = 200
_TAGS, _TAG = 32, 100
_REFERENCE = 2000


class Message(NamedTuple):
    role: str
    content: str


class TraceRow(NamedTuple):
    """One trace as it was given."""

    prompt: str | tuple[Message, ...]
    """What was asked, before any chat template; a text is one message of the user's."""
    completion: str
    answer: str | None
    reference: str | None
    correct: bool | None
    tags: tuple[str, ...]

    @property
    def question(self) -> str:
        """What the user said last."""
        if isinstance(self.prompt, str):
            return self.prompt
        return next((said.content for said in reversed(self.prompt) if said.role == "user"), self.prompt[-1].content)


def trace_row(where: str, row: object) -> TraceRow:
    """Raises BadProblems, which begins with `where`."""
    if not isinstance(row, Mapping):
        raise BadProblems(f"{where}: a trace is an object with `prompt` and `completion`")
    correct = row.get("correct")
    if correct is not None and not isinstance(correct, bool):
        raise BadProblems(f"{where}: `correct` must be true or false")
    reference = _scalar(where, "reference", row.get("reference"))
    return TraceRow(
        _prompt(where, row.get("prompt")),
        _completion(where, row.get("completion")),
        _scalar(where, "answer", row.get("answer")),
        None if reference is None else reference_in(reference),
        correct,
        _tags(where, row.get("tags")),
    )


def _prompt(where: str, given: object) -> str | tuple[Message, ...]:
    if isinstance(given, str) and given.strip():
        return given
    if not isinstance(given, list) or not 0 < len(given) <= _MESSAGES:
        raise BadProblems(
            f"{where}: `prompt` must be a text that is not empty, or a list of at most {_MESSAGES} messages"
        )
    messages = tuple(_message(where, number, message) for number, message in enumerate(given))
    if messages[-1].role == "assistant":
        raise BadProblems(f"{where}: `prompt` ends with a message of the assistant: that is the `completion`")
    return messages


def _message(where: str, number: int, given: Any) -> Message:
    said = given if isinstance(given, Mapping) else {}
    role, content = said.get("role"), said.get("content")
    if not isinstance(role, str) or not isinstance(content, str) or not 0 < len(role) <= _TAG:
        raise BadProblems(f"{where}: message {number} of `prompt` needs `role` and `content`, both texts")
    if role == "assistant" and "</think>" in content:
        raise BadProblems(
            f"{where}: message {number} of `prompt` holds `</think>`: chat templates leave earlier thoughts out; so "
            "must the file"
        )
    return Message(role, content)


def _completion(where: str, given: Any) -> str:
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], Mapping):  # as data sets of chats have it
        given = given[0].get("content") if given[0].get("role") == "assistant" else None
    if not isinstance(given, str) or not given.strip():
        raise BadProblems(f"{where}: `completion` must be a text that is not empty")
    return given


def _scalar(where: str, name: str, given: object) -> str | None:
    if given is None:
        return None
    if not is_scalar(given) or len(str(given)) > 100 * _REFERENCE:
        raise BadProblems(f"{where}: `{name}` must be a text or a number")
    return str(given)


def _tags(where: str, given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    tags = [given] if isinstance(given, str) else given
    if not isinstance(tags, list) or len(tags) > _TAGS or not all(isinstance(tag, str) for tag in tags):
        raise BadProblems(f"{where}: `tags` must be a list of at most {_TAGS} texts")
    if long := [tag for tag in tags if not 0 < len(tag) <= _TAG]:
        raise BadProblems(f"{where}: tag '{short(long[0])}' must have 1 to {_TAG} characters")
    return tuple(dict.fromkeys(tags))

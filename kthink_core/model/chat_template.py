"""A model's chat template is a program: it runs in a process of its own, with little time and memory, before anything
else; what it writes around a mark is all that is kept of it.

Run as a script it is that process: a JSON request on its standard input, a JSON list of texts on its output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import kthink_core
from kthink_core.errors import BadTemplate
from kthink_core.prompts import ARTICLES, MARK, NONE, Chat, Frame, Frames

Messages = list[dict[str, str]]
"""Of role and content."""

SECONDS = 10
"""Of the processor and, three times as many, of the clock; importing the library takes one of them."""

_MEMORY = 1 << 30
_LONGEST = 100_000
"""Characters that a template may write around a prompt."""


def conversation(template: str, special_tokens: Mapping[str, object], roles: tuple[str, ...]) -> tuple[str, ...]:
    """What a chat template writes around the messages of such roles, the generation prompt at the end: one text more
    than there are messages. It never sees what they say, so that a file of conversations cannot run it again and again.

    Raises BadTemplate where it refuses the roles or does not write every message as it is, once, in order.
    """
    tokens = json.dumps(dict(special_tokens), sort_keys=True, default=str)
    return _conversation(template, tokens, roles)


@lru_cache(maxsize=256)
def _conversation(template: str, special_tokens: str, roles: tuple[str, ...]) -> tuple[str, ...]:
    marks = [f"{MARK}{number}{MARK}" for number in range(len(roles))]
    chat = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    [text] = _rendered(_request(template, special_tokens, [(chat, True)]))
    parts = []
    for mark in marks:
        before, *after = text.split(mark)
        if len(after) != 1:
            raise BadTemplate(f"it does not write every message once, in order ({', '.join(roles)})")
        parts.append(before)
        [text] = after
    return (*parts, text)


def _request(template: str, special_tokens: str, chats: Sequence[tuple[Messages, bool]]) -> str:
    tokens = json.loads(special_tokens)
    return json.dumps({"template": template, "tokens": tokens, "chats": chats, "seconds": SECONDS})


def frames(template: str, special_tokens: Mapping[str, object], chat: Chat = ARTICLES) -> Frames:
    """What a chat template writes before and after a user's message, for each kind of prompt of a chat.

    special_tokens: their texts by name, `bos_token` and so on. Raises BadTemplate where it fails, takes too long or too
    much memory, or does not write the message as it is, once, and what the system says.
    """
    if template == NONE:
        if chat.system is not None:
            raise BadTemplate("without one there is no system message")
        begin = str(special_tokens.get("bos_token") or "")
        return {kind: Frame(begin, rest) for kind, (rest, _) in chat.kinds.items()}
    return _frames(template, json.dumps(dict(special_tokens), sort_keys=True, default=str), chat)


@lru_cache(maxsize=16)
def _frames(template: str, special_tokens: str, chat: Chat) -> Frames:
    first = [] if chat.system is None else [{"role": "system", "content": chat.system}]
    chats = [([*first, {"role": "user", "content": MARK + rest}], opened) for rest, opened in chat.kinds.values()]
    texts = _rendered(_request(template, special_tokens, chats))
    found = {}
    for kind, text in zip(chat.kinds, texts, strict=True):
        before, *after = text.split(MARK)
        if len(after) != 1:
            raise BadTemplate("it does not write the user's message as it is, once")
        if chat.system is not None and chat.system.strip() not in text:
            raise BadTemplate("it leaves out what the system says")
        found[kind] = Frame(before, after[0])
    return found


def _rendered(request: str) -> list[str]:
    """The answer of a process of this module. Raises BadTemplate."""
    root = str(Path(kthink_core.__file__).resolve().parent.parent)
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    # One thread: the stacks of many would count as its memory.
    environment = os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(
            command, input=request.encode(), capture_output=True, timeout=3 * SECONDS, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BadTemplate(f"it took more than {3 * SECONDS} seconds") from error
    if done.returncode < 0:
        raise BadTemplate(f"it took more than {SECONDS} seconds or too much memory")
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        raise BadTemplate(reason or f"it ended with status {done.returncode}")
    return json.loads(done.stdout)


def main() -> None:
    import resource

    from transformers.utils.chat_template_utils import render_jinja_template

    request = json.loads(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_CPU, (request["seconds"], request["seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    texts = []
    for chat, opened in request["chats"]:
        made, _ = render_jinja_template(
            [chat], chat_template=request["template"], add_generation_prompt=opened, **request["tokens"]
        )
        if len(made[0]) > _LONGEST:
            sys.exit(f"it writes more than {_LONGEST:,} characters around a prompt")
        texts.append(made[0])
    sys.stdout.write(json.dumps(texts))


if __name__ == "__main__":
    main()

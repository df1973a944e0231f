"""A prompt before it is sent: its tokens as the model gets them, and why it cannot be sent."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pydantic import ValidationError

from kthink_core.errors import KthinkError
from kthink_core.live.api import EncodeRequest, GenerateRequest, Tokenized, TokenizeRequest
from kthink_core.live.limits import refusal
from kthink_core.ui.live.presence import Worker
from kthink_core.ui.live.prompt_box import Shown

NAMES = {"temperature": "Temperature", "top_p": "Top-p", "max_new_tokens": "Most new tokens", "seed": "Seed"}
"""What a form calls what a request has."""
_SENT = ("mode", "instruction", "special")
"""How a text becomes a prompt."""


def checked(worker: Worker, text: str, ask: Callable[[str], GenerateRequest | EncodeRequest]) -> Shown:
    """The prompt as it would be sent, and why it cannot be. `ask` makes the request of a text; it may raise
    ValidationError."""
    limits = worker.health.limits
    limit = limits.get("prompt_tokens", 0)
    found = Tokenized(count=0, token_ids=(), texts=(), typed=(), limit=limit)
    try:
        request = ask(text if text.strip() else "-")
        if text.strip():
            found = worker.client.tokenize(_as_sent(request, text))
    except ValidationError as error:
        return Shown(limit=limit, message=told(error), ready=False)
    except KthinkError as error:
        return Shown(limit=limit, message=str(error))
    most = {name: limits.get(name, sys.maxsize) for name in ("new_tokens", "context")}
    new = request.max_new_tokens if isinstance(request, GenerateRequest) else 0
    message = refusal(found.count, new, prompt_tokens=found.limit, **most)
    tokens = tuple(zip(found.texts, found.token_ids, found.typed, strict=True))
    return Shown(tokens, found.limit, message, ready=message is None)


def told(error: ValidationError) -> str:
    """What is wrong with a request, in the words of the form."""
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return f"{NAMES.get(name, name)}: {first['msg'].removeprefix('Value error, ')}"


def _as_sent(request: GenerateRequest | EncodeRequest, text: str) -> TokenizeRequest:
    template = isinstance(request, GenerateRequest)
    settings = {name: getattr(request, name) for name in _SENT if name in type(request).model_fields}
    return TokenizeRequest.model_validate(settings | {"prompt": text, "template": template})

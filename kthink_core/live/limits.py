"""What a prompt may be, in tokens: said by the worker, and by a page before anything is sent."""

from __future__ import annotations


def refusal(given: int, new: int, *, prompt_tokens: int, new_tokens: int, context: int) -> str | None:
    """Why `given` prompt tokens with `new` ones after them are too many, in a sentence; None where they are not."""
    if given > prompt_tokens:
        return f"the prompt has {given} tokens, {given - prompt_tokens} more than the {prompt_tokens} allowed"
    if new > new_tokens:
        return f"{new} new tokens are {new - new_tokens} more than the {new_tokens} that this worker allows"
    if given + new > context:
        return (
            f"{given} prompt tokens and {new} new ones are {given + new - context} more than the model's context of "
            f"{context}; ask for fewer"
        )
    return None

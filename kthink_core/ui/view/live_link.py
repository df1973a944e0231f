"""What a link says of a live run. Pure, as the rest of the link's parser.

prompt  the text, if it is short enough for an address
sent    as `run` of steering (steer_link.py), with _encode behind it where nothing is generated; then, with ~ between
        them, the hookpoints where these are not all
live    the run's id
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from kthink_core.errors import encodable, short
from kthink_core.live.remembered import RUN_ID
from kthink_core.ui.view.steer_link import Run, run_of, run_text

MOST_PROMPT = 3000
"""Characters of a prompt as an address spells it: proxies take 8 KB of an address."""
_BETWEEN, _ENCODE = "~", "_encode"


class Sent(NamedTuple):
    """How a prompt is sent; any finite number, so that what cannot be is shown and told."""

    run: Run
    encode: bool = False
    """Whether nothing is generated."""
    hookpoints: tuple[str, ...] = ()
    """Empty: all."""


def fits(text: str) -> bool:
    """Whether a prompt, which UTF-8 can encode, is short enough for a link."""
    return len(text) <= MOST_PROMPT and len(quote(text)) <= MOST_PROMPT


def sent_text(sent: Sent) -> str:
    """As `sent` reads it."""
    return _BETWEEN.join([run_text(sent.run) + (_ENCODE if sent.encode else ""), *sent.hookpoints])


def prompt(parameters: Mapping[str, str], problems: list[str]) -> str:
    """The text of a prompt; empty where there is none, or a longer one than links have: adds a line then."""
    given = encodable(parameters.get("prompt", ""))
    if fits(given):
        return given
    problems.append("The link's prompt is longer than links can hold: it is left out.")
    return ""


def sent(parameters: Mapping[str, str], latents: Mapping[str, int], problems: list[str]) -> Sent | None:
    """How a prompt is sent. Adds a line where that makes no sense."""
    given = parameters.get("sent")
    if given is None:
        return None
    how, *hookpoints = given.split(_BETWEEN)[: 1 + len(latents)]
    run = run_of(how.removesuffix(_ENCODE))
    if run is not None and set(hookpoints) <= set(latents):
        return Sent(run, how.endswith(_ENCODE), tuple(dict.fromkeys(hookpoints)))
    problems.append(
        f"The link's sent '{short(given)}' is not mode, temperature, top-p, most new tokens and seed, such as "
        "think_0.6_0.95_400_0: the form has its own."
    )
    return None


def run(parameters: Mapping[str, str], problems: list[str]) -> str:
    """The id of a live run; empty where there is none."""
    given = parameters.get("live", "")
    if not given or RUN_ID.fullmatch(given):
        return given
    problems.append(f"The link's live '{short(given)}' is no id of a run: showing none.")
    return ""

"""The HTML of a saved page. All that a model or a person wrote lies in one block of JSON, which no browser reads as
HTML; page.js sets it as text. The policy lets nothing run but the scripts written here, and nothing reach out."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from kthink_core.saved.part import Part
from kthink_core.ui.parts.browser_code import SNIPPETS, TRANSCRIPT, Code
from kthink_core.ui.parts.scripts import joined

_COMPONENTS: dict[str, Code] = {"transcript": TRANSCRIPT, "snippets": SNIPPETS}
"""By the kind of the part that each draws."""
_DEFAULT = "export default function"
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}
"""Within JSON's texts these are the same; within HTML they end nothing and begin nothing."""


def html(title: str, sheet: Mapping[str, Any]) -> str:
    """A whole page that shows `sheet` as page.js reads it."""
    used = {part["kind"] for part in _all(sheet["parts"])}
    components = {name: code for name, code in _COMPONENTS.items() if name in used}
    styles = {name: code.style for name, code in components.items()}
    scripts = [
        *(_script(name, code) for name, code in components.items()),
        joined("parts/roving.js", "transcript/text.js") + _own("page.js"),
    ]
    style = _own("page.css")
    policy = (
        f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes([style])}; "
        "base-uri 'none'; form-action 'none'"
    )
    blocks = [f'<script type="application/json" id="{name}">{_json(value)}</script>'
              for name, value in (("sheet", sheet), ("styles", styles))]  # fmt: skip
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="referrer" content="no-referrer">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            "<noscript>This page shows its data with a script of its own: allow scripts for this file.</noscript>",
            '<main id="page"></main>',
            '<div id="status" role="status"></div>',
            *blocks,
            *(f'<script type="module">{script}</script>' for script in scripts),
            "</body>",
            "</html>",
            "",
        ]
    )


def _all(parts: Sequence[Part]) -> Iterator[Part]:
    """The parts, and those within them."""
    for part in parts:
        yield part
        yield from _all(part.get("parts", ()))
        for side in part.get("sides", ()):
            yield from _all(side)


def _script(name: str, code: Code) -> str:
    """A component's module, whose default export page.js finds by its name: no module can be imported from a file."""
    assert code.script.count(_DEFAULT) == 1, f"{name} has not one default export"
    return code.script.replace(_DEFAULT, f"(globalThis.kthinkParts ??= {{}}).{name} = function")


def _own(file: str) -> str:
    return (Path(__file__).parent / file).read_text(encoding="utf-8")


def _hashes(texts: Sequence[str]) -> str:
    """Sources that allow exactly these texts: https://www.w3.org/TR/CSP3/#grammardef-hash-source."""
    return " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in texts)


def _json(value: object) -> str:
    """ASCII: whatever a text holds, lone surrogates and line separators included, is escaped."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)

"""How long the transcript takes in a browser: to draw a long trace, to answer the pointer, to light a feature.

    python -m benchmarks.transcript [--tokens 20000] [--top 8]

Random activations of `top` features a token, all of which the browser gets, and the tracks of the hundred features
in its list. Drawing: the component's function, from its data to elements with styles and layout. Hovering: from the
pointer's event to the next frame, layout and paint included, over many tokens. Both on this machine, without a network.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import Page

from benchmarks.browser import open_browser
from benchmarks.report import machine, markdown
from kthink_core.ui.transcript import payload
from kthink_core.ui.transcript.drawing import SCRIPT, STYLE

LATENTS = 4096
LISTED = 100
HOVERS = 200

PAGE = """<!doctype html><meta charset="utf-8"><style>:root { color-scheme: light; --st-font: sans-serif;
--st-text-color: #2f2d2b; --st-background-color: #fff; --st-primary-color: #b45309; --st-border-color: #ddd }</style>
<body><div id="host"></div>"""

MOUNT = """async ([script, style, data]) => {
    const host = document.getElementById('host').attachShadow({ mode: 'open' });
    const sheet = document.createElement('style');
    sheet.textContent = style;
    host.append(sheet);
    const module = await import(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })));
    await new Promise(requestAnimationFrame);
    const begin = performance.now();
    module.default({ data: JSON.parse(data), parentElement: host, setTriggerValue: () => {} });
    host.querySelector('.transcript').getBoundingClientRect();
    const called = performance.now();
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return [called - begin, performance.now() - begin];
}"""

HOVER = """async ([selector, count]) => {
    const root = document.getElementById('host').shadowRoot;
    const targets = [...root.querySelectorAll(selector)];
    const handled = [], shown = [];
    for (let index = 0; index < count; index++) {
        const target = targets[Math.floor((index * 0.618034 % 1) * targets.length)];
        await new Promise(requestAnimationFrame);
        const begin = performance.now();
        target.dispatchEvent(new MouseEvent('mouseover', { bubbles: true, composed: true }));
        root.querySelector('.tooltip').getBoundingClientRect();
        handled.push(performance.now() - begin);
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        shown.push(performance.now() - begin);
    }
    return [handled, shown];
}"""


def made_payload(length: int, top: int) -> dict[str, object]:
    """A trace of words and newlines, each token with `top` features, some of which fire often."""
    random = np.random.default_rng(0)
    words = np.array([" the", " so", " Wait", ",", " 48", " clips", ".", "\n\n", " Therefore", "   "])
    tokens = pd.DataFrame({
        "position": range(length),
        "token_id": random.integers(0, 150_000, length),
        "text": random.choice(words, length),
        "segment": np.where(np.arange(length) < 100, "prompt", "think"),
        "logprob": -random.exponential(1, length),
    })  # fmt: skip
    features = np.minimum(random.pareto(0.5, (length, 2 * top)) * 20, LATENTS - 1).astype(np.int64)
    rows = [(at, f, a) for at in range(length) for f, a in _firing(features[at], top, random)]
    hover = pd.DataFrame(rows, columns=["position", "feature", "activation"])
    by_feature = hover.groupby("feature")["activation"]
    listed = pd.DataFrame({"max_activation": by_feature.max(), "share": by_feature.count() / length}).reset_index()
    listed = listed.nlargest(LISTED, "max_activation")
    often = [int(feature) for feature in hover["feature"].value_counts().index[:5]]
    return payload(
        "benchmark",
        tokens,
        hover.loc[hover["feature"].isin([*listed["feature"], *often])],
        hover,
        listed,
        hookpoint="layers.10.mlp",
        features=often,
        maxima={},
        labels={},
        scope="generated",
        span=None,
        position=None,
        marked=(),
        verdict="right",
    )


def _firing(features: np.ndarray, top: int, random: np.random.Generator) -> list[tuple[int, float]]:
    distinct = np.unique(features)[:top]
    return list(zip(distinct.tolist(), np.sort(random.gamma(2, 2, len(distinct)))[::-1].tolist(), strict=True))


def _times(handled: list[float], shown: list[float]) -> str:
    def p95(values: list[float]) -> float:
        return statistics.quantiles(values, n=20)[-1]

    return (
        f"handled {statistics.median(handled):.1f} ms (p95 {p95(handled):.1f}), "
        f"on the screen {statistics.median(shown):.0f} ms (p95 {p95(shown):.0f})"
    )


def measure(page: Page, data: str) -> dict[str, str]:
    """What is measured once, on a page with an empty host."""
    called, drawn = page.evaluate(MOUNT, [SCRIPT, STYLE, data])
    tokens = _times(*page.evaluate(HOVER, [".token", HOVERS]))
    features = _times(*page.evaluate(HOVER, [".row .feature", HOVERS // 4]))
    return {
        "data": f"{len(data) / 1e6:.2f} MB",
        "drawn": f"{called:.0f} ms, on the screen after {drawn:.0f} ms",
        "hover a token": tokens,
        "hover a feature": features,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--top", type=int, default=8)
    options = parser.parse_args()
    data = json.dumps(made_payload(options.tokens, options.top))
    with open_browser() as browser, tempfile.TemporaryDirectory() as folder:
        # A file has an origin of its own, which the module's address needs.
        file = Path(folder) / "page.html"
        file.write_text(PAGE, encoding="utf-8")
        page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
        page.goto(file.as_uri())
        print(markdown(f"Transcript of {options.tokens:,} tokens", measure(page, data), machine()))


if __name__ == "__main__":
    main()

"""A stored trace of 20,000 tokens on the page of an inference, in a browser: drawn, cut into steps, scrolled, searched.

    python -m benchmarks.long_trace [--tokens 20000] [--k 32]

The trace is made up of words, with `k` random features of 4,096 a token, and stored as any other. Drawn: from the
address to all tokens on the screen, once the server has answered this page before. Steps: from the choice to the
outline, which the server makes. Scrolling: the gaps between frames while the transcript is scrolled by a sixth of its
window a frame. Find: from a key to the frame in which the places are marked. Memory: the heap after a collection.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from benchmarks.browser import open_browser
from benchmarks.report import machine, markdown
from benchmarks.served import served
from kthink_core.config import Experiment, ExperimentConfig, SaeShape
from kthink_core.prompts import Segment
from kthink_core.records import Encoding, Inference
from kthink_core.store.writer import open_writer

HOOKPOINT, LATENTS = "layers.10.mlp", 4096
PROMPT = 100
WORDS = (
    " the", " so", ",", " 48", " clips", ".", ".\n\n", " Wait", " But", " let", " me", " it", " is", " half", " of",
    " that", " total", " =", " 72", "\n",
)  # fmt: skip

SCROLL = """async () => {
    const scroller = deep('.scroller');
    const gaps = [];
    scroller.scrollTop = 0;
    await new Promise(requestAnimationFrame);
    let last = performance.now();
    while (scroller.scrollTop + scroller.clientHeight < scroller.scrollHeight - 2 && gaps.length < 400) {
        scroller.scrollTop += scroller.clientHeight / 6;
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        gaps.push(now - last);
        last = now;
    }
    return gaps;
}"""
TYPE = """async ([text]) => {
    const finder = deep('.finder input');
    const times = [];
    for (let end = 1; end <= text.length; end++) {
        const begin = performance.now();
        finder.value = text.slice(0, end);
        finder.dispatchEvent(new InputEvent('input', { bubbles: true, composed: true }));
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        times.push(performance.now() - begin);
    }
    return times;
}"""
FOLD = """async (name) => {
    const begin = performance.now();
    [...deep('.outline').querySelectorAll('.all')].find((one) => one.textContent === name).click();
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - begin;
}"""
DEEP = """() => {
    window.deep = (selector, root = document) => {
        const found = root.querySelector(selector);
        if (found) return found;
        for (const host of root.querySelectorAll('*')) {
            const inside = host.shadowRoot && window.deep(selector, host.shadowRoot);
            if (inside) return inside;
        }
        return null;
    };
}"""


def write(cache: Path, tokens: int, k: int) -> None:
    """An experiment `long` of one inference."""
    random = np.random.default_rng(0)
    shape = SaeShape(num_latents=LATENTS, k=k, d_in=16, activation="topk")
    config = ExperimentConfig(hookpoints=(HOOKPOINT,), limit=1)
    experiment = Experiment(name="long", config=config, inferences=1, saes={HOOKPOINT: shape}, provenance={})
    ids = random.integers(0, len(WORDS), tokens).astype(np.int32)
    features = (random.integers(0, LATENTS // k, (tokens, k)) ** 2 // (LATENTS // k) * k + np.arange(k)).astype(
        np.int32
    )
    flat = np.ones(tokens, np.float32)
    sums: dict[Segment, NDArray[np.float64]] = {"prompt": np.ones(16), "think": np.ones(16)}
    encoding = Encoding(features, random.gamma(2, 2, (tokens, k)).astype(np.float32), 0.2 * flat, flat, sums)
    logprobs = -random.exponential(1, tokens).astype(np.float32)
    logprobs[:PROMPT] = np.nan
    inference = Inference(
        inference=0, problem=0, question="A long one", prompt="", mode="think", seed=0, prompt_tokens=PROMPT,
        finish_reason="length", answer=None, reference=None, correct=None, token_ids=ids,
        texts=tuple(WORDS[token] for token in ids), segments=("prompt",) * PROMPT + ("think",) * (tokens - PROMPT),
        logprobs=logprobs, encodings={HOOKPOINT: encoding},
    )  # fmt: skip
    with open_writer(cache, experiment) as writer:
        writer.append(inference)
        writer.build()


def measure(page: Page, url: str, tokens: int) -> dict[str, str]:
    """What is measured once, in a browser that has loaded the app."""
    devtools = page.context.new_cdp_session(page)
    figures: dict[str, str] = {}
    for name in ("first visit", "drawn"):
        begin = time.perf_counter()
        page.goto(f"{url}/inference?experiment=long")
        _all_there(page, tokens)
        figures[name] = f"{time.perf_counter() - begin:.2f} s"
    page.evaluate(DEEP)
    figures["scrolling"] = _gaps(page.evaluate(SCROLL))
    for grain in ("turn", "sentence"):
        begin = time.perf_counter()
        page.get_by_role("combobox", name="Steps").select_option(grain)
        page.wait_for_function("grain => deep('.outline-head .name')?.textContent.endsWith(grain)", arg=f"{grain}s")
        figures[f"{grain}s"] = f"{time.perf_counter() - begin:.2f} s, {page.locator('.step-row').count():,} steps"
    figures["scrolling, cut into sentences"] = _gaps(page.evaluate(SCROLL))
    figures["collapse all, open all"] = ", ".join(
        f"{page.evaluate(FOLD, name):.0f} ms" for name in ("Collapse all", "Open all")
    )
    for text in ("wait", "the total", "#7", "feature:42"):
        times = page.evaluate(TYPE, [text])
        figures[f"find {text}"] = (
            f"{page.locator('.found').inner_text()}; a key {statistics.median(times):.0f} ms, at most {max(times):.0f}"
        )
    devtools.send("HeapProfiler.collectGarbage")
    devtools.send("Performance.enable")
    metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    figures["memory"] = f"heap {metrics['JSHeapUsedSize'] / 1e6:.0f} MB, {metrics['Nodes']:,.0f} nodes"
    return figures


def _all_there(page: Page, tokens: int) -> None:
    expect(page.locator(".transcript .token")).to_have_count(tokens)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def _gaps(gaps: list[float]) -> str:
    p95 = statistics.quantiles(gaps, n=20)[-1]
    return f"{statistics.median(gaps):.0f} ms a frame, p95 {p95:.0f}, at most {max(gaps):.0f} ({len(gaps)} frames)"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--k", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        write(Path(folder), options.tokens, options.k)
        with served(Path(folder)) as url:
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.set_default_timeout(60_000)
            expect.set_options(timeout=60_000)
            print(markdown(f"A trace of {options.tokens:,} tokens", measure(page, url, options.tokens), machine()))


if __name__ == "__main__":
    main()

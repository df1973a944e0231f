"""What live streaming costs, and how the worker bears many at once.

    python -m benchmarks.live                    the demo, on this machine
    python -m benchmarks.live --experiment E     an experiment of the cache, such as one of a stand-in, on its device

Time per token through the worker (capture, encode, stream, parse) against transformers' own `generate` with the same
model, prompt and number of tokens, in turns within one run; from a click on Run to the first new token on screen, in a
browser; cancelling; thirty clients at once, each compared with the same seed alone; memory over many jobs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.browser import open_browser
from benchmarks.report import machine, markdown
from benchmarks.served import free_port, served
from kthink_core.config import DEMO, ExperimentConfig
from kthink_core.errors import WorkerMissing
from kthink_core.live.api import Done, Event, GenerateRequest, Tokens
from kthink_core.live.client import WorkerClient
from kthink_core.model.language_model import load_model, pick_device
from kthink_core.prompts import prompt_ids
from kthink_core.settings import WorkerSettings
from kthink_core.store.manifest import read_experiment

QUESTION = "Tom has 3 apples and buys 4 more. How many apples does Tom have now?"
ROUNDS = 7
CLIENTS = 30
CLICK_TO_TOKEN = """() => new Promise((resolve) => {
  const find = (root, selector) => {
    const found = root.querySelector(selector);
    if (found) return found;
    for (const host of root.querySelectorAll("*")) {
      const inner = host.shadowRoot && find(host.shadowRoot, selector);
      if (inner) return inner;
    }
    return null;
  };
  const began = performance.now();
  find(document, ".prompt .run").click();
  const look = () => {
    const band = find(document, ".transcript .band:not(.prompt) .token");
    if (band) requestAnimationFrame(() => resolve(performance.now() - began));
    else requestAnimationFrame(look);
  };
  look();
})"""
"""Milliseconds; components stand in shadow roots."""


@contextmanager
def worker_process(cache: str, experiment: str = DEMO) -> Iterator[tuple[WorkerSettings, psutil.Process]]:
    """A worker of an experiment of the cache in a process of its own, once it is ready."""
    port = free_port()
    given = {
        "KTHINK_CACHE": cache,
        "KTHINK_WORKER_REQUESTS_PER_MINUTE": "1000000",
        "KTHINK_WORKER_JOBS_PER_CLIENT": "100",
    }
    command = [sys.executable, "-m", "kthink_core", "worker", "--experiment", experiment, "--port", str(port)]
    process = subprocess.Popen(command, env=os.environ | given, stderr=subprocess.DEVNULL)
    settings = WorkerSettings(port=port)
    try:
        with WorkerClient(settings) as client:
            while not _ready(client):
                time.sleep(0.1)
        yield settings, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _ready(client: WorkerClient) -> bool:
    try:
        health = client.health()
    except WorkerMissing:
        return False
    return health.status == "ready" and health.background == "nothing"


def request(seed: int, **fields: Any) -> GenerateRequest:
    return GenerateRequest.model_validate({"prompt": QUESTION, "seed": seed} | fields)


def tokens_of(events: list[Event]) -> list[int]:
    return [token_id for event in events if isinstance(event, Tokens) for token_id in event.token_ids]


def per_token(settings: WorkerSettings, config: ExperimentConfig) -> dict[str, str]:
    """Seconds a token, first to last token of each generation, live and plain in turns."""
    lm = load_model(config.model, config.model_revision, pick_device("auto"), config.dtype)
    ids = torch.tensor([prompt_ids(lm.tokenizer, lm.frames, QUESTION, "think")], device=lm.device)
    generate: Callable[..., torch.Tensor] = lm.model.generate  # pyright: ignore
    live, plain, first = [], [], []
    with WorkerClient(settings) as client:
        for seed in range(ROUNDS):
            began = time.perf_counter()
            at: list[tuple[float, int]] = []
            for event in client.generate(request(seed)):
                if isinstance(event, Tokens):
                    at.append((time.perf_counter(), len(event.token_ids)))
            first.append(at[1][0] - began)
            new = sum(count for _, count in at[1:])
            live.append((at[-1][0] - at[0][0]) / new)
            options = {
                "do_sample": True,
                "temperature": 0.6,
                "top_p": 0.95,
                "min_new_tokens": new,
                "max_new_tokens": new,
            }
            with torch.inference_mode():
                generate(
                    ids, attention_mask=torch.ones_like(ids), **options | {"min_new_tokens": 1, "max_new_tokens": 1}
                )
                began = time.perf_counter()
                generate(ids, attention_mask=torch.ones_like(ids), **options)
                plain.append((time.perf_counter() - began) / new)
    ratio = statistics.median(a / b for a, b in zip(live, plain, strict=True))
    return {
        "plain `generate`, a token": f"{1000 * statistics.median(plain):.2f} ms",
        "live, a token": f"{1000 * statistics.median(live):.2f} ms",
        "live over plain, median of pairs": f"{ratio - 1:+.0%}",
        "request to first new token at the client": f"{1000 * statistics.median(first):.0f} ms",
    }


def on_screen(settings: WorkerSettings, cache: str, experiment: str) -> dict[str, str]:
    """Click to the first frame that has a token after the prompt, each time in a new browser session."""
    taken = []
    where = {"KTHINK_WORKER_PORT": str(settings.port), "KTHINK_EXPERIMENT": experiment}
    with open_browser() as browser, served(Path(cache).absolute(), **where) as address:
        for _ in range(ROUNDS):
            page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
            page.goto(f"{address}/live")
            page.get_by_label("Prompt", exact=True).fill(QUESTION)
            page.locator(".prompt .token.template").first.wait_for()
            page.get_by_role("button", name="Run", exact=True).click(trial=True)
            page.wait_for_timeout(1000)
            taken.append(page.evaluate(CLICK_TO_TOKEN))
            page.context.close()
    return {"click to first new token on screen": f"{statistics.median(taken):.0f} ms (slowest {max(taken):.0f} ms)"}


def cancelling(settings: WorkerSettings) -> dict[str, str]:
    taken = []
    with WorkerClient(settings) as client, WorkerClient(settings) as other:
        for seed in range(ROUNDS):
            stream = client.generate(request(seed))
            for event in stream:
                if isinstance(event, Tokens) and event.first > 60:
                    break
            began = time.perf_counter()
            stream.close()  # pyright: ignore[reportAttributeAccessIssue]
            while other.health().running:
                pass
            taken.append(time.perf_counter() - began)
    return {"cancel to free device, slowest": f"{1000 * max(taken):.0f} ms"}


def many(settings: WorkerSettings) -> dict[str, str]:
    found: dict[int, list[int]] = {}
    ended: dict[int, float] = {}

    def run(seed: int) -> None:
        with WorkerClient(settings, f"client {seed}") as client:
            events = list(client.generate(request(seed)))
        ended[seed] = time.perf_counter()
        if isinstance(events[-1], Done):
            found[seed] = tokens_of(events)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with WorkerClient(settings) as client:
        equal = sum(found.get(seed) == tokens_of(list(client.generate(request(seed)))) for seed in range(CLIENTS))
    return {
        f"{CLIENTS} clients at once: complete and equal to the same seed alone": f"{equal} of {CLIENTS}",
        "the last of them is done after": f"{max(ended.values()) - began:.1f} s",
    }


def memory(settings: WorkerSettings, process: psutil.Process, jobs: int) -> dict[str, str]:
    sizes = []
    with WorkerClient(settings) as client:
        for job in range(jobs):
            list(client.generate(request(job)))
            sizes.append(process.memory_info().rss / 1e6)
    third = len(sizes) // 3
    early, late = statistics.mean(sizes[third : 2 * third]), statistics.mean(sizes[2 * third :])
    return {f"memory over {jobs} jobs: second third, last third": f"{early:.0f} MB, {late:.0f} MB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default="cache")
    parser.add_argument("--experiment", default=DEMO)
    parser.add_argument("--memory-jobs", type=int, default=300)
    options = parser.parse_args()
    stored = read_experiment(Path(options.cache), options.experiment)
    if stored is None:
        raise SystemExit(f"no experiment '{options.experiment}' in {options.cache}: precompute it first")
    with worker_process(options.cache, options.experiment) as (settings, process):
        rows = (
            per_token(settings, stored.config)
            | on_screen(settings, options.cache, options.experiment)
            | cancelling(settings)
            | many(settings)
        )
        rows |= memory(settings, process, options.memory_jobs)
    print(markdown(f"Live, {options.experiment}", rows, machine()))


if __name__ == "__main__":
    main()

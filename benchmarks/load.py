"""Server time of page actions on views not seen before, and of twenty sessions that click at once.

    python -m benchmarks.load [--cache cache] [--experiment demo] [--actions 40] [--sessions 20]

An action opens a page at a random inference, hookpoint, scope and feature; the reader is open, the answers are not yet
cached. Sessions are threads of one process, as in Streamlit's server, that ask through the app's cache what the
inference page asks; drawing is left out, since Streamlit's own test runner takes one session at a time.
"""

from __future__ import annotations

import argparse
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import streamlit as st
from pandas.testing import assert_frame_equal
from streamlit.logger import set_log_level
from streamlit.testing.v1 import AppTest

from benchmarks.report import machine, markdown
from kthink_core import queries
from kthink_core.queries import SCOPES, Scope
from kthink_core.store.reader import Reader, open_reader
from kthink_core.ui import cache
from kthink_core.ui.cache import Source

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("overview", "inference", "feature", "across", "compare")


def parameters(reader: Reader, draw: random.Random) -> dict[str, str]:
    """A view of the experiment; the feature is one that matters in the inference."""
    inference = draw.choice(reader.inference_ids)
    hookpoint = draw.choice(list(reader.experiment.saes))
    relevant = queries.relevant_features(reader, inference, hookpoint)["feature"].tolist()
    return {
        "experiment": reader.experiment.name,
        "inference": str(inference),
        "hookpoint": hookpoint,
        "scope": draw.choice(SCOPES),
        "feature": str(draw.choice(relevant or [0])),
    }


def opened(page: str, where: dict[str, str]) -> tuple[AppTest, float]:
    """The page after one action, and the seconds that its script took."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.query_params.update(where)
    app.switch_page(f"pages/{page}.py")
    began = time.perf_counter()
    app.run()
    seconds = time.perf_counter() - began
    if app.exception:
        raise SystemExit(f"page {page} failed at {where}: {app.exception[0].value}")
    return app, seconds


def ask(source: Source, where: dict[str, str]) -> list[pd.DataFrame]:
    """What the inference page asks, through the app's cache, which all sessions share."""
    inference, hookpoint, scope = int(where["inference"]), where["hookpoint"], cast(Scope, where["scope"])
    ranked = cache.ask(source, queries.ranked_features, inference, hookpoint, scope)
    features = tuple(ranked["feature"].tolist())
    return [
        ranked,
        cache.ask(source, queries.inferences),
        cache.ask(source, queries.transcript, inference),
        cache.ask(source, queries.token_features, inference, hookpoint),
        cache.ask(source, queries.feature_tracks, inference, hookpoint, features),
        cache.ask(source, queries.feature_maxima, hookpoint, features, scope),
        cache.ask(source, queries.quality, scope, inference),
    ]


def ask_directly(reader: Reader, where: dict[str, str]) -> list[pd.DataFrame]:
    """The same of a reader of one's own."""
    inference, hookpoint, scope = int(where["inference"]), where["hookpoint"], cast(Scope, where["scope"])
    ranked = queries.ranked_features(reader, inference, hookpoint, scope)
    features = tuple(ranked["feature"].tolist())
    return [
        ranked,
        queries.inferences(reader),
        queries.transcript(reader, inference),
        queries.token_features(reader, inference, hookpoint),
        queries.feature_tracks(reader, inference, hookpoint, features),
        queries.feature_maxima(reader, hookpoint, features, scope),
        queries.quality(reader, scope, inference),
    ]


def _same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Equal but for the last bits of sums, which DuckDB adds up in whatever order its threads come."""
    try:
        assert_frame_equal(one, other, rtol=1e-9, atol=1e-12)
    except AssertionError:
        return False
    return True


def percentiles(seconds: list[float]) -> str:
    p50, p95 = np.percentile(seconds, [50, 95])
    return f"{1000 * p50:.0f} / {1000 * p95:.0f} ms"


def one_by_one(reader: Reader, actions: int) -> dict[str, str]:
    draw = random.Random(0)
    rows = {}
    for page in PAGES:
        opened(page, parameters(reader, draw))  # opens the app's own reader
        rows[f"{page}: p50 / p95"] = percentiles([opened(page, parameters(reader, draw))[1] for _ in range(actions)])
    return rows


def at_once(folder: Path, reader: Reader, sessions: int, clicks: int) -> dict[str, str]:
    """Every session's answers are compared with those of a reader of its own; a difference ends the benchmark."""
    views, source = random.Random(1), cache.source(folder, reader.experiment.name)
    plans = [[parameters(reader, views) for _ in range(clicks)] for _ in range(sessions)]
    begin = threading.Barrier(sessions)

    def session(plan: list[dict[str, str]]) -> list[tuple[float, list[pd.DataFrame]]]:
        begin.wait()
        found = []
        for where in plan:
            began = time.perf_counter()
            answers = ask(source, where)
            found.append((time.perf_counter() - began, answers))
        return found

    st.cache_data.clear()
    with ThreadPoolExecutor(sessions) as pool:
        all_found = list(pool.map(session, plans))
    wrong = sum(
        not _same(one, other)
        for plan, found in zip(plans, all_found, strict=True)
        for where, (_, answers) in zip(plan, found, strict=True)
        for one, other in zip(answers, ask_directly(reader, where), strict=True)
    )
    if wrong:
        raise SystemExit(f"{wrong} answers differ from the direct query's")
    seconds = [taken for found in all_found for taken, _ in found]
    name = f"{sessions} sessions at once, all that an inference page asks, {len(seconds)} clicks, no wrong row"
    return {f"{name}: p50 / p95": percentiles(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--experiment", default="demo")
    parser.add_argument("--actions", type=int, default=40)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--clicks", type=int, default=5)
    options = parser.parse_args()
    set_log_level("error")  # it warns of running without a server, which is meant
    os.environ["KTHINK_CACHE"] = str(options.cache.absolute())
    with open_reader(options.cache, options.experiment) as reader:
        rows = one_by_one(reader, options.actions)
        rows |= at_once(options.cache, reader, options.sessions, options.clicks)
    print(markdown(f"Page actions, {options.experiment}", rows, machine()))


if __name__ == "__main__":
    main()

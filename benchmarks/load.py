"""Server time of page actions on views not seen before, and of twenty sessions that click at once.

    python -m benchmarks.load [--cache cache] [--experiment demo] [--actions 40] [--sessions 20]

An action leads a session to a page at a random inference, hookpoint, scope and feature. Its time is that from the
request to rerun to the script's last message: see session.py. The reader is open and the page was opened before, but no
answer at all is cached, not even that of what all views of an experiment share.

Many sessions are asked twice: for the whole inference page, and, without drawing, for all that this page asks through
the app's cache, so that every row can be compared with that of a reader of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import streamlit as st
from pandas.testing import assert_frame_equal
from streamlit.logger import set_log_level

from benchmarks.report import machine, markdown
from benchmarks.session import Session, sessions
from kthink_core import queries
from kthink_core.queries import SCOPES, Scope
from kthink_core.store.reader import Reader, open_reader
from kthink_core.ui.view import cache
from kthink_core.ui.view.cache import Source

VIEWS: dict[str, tuple[str, dict[str, str]]] = {
    "overview": ("overview", {}),
    "inference": ("inference", {}),
    "inference, cut into sentences": ("inference", {"grain": "sentence"}),
    "feature": ("feature", {}),
    "feature, three pages of contexts": ("feature", {"pages": "3"}),
    "feature, think or word": ("feature", {"section": "phase"}),
    "across": ("across", {}),
    "compare, two features": ("compare", {}),
    "compare, two inferences": ("compare", {"pair": "inferences"}),
}
"""By name: the page, and what its link says beside where it is."""


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


def one_by_one(begin: Callable[[], Session], reader: Reader, actions: int) -> dict[str, str]:
    draw, session, rows = random.Random(0), begin(), {}

    def action(page: str, more: dict[str, str]) -> float:
        where = parameters(reader, draw) | more
        if "pair" in more:
            where["against"] = str(draw.choice([one for one in reader.inference_ids if str(one) != where["inference"]]))
        st.cache_data.clear()
        return session.open(page, where)

    for name, view in VIEWS.items():
        action(*view)  # opens the app's own reader, compiles the page
        rows[f"{name}: p50 / p95"] = percentiles([action(*view) for _ in range(actions)])
    return rows


def drawn_at_once(begin: Callable[[], Session], reader: Reader, number: int, clicks: int) -> dict[str, str]:
    """Each session begins and ends its clicks with all others; the first one of a session does not count."""
    views, together = random.Random(1), threading.Barrier(number)
    plans = [[parameters(reader, views) for _ in range(clicks + 1)] for _ in range(number)]

    def visit(plan: list[dict[str, str]]) -> list[float]:
        session, taken = begin(), []
        for where in plan:
            together.wait()
            taken.append(session.open("inference", where))
        return taken[1:]

    st.cache_data.clear()
    with ThreadPoolExecutor(number) as pool:
        seconds = [taken for found in pool.map(visit, plans) for taken in found]
    return {f"{number} sessions at once, the inference page, {len(seconds)} clicks: p50 / p95": percentiles(seconds)}


def at_once(folder: Path, reader: Reader, number: int, clicks: int) -> dict[str, str]:
    """Every session's answers are compared with those of a reader of its own; a difference ends the benchmark."""
    views, source = random.Random(1), cache.source(folder, reader.experiment.name)
    plans = [[parameters(reader, views) for _ in range(clicks)] for _ in range(number)]
    together = threading.Barrier(number)

    def session(plan: list[dict[str, str]]) -> list[tuple[float, list[pd.DataFrame]]]:
        together.wait()
        found = []
        for where in plan:
            began = time.perf_counter()
            answers = ask(source, where)
            found.append((time.perf_counter() - began, answers))
        return found

    st.cache_data.clear()
    with ThreadPoolExecutor(number) as pool:
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
    name = f"{number} sessions at once, all that an inference page asks, {len(seconds)} clicks, no wrong row"
    return {f"{name}: p50 / p95": percentiles(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--experiment", default="demo")
    parser.add_argument("--actions", type=int, default=40)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--clicks", type=int, default=5)
    options = parser.parse_args()
    set_log_level("error")  # the sessions that only ask are no sessions to it, which it would tell for each
    os.environ["KTHINK_CACHE"] = str(options.cache.absolute())
    with open_reader(options.cache, options.experiment) as reader, sessions() as begin:
        rows = one_by_one(begin, reader, options.actions)
        rows |= drawn_at_once(begin, reader, options.sessions, options.clicks)
        rows |= at_once(options.cache, reader, options.sessions, options.clicks)
    print(markdown(f"Page actions, {options.experiment}", rows, machine()))


if __name__ == "__main__":
    main()

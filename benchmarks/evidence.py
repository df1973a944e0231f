"""How long evidence takes to reckon, and in how much memory, part by part.

`python -m benchmarks.evidence [PART …] [--folder FOLDER]` prints Markdown; without a part, all of them. The large store
needs about 1.5 GB of disk; FOLDER keeps it for the next time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.report import machine, markdown
from benchmarks.store import HOOKPOINTS, POSITIONS, K, Source, experiment, peak
from kthink_core.errors import SchemaTooOld, UnknownName
from kthink_core.records import Inference
from kthink_core.store.reader import open_reader
from kthink_core.store.writer import open_writer

HOOKPOINT = HOOKPOINTS[1]
INFERENCES = 2_070
"""Of which one hookpoint has 30 million latents."""
WORDS = (" alternatively", " Hmm", " maybe", " Wait", " perhaps", " let", " Therefore", " However", "But", "Another")
FIRST_ID = 149_000
"""Of the words; the other tokens are far more frequent than ids so large."""


class Taken(NamedTuple):
    """Seconds, and the peak memory of the process in GB."""

    seconds: float
    busy: float
    """Seconds of the processor."""
    peak: float


def worded(inference: Inference) -> Inference:
    """The inference with a word of reasoning at one position in fifty; `let` is followed by `me`."""
    random = np.random.default_rng(inference.inference)
    token_ids, texts = inference.token_ids.copy(), list(inference.texts)
    for position in random.choice(POSITIONS - 1, POSITIONS // 50, replace=False).tolist():
        word = int(random.integers(len(WORDS)))
        token_ids[position], texts[position] = FIRST_ID + word, WORDS[word]
        if WORDS[word] == " let":
            token_ids[position + 1], texts[position + 1] = FIRST_ID + len(WORDS), " me"
    return replace(inference, token_ids=token_ids, texts=tuple(texts))


def large_store(cache: Path) -> None:
    """One hookpoint of 65,536 features in 2,070 inferences; what is there stays."""
    whole = experiment(INFERENCES, (HOOKPOINT,))
    if is_there(cache, whole.name):
        return
    source = Source((HOOKPOINT,))
    with open_writer(cache, whole) as writer:
        for index in sorted(set(range(INFERENCES)) - writer.committed):
            writer.append(worded(source.inference(index)))
        writer.build()


def is_there(cache: Path, name: str) -> bool:
    """Whether the store is whole, and of this version."""
    try:
        with open_reader(cache, name) as reader:
            return reader.inferences == INFERENCES
    except (SchemaTooOld, UnknownName):
        return False


def score(cache: Path) -> Taken:
    """The first hundred features with their intervals."""
    from kthink_core.evidence.reason_score import reason_score

    with open_reader(cache, experiment(INFERENCES, (HOOKPOINT,)).name) as reader:
        start, busy = time.perf_counter(), time.process_time()
        assert len(reason_score(reader, HOOKPOINT)) == 100
        return Taken(time.perf_counter() - start, time.process_time() - busy, peak())


def alone(task: Callable[[Path], Taken], cache: Path) -> Taken:
    """Runs a task in a fresh process, whose peak memory is its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(task, cache).result()


def reason_score(cache: Path) -> dict[str, str]:
    """Rows of the table."""
    large_store(cache)
    taken = [alone(score, cache) for _ in range(3)]
    rows = INFERENCES * POSITIONS * K / 1e6
    seconds, busy = (", ".join(f"{getattr(one, name):.1f}" for one in taken) for name in ("seconds", "busy"))
    return {
        f"ReasonScore, {rows:.1f} million latent rows of a hookpoint, three runs": f"{seconds} s (target ≤ 10 s)",
        "of the processor": f"{busy} s",
        "memory, peak": f"{max(one.peak for one in taken):.2f} GB (target ≤ 4 GB)",
    }


PARTS: dict[str, Callable[[Path], dict[str, str]]] = {"reason-score": reason_score}
"""By name: what measures it, in a folder for stores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--folder", type=Path, help="where stores go; they stay there, and are used again")
    options = parser.parse_args()
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as temporary:
        for part in options.parts or PARTS:
            print(markdown(f"Evidence: {part}", PARTS[part](options.folder or Path(temporary)), machine()))


if __name__ == "__main__":
    main()

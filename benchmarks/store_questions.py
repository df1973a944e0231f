"""Every question of `kthink_core.queries` as it is asked of a large store, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

import numpy as np

from kthink_core import queries
from kthink_core.evidence.difference_table import differences
from kthink_core.evidence.think_or_word import think_or_word, think_or_word_tokens
from kthink_core.store.reader import Reader

REPEATS, WARM = 31, 3
SPAN = (150, 180)


class Taken(NamedTuple):
    """Milliseconds, after a few that do not count."""

    median: float
    worst: float
    target: tuple[float, float]
    """Of median and worst."""


class Draw:
    """Random arguments: features by their frequency or always the most frequent one, inferences evenly."""

    def __init__(self, order: np.ndarray, inferences: int, common: bool) -> None:
        """`order`: feature ids of the hookpoint, the most frequent first."""
        self._random = np.random.default_rng(1)
        self._order, self._inferences, self._common = order, inferences, common

    def feature(self) -> int:
        if self._common:
            return int(self._order[0])
        return int(self._order[int(len(self._order) ** self._random.random()) - 1])

    def others(self) -> tuple[int, ...]:
        """Five features, as many as a page shows at once."""
        return (self.feature(), *(int(feature) for feature in self._random.choice(self._order[:1000], 4)))

    def inference(self) -> int:
        return int(self._random.integers(self._inferences))


def latencies(reader: Reader, hookpoint: str, order: np.ndarray, inferences: int) -> Iterator[tuple[str, Taken]]:
    """Each question with what it took, of any features and of the most frequent one."""
    drawn = Draw(order, inferences, common=False)
    for name, ask in (of_inferences(reader, hookpoint, drawn) | of_features(reader, hookpoint, drawn)).items():
        yield name, timed(name, ask)
    for name, ask in of_features(reader, hookpoint, Draw(order, inferences, common=True)).items():
        yield f"{name}: the most frequent feature", timed(f"{name} ", ask)


def timed(name: str, ask: Callable[[], object]) -> Taken:
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        ask()
        taken.append(1000 * (time.perf_counter() - start))
    rows = name in ("rows by (hookpoint, feature)", "rows by (hookpoint, inference)")
    counts = name in ("feature_counts, relevant=5", "feature_inferences", "quality")
    return Taken(median(taken[WARM:]), max(taken[WARM:]), (10 if rows else 50 if counts else 100, 250))


def of_inferences(reader: Reader, hookpoint: str, draw: Draw) -> dict[str, Callable[[], object]]:
    """Questions about one inference, or about a hookpoint as a whole."""
    rows = "SELECT position, features, activations FROM token_latents WHERE hookpoint = ? AND inference = ?"
    first = next(iter(queries.feature_counts(reader, hookpoint)["feature"]))
    return {
        "rows by (hookpoint, inference)": lambda: reader.query(rows, [hookpoint, draw.inference()]),
        "inferences": lambda: queries.inferences(reader),
        "transcript": lambda: queries.transcript(reader, draw.inference(), hookpoint, draw.feature()),
        "token_features": lambda: queries.token_features(reader, draw.inference(), hookpoint),
        "feature_tracks": lambda: queries.feature_tracks(reader, draw.inference(), hookpoint, draw.others()),
        "feature_activations": lambda: queries.feature_activations(reader, draw.inference(), hookpoint),
        "feature_frequencies": lambda: queries.feature_frequencies(reader, draw.inference(), hookpoint),
        "relevant_features": lambda: queries.relevant_features(reader, draw.inference(), hookpoint),
        "ranked_features": lambda: queries.ranked_features(reader, draw.inference(), hookpoint),
        "ranked_features, lift": lambda: queries.ranked_features(reader, draw.inference(), hookpoint, ranking="lift"),
        "span_features": lambda: queries.span_features(reader, draw.inference(), hookpoint, *SPAN),
        "activation_histogram": lambda: queries.activation_histogram(reader, draw.inference(), hookpoint),
        "top_tokens, one inference": lambda: queries.top_tokens(reader, hookpoint, int(first), draw.inference()),
        "steps": lambda: queries.steps(reader, draw.inference(), hookpoint),
        "differences, two inferences": lambda: differences(
            reader, hookpoint, inference=(one := draw.inference()), against=(one + 1) % len(reader.inference_ids)
        ),
        "quality": lambda: queries.quality(reader),
        "quality, one inference": lambda: queries.quality(reader, inference=draw.inference()),
        "feature_counts": lambda: queries.feature_counts(reader, hookpoint),
        "feature_counts, relevant=5": lambda: queries.feature_counts(reader, hookpoint, relevant=5),
        "feature_table": lambda: queries.feature_table(reader, hookpoint),
        "feature_table, relevant=100, right": lambda: queries.feature_table(
            reader, hookpoint, "all", "right", relevant=100
        ),
        "feature_table, five features": lambda: queries.feature_table(reader, hookpoint, features=draw.others()),
        "feature_search, some": lambda: queries.feature_search(reader, hookpoint, "generated", " T123"),
        "feature_search, every feature": lambda: queries.feature_search(reader, hookpoint, "generated", "t"),
    }


def of_features(reader: Reader, hookpoint: str, draw: Draw) -> dict[str, Callable[[], object]]:
    """Questions about one feature, or a few."""
    rows = "SELECT inference, position, activation FROM latents WHERE hookpoint = ? AND feature = ?"

    def context_tokens() -> object:
        feature = draw.feature()
        found = queries.contexts(reader, hookpoint, feature)
        places = tuple(
            (int(inference), int(position)) for inference, position in found[["inference", "position"]].values
        )
        return queries.context_tokens(reader, hookpoint, feature, places)

    return {
        "rows by (hookpoint, feature)": lambda: reader.query(rows, [hookpoint, draw.feature()]),
        "feature_summary": lambda: queries.feature_summary(reader, hookpoint, draw.feature()),
        "feature_maxima": lambda: queries.feature_maxima(reader, hookpoint, draw.others()),
        "feature_inferences": lambda: queries.feature_inferences(reader, hookpoint, draw.feature()),
        "feature_matrix": lambda: queries.feature_matrix(reader, hookpoint, "generated", draw.others()),
        "feature_histogram": lambda: queries.feature_histogram(reader, hookpoint, draw.feature()),
        "feature_contrast": lambda: queries.feature_contrast(reader, hookpoint, draw.feature()),
        "contexts": lambda: queries.contexts(reader, hookpoint, draw.feature()),
        "contexts and context_tokens": context_tokens,
        "contexts, three pages": lambda: queries.contexts(reader, hookpoint, draw.feature(), pages=3),
        "think_or_word": lambda: think_or_word(reader, hookpoint, draw.feature()),
        "think_or_word_tokens": lambda: think_or_word_tokens(reader, hookpoint, draw.feature()),
        "fires_with": lambda: queries.fires_with(reader, hookpoint, draw.feature()),
        "feature_pair": lambda: queries.feature_pair(reader, hookpoint, draw.feature(), draw.others()[1]),
        "top_tokens": lambda: queries.top_tokens(reader, hookpoint, draw.feature()),
        "neighbours": lambda: queries.neighbours(reader, hookpoint, draw.feature()),
        "promoted_tokens": lambda: queries.promoted_tokens(reader, hookpoint, draw.feature()),
    }

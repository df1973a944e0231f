"""Every query against a straightforward computation from the raw records, for every scope and every kind of store."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from covering import meeting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from query_oracle import verdict
from store_samples import HOOKPOINTS, sample_experiment, sample_inferences, write_sample

from kthink_core import queries
from kthink_core.config import SaeShape
from kthink_core.errors import BadValue, OutOfRange, UnknownName
from kthink_core.queries import SCOPES, Scope
from kthink_core.records import Inference
from kthink_core.store import database
from kthink_core.store.reader import Reader, open_reader

EXPERIMENT = sample_experiment()
INFERENCES = sample_inferences(EXPERIMENT)
LATENTS = 24
STORES = {"increment": 0, "both": 5, "increments": 2, "database": len(INFERENCES)}
"""How many are in the main database."""
INDEXED = {"both", "database"}
INDICES = range(len(INFERENCES))

Active = list[tuple[int, int, float]]
"""Position, feature, activation of every positive activation."""


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Reader]]:
    opened = {}
    with pytest.MonkeyPatch.context() as patch:
        for store, built in STORES.items():
            patch.setattr(database, "INDEXED", 1 if store in INDEXED else 500)
            cache = tmp_path_factory.mktemp(store)
            write_sample(cache, EXPERIMENT, INFERENCES, built, shown=store == "increments")
            opened[store] = open_reader(cache, EXPERIMENT.name)
    yield opened
    for reader in opened.values():
        reader.close()


@pytest.fixture(params=STORES)
def reader(readers: dict[str, Reader], request: pytest.FixtureRequest) -> Reader:
    return readers[request.param]


def counts(inference: Inference, position: int, scope: Scope) -> bool:
    if scope == "generated":
        return position >= inference.prompt_tokens
    return scope == "all" or inference.segments[position] == scope


def active(inference: Inference, hookpoint: str, scope: Scope) -> Active:
    encoding = inference.encodings[hookpoint]
    return [
        (position, int(feature), float(activation))
        for position in range(len(inference.token_ids))
        if counts(inference, position, scope)
        for feature, activation in zip(encoding.features[position], encoding.activations[position], strict=True)
        if activation > 0
    ]


def maxima(found: Active) -> dict[int, float]:
    largest: dict[int, float] = {}
    for _, feature, activation in found:
        largest[feature] = max(activation, largest.get(feature, 0))
    return largest


def ranking(found: Active) -> list[int]:
    largest = maxima(found)
    return sorted(largest, key=lambda feature: (-largest[feature], feature))


def rows(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Rows of plain Python values, missing ones as None."""
    return [
        tuple(None if pd.isna(value) else value for value in row) for row in table.itertuples(index=False, name=None)
    ]


def test_inferences(reader: Reader) -> None:
    table = queries.inferences(reader)
    names = ["inference", "problem", "question", "prompt", "mode", "seed", "prompt_tokens", "generated_tokens"]
    names += ["finish_reason", "answer", "reference", "correct", "author", "temperature", "top_p", "max_new_tokens"]
    assert [name for name in table.columns if name not in ("verdict", "tags")] == names
    facts = [tuple(getattr(inference, name) for name in names) for inference in INFERENCES]
    assert rows(table[names]) == facts
    assert rows(table[["tags"]]) == [(", ".join(inference.tags) or None,) for inference in INFERENCES]
    assert table["verdict"].tolist() == [verdict(inference) for inference in INFERENCES]
    assert set(table["verdict"]) == {"right", "wrong", "cut off", "ungraded"}
    graded = zip(table["verdict"].tolist(), table["correct"].tolist(), strict=True)
    assert {True, False} <= {correct for word, correct in graded if word == "cut off"}  # whatever it answered


@pytest.mark.parametrize("feature", [None, 0, 5, LATENTS - 1])
def test_transcript(reader: Reader, feature: int | None) -> None:
    for index, inference in enumerate(INFERENCES):
        hookpoint = HOOKPOINTS[index % 3]
        table = queries.transcript(reader, index, None if feature is None else hookpoint, feature)
        assert list(table.columns) == ["position", "token_id", "text", "segment", "logprob", "activation"]
        found = {position: value for position, kept, value in active(inference, hookpoint, "all") if kept == feature}
        positions = range(len(inference.texts))
        logprobs = [None if np.isnan(value) else float(value) for value in inference.logprobs]
        expected = zip(
            positions, inference.token_ids, inference.texts, inference.segments, logprobs, map(found.get, positions),
            strict=True,
        )  # fmt: skip
        assert rows(table) == list(expected)


def test_a_hookpoint_alone_gives_a_transcript_without_activations(reader: Reader) -> None:
    assert queries.transcript(reader, 0, HOOKPOINTS[0])["activation"].isna().all()


@pytest.mark.parametrize(("reader", "scope", "top"), meeting(STORES, SCOPES, [1, 7, 400]), indirect=["reader"])
def test_feature_activations(reader: Reader, scope: Scope, top: int) -> None:
    for index, inference in enumerate(INFERENCES):
        for hookpoint in HOOKPOINTS if top == 7 else HOOKPOINTS[:1]:
            table = queries.feature_activations(reader, index, hookpoint, scope, top)
            assert list(table.columns) == ["feature", "position", "token_id", "text", "activation"]
            found = sorted(active(inference, hookpoint, scope), key=lambda row: (-row[2], row[1], row[0]))[:top]
            expected = [
                (feature, position, inference.token_ids[position], inference.texts[position], activation)
                for position, feature, activation in found
            ]
            assert rows(table) == expected


@pytest.mark.parametrize("scope", SCOPES)
def test_feature_frequencies(reader: Reader, scope: Scope) -> None:
    for index, inference in enumerate(INFERENCES):
        number: dict[int, int] = defaultdict(int)
        for _, feature, _ in active(inference, HOOKPOINTS[1], scope):
            number[feature] += 1
        expected = sorted(number.items(), key=lambda item: (-item[1], item[0]))
        table = queries.feature_frequencies(reader, index, HOOKPOINTS[1], scope)
        assert list(table.columns) == ["feature", "positions"]
        assert rows(table) == expected
        assert rows(queries.feature_frequencies(reader, index, HOOKPOINTS[1], scope, top=2)) == expected[:2]
    whole = Counter(feature for one in INFERENCES for _, feature, _ in active(one, HOOKPOINTS[1], scope))
    expected = sorted(whole.items(), key=lambda item: (-item[1], item[0]))
    assert rows(queries.feature_frequencies(reader, None, HOOKPOINTS[1], scope)) == expected
    assert rows(queries.feature_frequencies(reader, None, HOOKPOINTS[1], scope, top=2)) == expected[:2]


@pytest.mark.parametrize("scope", SCOPES)
def test_relevant_features(reader: Reader, scope: Scope) -> None:
    for index, inference in enumerate(INFERENCES):
        found = active(inference, HOOKPOINTS[2], scope)
        expected = [(rank, feature, maxima(found)[feature]) for rank, feature in enumerate(ranking(found), 1)]
        table = queries.relevant_features(reader, index, HOOKPOINTS[2], scope)
        assert list(table.columns) == ["rank", "feature", "max_activation"]
        assert rows(table) == expected[:10]
        assert rows(queries.relevant_features(reader, index, HOOKPOINTS[2], scope, top=3)) == expected[:3]


@pytest.mark.parametrize(("reader", "scope", "relevant"), meeting(STORES, SCOPES, [1, 4, 10]), indirect=["reader"])
def test_feature_counts(reader: Reader, scope: Scope, relevant: int) -> None:
    for hookpoint in HOOKPOINTS:
        number: dict[int, int] = defaultdict(int)
        largest: dict[int, float] = defaultdict(float)
        for inference in INFERENCES:
            found = active(inference, hookpoint, scope)
            for feature in ranking(found)[:relevant]:
                number[feature] += 1
            for feature, activation in maxima(found).items():
                largest[feature] = max(largest[feature], activation)
        order = sorted(number, key=lambda feature: (-number[feature], -largest[feature], feature))
        expected = [(feature, number[feature], len(INFERENCES), largest[feature]) for feature in order]
        table = queries.feature_counts(reader, hookpoint, scope, relevant=relevant)
        assert list(table.columns) == ["feature", "inferences", "of", "max_activation"]
        assert rows(table) == expected
        assert rows(queries.feature_counts(reader, hookpoint, scope, 2, relevant)) == expected[:2]


@pytest.mark.parametrize(("reader", "scope", "index"), meeting(STORES, SCOPES, [None, 3, 5]), indirect=["reader"])
def test_top_tokens(reader: Reader, scope: Scope, index: int | None) -> None:
    for feature in (0, 5, LATENTS - 1):
        texts: dict[int, str] = {}
        values: dict[int, list[float]] = defaultdict(list)
        for inference in INFERENCES if index is None else [INFERENCES[index]]:
            for position, kept, activation in active(inference, HOOKPOINTS[0], scope):
                if kept == feature:
                    values[int(inference.token_ids[position])].append(activation)
                    texts[int(inference.token_ids[position])] = inference.texts[position]
        order = sorted(values, key=lambda token: (-max(values[token]), token))
        expected = [
            (token, texts[token], max(values[token]), pytest.approx(np.mean(values[token])), len(values[token]))
            for token in order
        ]
        table = queries.top_tokens(reader, HOOKPOINTS[0], feature, index, scope)
        assert list(table.columns) == ["token_id", "text", "max_activation", "mean_activation", "count"]
        assert rows(table) == expected
        assert rows(queries.top_tokens(reader, HOOKPOINTS[0], feature, index, scope, top=1)) == expected[:1]


@pytest.mark.parametrize(("reader", "scope", "bins"), meeting(STORES, SCOPES, [1, 5, 50]), indirect=["reader"])
def test_activation_histogram(reader: Reader, scope: Scope, bins: int) -> None:
    for index, inference in enumerate(INFERENCES):
        table = queries.activation_histogram(reader, index, HOOKPOINTS[0], scope, bins)
        assert list(table.columns) == ["low", "high", "count"]
        values = [activation for _, _, activation in active(inference, HOOKPOINTS[0], scope)]
        if not values:
            assert table.empty
            continue
        number, edges = np.histogram(values, bins)
        assert rows(table) == list(zip(edges[:-1], edges[1:], number, strict=True))
    values = [activation for one in INFERENCES for _, _, activation in active(one, HOOKPOINTS[0], scope)]
    number, edges = np.histogram(values, bins)
    table = queries.activation_histogram(reader, None, HOOKPOINTS[0], scope, bins)
    assert rows(table) == list(zip(edges[:-1], edges[1:], number, strict=True))


@pytest.mark.parametrize("scope", SCOPES)
def test_feature_inferences(reader: Reader, scope: Scope) -> None:
    for feature in (0, 5, 11, LATENTS - 1):
        expected = []
        for index, inference in enumerate(INFERENCES):
            found = active(inference, HOOKPOINTS[1], scope)
            own = [activation for _, kept, activation in found if kept == feature]
            if own:
                peak = min(
                    position for position, kept, activation in found if (kept, activation) == (feature, max(own))
                )
                expected.append((index, len(own), max(own), ranking(found).index(feature) + 1, peak))
        table = queries.feature_inferences(reader, HOOKPOINTS[1], feature, scope)
        assert list(table.columns) == ["inference", "positions", "max_activation", "rank", "peak_position"]
        assert rows(table) == expected


@pytest.mark.parametrize("scope", SCOPES)
def test_feature_summary(reader: Reader, scope: Scope) -> None:
    for feature in range(LATENTS):
        values, inferences, relevant = [], 0, 0
        for inference in INFERENCES:
            found = active(inference, HOOKPOINTS[2], scope)
            own = [activation for _, kept, activation in found if kept == feature]
            values += own
            inferences += bool(own)
            relevant += feature in ranking(found)[:10]
        [row] = queries.feature_summary(reader, HOOKPOINTS[2], feature, scope).to_dict("records")
        assert row == {
            "hookpoint": HOOKPOINTS[2],
            "feature": feature,
            "scope": scope,
            "positions": len(values),
            "inferences": inferences,
            "relevant_inferences": relevant,
            "of": len(INFERENCES),
            "max_activation": max(values, default=0),
            "mean_activation": pytest.approx(np.mean(values) if values else 0),
        }


def vectors_of(inference: Inference, hookpoint: str, scope: Scope) -> tuple[np.ndarray, np.ndarray]:
    """Σ x over the scope, and which positions count."""
    at = np.array([counts(inference, position, scope) for position in range(len(inference.texts))], bool)
    encoding = inference.encodings[hookpoint]
    kept = {inference.segments[position] for position in np.flatnonzero(at)}
    return sum((encoding.vector_sums[segment] for segment in kept), np.zeros(5)), at


@pytest.mark.parametrize(("reader", "scope", "index"), meeting(STORES, SCOPES, [None, *INDICES]), indirect=["reader"])
def test_quality(reader: Reader, scope: Scope, index: int | None) -> None:
    table = queries.quality(reader, scope, index)
    assert list(table.columns) == ["hookpoint", "positions", "fvu", "l0", "dead_share"]
    assert list(table["hookpoint"]) == list(HOOKPOINTS)
    for hookpoint, row in zip(HOOKPOINTS, rows(table), strict=True):
        positions, error, norm, total, found = 0, 0.0, 0.0, np.zeros(5), []
        for inference in INFERENCES if index is None else [INFERENCES[index]]:
            encoding = inference.encodings[hookpoint]
            vector, at = vectors_of(inference, hookpoint, scope)
            positions += int(at.sum())
            error += float(encoding.squared_error[at].sum(dtype=float))
            norm += float(encoding.squared_norm[at].sum(dtype=float))
            total += vector
            found += active(inference, hookpoint, scope)
        if not positions:
            assert row == (hookpoint, 0, None, None, None)
            continue
        fvu = error / (norm - total @ total / positions) if positions > 1 else None
        dead = 1 - len({feature for _, feature, _ in found}) / LATENTS
        approx = [None if value is None else pytest.approx(value) for value in (fvu, len(found) / positions, dead)]
        assert row == (hookpoint, positions, *approx)


class Planned:
    """A reader that keeps how each of its queries was run."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self.plans = reader, list[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def query(self, sql: str, parameters: Any = ()) -> pd.DataFrame:
        self.plans += self._reader.query(f"EXPLAIN ANALYZE {sql}", parameters)["explain_value"].tolist()
        return self._reader.query(sql, parameters)


def test_the_vectors_of_one_inference_are_found_by_an_index(readers: dict[str, Reader]) -> None:
    for store, reader in readers.items():
        planned: Any = Planned(reader)
        queries.quality(planned, "generated", 3)
        assert ("Index Scan" in planned.plans[0]) == (store in INDEXED), store


MISTAKES: dict[str, tuple[type[Exception], Callable[[Reader], object]]] = {
    "unknown hookpoint 'layers.9.mlp': did you mean": (
        UnknownName,
        lambda reader: queries.feature_counts(reader, "layers.9.mlp"),
    ),
    "unknown scope 'thinks': did you mean 'think'?": (
        UnknownName,
        lambda reader: queries.quality(reader, "thinks"),  # pyright: ignore[reportArgumentType]
    ),
    "feature 24 is out of range: there are 24, from 0 to 23": (
        OutOfRange,
        lambda reader: queries.top_tokens(reader, HOOKPOINTS[0], 24),
    ),
    "feature -1 is out of range": (OutOfRange, lambda reader: queries.feature_summary(reader, HOOKPOINTS[0], -1)),
    "inference 12 is out of range: there are 12, from 0 to 11": (
        OutOfRange,
        lambda reader: queries.relevant_features(reader, 12, HOOKPOINTS[0]),
    ),
    "inference -1 is out of range": (OutOfRange, lambda reader: queries.transcript(reader, -1)),
    "top is 0; it must be 1 or more": (
        BadValue,
        lambda reader: queries.feature_frequencies(reader, 0, HOOKPOINTS[0], top=0),
    ),
    "bins is -3; it must be 1 or more": (
        BadValue,
        lambda reader: queries.activation_histogram(reader, 0, HOOKPOINTS[0], bins=-3),
    ),
    "relevant is 0; it must be 1 or more": (
        BadValue,
        lambda reader: queries.feature_counts(reader, HOOKPOINTS[0], relevant=0),
    ),
    "feature 3 was asked without its hookpoint": (BadValue, lambda reader: queries.transcript(reader, 0, feature=3)),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_told(readers: dict[str, Reader], message: str) -> None:
    kind, ask = MISTAKES[message]
    with pytest.raises(kind) as caught:
        ask(readers["both"])
    assert str(caught.value).startswith(message)


def test_every_scope_is_checked_by_every_query(readers: dict[str, Reader]) -> None:
    reader, wrong = readers["database"], "nowhere' OR TRUE --"
    asked: list[Callable[[], object]] = [
        lambda: queries.feature_activations(reader, 0, HOOKPOINTS[0], wrong),  # pyright: ignore[reportArgumentType]
        lambda: queries.feature_frequencies(reader, 0, HOOKPOINTS[0], wrong),  # pyright: ignore[reportArgumentType]
        lambda: queries.relevant_features(reader, 0, HOOKPOINTS[0], wrong),  # pyright: ignore[reportArgumentType]
        lambda: queries.feature_counts(reader, HOOKPOINTS[0], wrong),  # pyright: ignore[reportArgumentType]
        lambda: queries.top_tokens(reader, HOOKPOINTS[0], 0, None, wrong),  # pyright: ignore[reportArgumentType]
        lambda: queries.activation_histogram(reader, 0, HOOKPOINTS[0], wrong),  # pyright: ignore[reportArgumentType]
        lambda: queries.feature_inferences(reader, HOOKPOINTS[0], 0, wrong),  # pyright: ignore[reportArgumentType]
        lambda: queries.feature_summary(reader, HOOKPOINTS[0], 0, wrong),  # pyright: ignore[reportArgumentType]
        lambda: queries.quality(reader, wrong),  # pyright: ignore[reportArgumentType]
    ]
    for ask in asked:
        with pytest.raises(UnknownName):
            ask()


def test_an_inference_not_stored_yet_is_told_apart(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, [INFERENCES[0], INFERENCES[2]])
    with open_reader(tmp_path, EXPERIMENT.name) as reader:
        with pytest.raises(BadValue, match="inference 1 is not stored yet; run `precompute`"):
            queries.transcript(reader, 1)
        with pytest.raises(OutOfRange):
            queries.transcript(reader, 12)


def test_an_empty_experiment_answers(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, [])
    with open_reader(tmp_path, EXPERIMENT.name) as reader:
        assert queries.inferences(reader).empty
        assert queries.feature_counts(reader, HOOKPOINTS[0]).empty
        assert queries.feature_inferences(reader, HOOKPOINTS[0], 0).empty
        assert list(queries.quality(reader)["positions"]) == [0, 0, 0]
        with pytest.raises(OutOfRange, match="inference 0 is out of range: there is none yet"):
            queries.transcript(reader, 0)


@pytest.mark.parametrize("built", [0, 3])
def test_the_first_hundred_features_of_an_inference_are_ranked(tmp_path: Path, built: int) -> None:
    shape = SaeShape(num_latents=1000, k=40, d_in=5, activation="topk")
    experiment = EXPERIMENT.model_copy(update={"saes": dict.fromkeys(HOOKPOINTS, shape)})
    drawn = sample_inferences(experiment, 3)
    write_sample(tmp_path, experiment, drawn, built)
    with open_reader(tmp_path, experiment.name) as reader:
        for index, inference in enumerate(drawn):
            order = ranking(active(inference, HOOKPOINTS[0], "all"))
            assert len(order) > 100
            found = reader.query(
                "SELECT feature FROM relevant_features WHERE hookpoint = $1 AND scope = 'all' AND inference = $2"
                " ORDER BY rank",
                [HOOKPOINTS[0], index],
            )
            assert found["feature"].tolist() == order[:100]
        orders = [ranking(active(inference, HOOKPOINTS[0], "all")) for inference in drawn]
        behind = min(set().union(*orders) - set().union(*(order[:10] for order in orders)))
        summary = queries.feature_summary(reader, HOOKPOINTS[0], behind, "all")
        assert summary["relevant_inferences"].tolist() == [0]
        assert reader.query("FROM feature_stats WHERE relevant_inferences IS NULL").empty


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), built=st.integers(0, 4))
def test_a_database_and_segment_files_answer_as_one(
    tmp_path_factory: pytest.TempPathFactory, seed: int, built: int
) -> None:
    drawn = sample_inferences(EXPERIMENT, 4, seed)
    cache = tmp_path_factory.mktemp("random")
    write_sample(cache, EXPERIMENT, drawn, built)
    with open_reader(cache, EXPERIMENT.name) as reader:
        for scope in SCOPES:
            expected: dict[int, int] = defaultdict(int)
            for inference in drawn:
                for feature in ranking(active(inference, HOOKPOINTS[0], scope))[:10]:
                    expected[feature] += 1
            table = queries.feature_counts(reader, HOOKPOINTS[0], scope)
            assert dict(zip(table["feature"], table["inferences"], strict=True)) == expected

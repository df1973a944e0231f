"""The queries of the explorer against pandas on the raw records, for every scope and every kind of store."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from covering import meeting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from query_oracle import Oracle
from store_samples import HOOKPOINTS, sample_experiment, sample_inferences, write_sample

from kthink_core import queries
from kthink_core.errors import BadValue, OutOfRange, UnknownName
from kthink_core.lift import standing_out
from kthink_core.queries import RANKINGS, SCOPES, SORTS, Ranking, Scope, Sort
from kthink_core.queries.context_groups import Likeness
from kthink_core.queries.contexts import MOST_PAGES, shown_contexts
from kthink_core.store.reader import Reader, open_reader

EXPERIMENT = sample_experiment()
INFERENCES = sample_inferences(EXPERIMENT)
EVERY = tuple(range(len(INFERENCES)))
STORES = {
    "increment": (EVERY, 0),
    "both": (EVERY, 5),
    "increments": (EVERY, 2),
    "database": (EVERY, len(EVERY)),
    "without answers": ((2, 6), 1),  # both cut off
    "without thoughts": ((1, 5), 1),  # one right, one wrong
}
"""Which inferences are stored, how many of them in the main database; the others are in one or more beside it."""
FEATURES = (0, 5, 11, 20)
"""The last is never active."""
Asked = tuple[Reader, Oracle]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Asked]]:
    opened, oracles = {}, {kept: Oracle([INFERENCES[index] for index in kept]) for kept, _ in STORES.values()}
    for name, (kept, built) in STORES.items():
        cache, drawn = tmp_path_factory.mktemp("store"), [INFERENCES[index] for index in kept]
        write_sample(cache, EXPERIMENT, drawn, built, shown=name == "increments")
        opened[name] = open_reader(cache, EXPERIMENT.name), oracles[kept]
    yield opened
    for reader, _ in opened.values():
        reader.close()


@pytest.fixture(params=STORES)
def asked(stores: dict[str, Asked], request: pytest.FixtureRequest) -> Asked:
    return stores[request.param]


def agree(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Same columns in the same order, same rows in the same order; floats to 1e-6, a missing value is missing."""
    assert list(found.columns) == list(expected.columns)
    assert len(found) == len(expected), f"{found}\n{expected}"
    for name in found.columns:
        ours, theirs = found[name].tolist(), expected[name].tolist()
        for one, other in zip(ours, theirs, strict=True):
            if pd.isna(other):
                assert pd.isna(one), name
            elif isinstance(other, float):
                assert math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9), (name, one, other)
            else:
                assert one == other, name


@pytest.mark.parametrize("top", [1, 3, 8])
def test_token_features(asked: Asked, top: int) -> None:
    reader, oracle = asked
    for inference in reader.inference_ids:
        found = queries.token_features(reader, inference, HOOKPOINTS[1], top)
        agree(found, oracle.token_features(inference, HOOKPOINTS[1], top))


@pytest.mark.parametrize("features", [FEATURES, (11, 0, 11), (20,), ()])
def test_feature_tracks(asked: Asked, features: tuple[int, ...]) -> None:
    reader, oracle = asked
    for inference in reader.inference_ids:
        found = queries.feature_tracks(reader, inference, HOOKPOINTS[0], features)
        if features:
            agree(found, oracle.feature_tracks(inference, HOOKPOINTS[0], features))
        else:
            assert found.empty


@pytest.mark.parametrize(
    ("asked", "scope", "features"), meeting(STORES, SCOPES, [FEATURES, (11, 0, 11), ()]), indirect=["asked"]
)
def test_feature_maxima(asked: Asked, features: tuple[int, ...], scope: Scope) -> None:
    reader, oracle = asked
    found = queries.feature_maxima(reader, HOOKPOINTS[2], features, scope)
    agree(found, oracle.feature_maxima(HOOKPOINTS[2], features, scope))


@pytest.mark.parametrize(
    ("asked", "scope", "features"), meeting(STORES, SCOPES, [FEATURES, (11, 0, 11), ()]), indirect=["asked"]
)
def test_feature_shares(asked: Asked, features: tuple[int, ...], scope: Scope) -> None:
    reader, oracle = asked
    number = oracle.size(scope)
    own = [(feature, len(oracle.at(HOOKPOINTS[2], scope, feature=feature))) for feature in dict.fromkeys(features)]
    rows = [(feature, active / number if number else np.nan) for feature, active in own]
    wanted = pd.DataFrame(rows, columns=["feature", "share"])
    agree(queries.feature_shares(reader, HOOKPOINTS[2], features, scope), wanted)


@pytest.mark.parametrize(("asked", "scope", "factor"), meeting(STORES, SCOPES, [0.5, 1, 2]), indirect=["asked"])
def test_feature_percentiles(asked: Asked, scope: Scope, factor: float) -> None:
    """At, below and above the largest maxima; a tie is not below."""
    reader, oracle = asked
    rows = []
    for feature in FEATURES:
        own = oracle.at(HOOKPOINTS[2], scope, feature=feature).groupby("inference")["activation"].max().tolist()
        value = float(factor * max(own, default=1))
        reached = sum(largest >= value for largest in own)
        stored = max(own, default=np.nan)
        rows.append((feature, value, stored, len(own), 1 - reached / oracle.inferences, value / stored))
    names = ["feature", "max_activation", "stored_maximum", "active_inferences", "percentile", "excess"]
    wanted = pd.DataFrame(rows, columns=names)
    values = tuple(wanted["max_activation"].tolist())
    found = queries.feature_percentiles(reader, HOOKPOINTS[2], FEATURES, values, scope)
    order = wanted.assign(excess=wanted["excess"].fillna(np.inf)).sort_values(
        ["percentile", "excess", "max_activation", "feature"], ascending=[False, False, False, True]
    )
    agree(found, wanted.loc[order.index])
    with pytest.raises(BadValue, match="maxima"):
        queries.feature_percentiles(reader, HOOKPOINTS[2], FEATURES, values[1:], scope)


@pytest.mark.parametrize(("asked", "scope", "ranking"), meeting(STORES, SCOPES, RANKINGS), indirect=["asked"])
def test_ranked_features(asked: Asked, scope: Scope, ranking: Ranking) -> None:
    reader, oracle = asked
    for inference in reader.inference_ids:
        top = 2 if inference % 3 == 0 else 100
        found = queries.ranked_features(reader, inference, HOOKPOINTS[1], scope, ranking, top)
        agree(found, oracle.ranked_features(inference, HOOKPOINTS[1], scope, ranking, top))


@pytest.mark.parametrize("span", [(0, 0), (2, 4), (3, 3), (2, 9), (0, 500), (-3, 1), (400, 500)])
def test_span_features(asked: Asked, span: tuple[int, int]) -> None:
    reader, oracle = asked
    for inference in reader.inference_ids:
        top = 2 if inference % 3 == 0 else 50
        found = queries.span_features(reader, inference, HOOKPOINTS[0], *span, top)
        agree(found, oracle.span_features(inference, HOOKPOINTS[0], *span, top))


def test_what_fires_once_by_chance_does_not_lead_a_span() -> None:
    """In a span of 8 of 238 positions: a lift of 77 that rests on one firing."""
    rows = [(1, 1, 0), (2, 8, 60), (3, 6, 20), (4, 3, 0), (5, 2, 1)]
    counts = pd.DataFrame(rows, columns=["feature", "positions", "rest"])
    counts = counts.assign(span_size=8, rest_size=230, mean_activation=1.0, max_activation=2.0)
    found = standing_out(counts, 10)
    assert found["feature"].tolist() == [4, 5, 3, 2]
    assert found["lift"].gt(found["lift_low"]).all() and found["lift"].lt(found["lift_high"]).all()
    alone = standing_out(counts.assign(span_size=3, positions=1), 10)
    assert alone["feature"].tolist() == [1, 4, 5, 3, 2]  # nothing can fire often in three
    assert standing_out(counts.head(0), 10).empty


@pytest.mark.parametrize(
    ("asked", "scope", "shown"),
    meeting(STORES, SCOPES, [(10, 4, 12), (1, 1, 1), (400, 400, 2), (3, 2, 3), (1, 1, 2, 3), (2, 1, 4, 2)]),
    indirect=["asked"],
)
def test_contexts(asked: Asked, scope: Scope, shown: tuple[int, ...]) -> None:
    """How many at the top, how many sampled, how far they reach, and how many pages."""
    reader, oracle = asked
    for feature in FEATURES:
        found = queries.contexts(reader, HOOKPOINTS[2], feature, scope, *shown)
        agree(found, oracle.contexts(HOOKPOINTS[2], feature, scope, *shown))


@pytest.mark.parametrize(("before", "after"), [(12, 12), (0, 0), (1, 3)])
def test_context_tokens(asked: Asked, before: int, after: int) -> None:
    reader, oracle = asked
    first, last = reader.inference_ids[0], reader.inference_ids[-1]
    for places in [((last, 2), (first, 0), (first, 4), (last, 2)), ((first, 900),), ()]:
        for feature in FEATURES:
            found = queries.context_tokens(reader, HOOKPOINTS[1], feature, places, before, after)
            agree(found, oracle.context_tokens(HOOKPOINTS[1], feature, places, before, after))


@pytest.mark.parametrize(("asked", "scope", "bins"), meeting(STORES, SCOPES, [1, 7]), indirect=["asked"])
def test_feature_histogram(asked: Asked, scope: Scope, bins: int) -> None:
    reader, oracle = asked
    for feature in FEATURES:
        found = queries.feature_histogram(reader, HOOKPOINTS[0], feature, scope, bins)
        agree(found, oracle.feature_histogram(HOOKPOINTS[0], feature, scope, bins))


def test_feature_contrast(asked: Asked) -> None:
    reader, oracle = asked
    for hookpoint in HOOKPOINTS:
        for feature in FEATURES:
            agree(queries.feature_contrast(reader, hookpoint, feature), oracle.feature_contrast(hookpoint, feature))


@pytest.mark.parametrize(("asked", "scope", "top"), meeting(STORES, SCOPES, [2, 20]), indirect=["asked"])
def test_fires_with(asked: Asked, scope: Scope, top: int) -> None:
    reader, oracle = asked
    for feature in FEATURES:
        found = queries.fires_with(reader, HOOKPOINTS[0], feature, scope, top)
        agree(found, oracle.fires_with(HOOKPOINTS[0], feature, scope, top))


@pytest.mark.parametrize("scope", SCOPES)
def test_feature_pair(asked: Asked, scope: Scope) -> None:
    reader, oracle = asked
    for one, other in [(0, 5), (5, 0), (3, 3), (0, 20), (20, 21)]:
        found = queries.feature_pair(reader, HOOKPOINTS[1], one, other, scope)
        agree(found, oracle.feature_pair(HOOKPOINTS[1], one, other, scope))


@pytest.mark.parametrize(("asked", "scope", "sort"), meeting(STORES, SCOPES, SORTS), indirect=["asked"])
def test_feature_table(asked: Asked, scope: Scope, sort: Sort) -> None:
    reader, oracle = asked
    for relevant, top, features in [(10, 100, None), (1, 3, None), (100, 100, FEATURES), (10, 100, ())]:
        found = queries.feature_table(reader, HOOKPOINTS[2], scope, sort, relevant, top, features)
        agree(found, oracle.feature_table(HOOKPOINTS[2], scope, sort, relevant, top, features))


@pytest.mark.parametrize(
    ("asked", "scope", "features"), meeting(STORES, SCOPES, [FEATURES, (11, 0, 11), ()]), indirect=["asked"]
)
def test_feature_matrix(asked: Asked, scope: Scope, features: tuple[int, ...]) -> None:
    reader, oracle = asked
    found = queries.feature_matrix(reader, HOOKPOINTS[0], scope, features)
    agree(found, oracle.feature_matrix(HOOKPOINTS[0], scope, features))


@pytest.mark.parametrize("scope", SCOPES)
def test_feature_search(asked: Asked, scope: Scope) -> None:
    reader, oracle = asked
    for text in ["wait", " W", "OK", " okay", "\n", "%", "_", "it's", "🙂", "שלו", "\\x", "</span>", ""]:
        found = queries.feature_search(reader, HOOKPOINTS[1], scope, text)
        agree(found, oracle.feature_search(HOOKPOINTS[1], scope, text, 200))
    found = queries.feature_search(reader, HOOKPOINTS[1], scope, "o", 3)
    agree(found, oracle.feature_search(HOOKPOINTS[1], scope, "o", 3))


@pytest.mark.parametrize("scope", SCOPES)
def test_top_tokens_of(asked: Asked, scope: Scope) -> None:
    reader, oracle = asked
    for features, top in [(FEATURES, 5), ((11, 0, 11), 2), (tuple(range(24)), 9)]:
        found = queries.top_tokens_of(reader, HOOKPOINTS[1], features, scope, top)
        agree(found, oracle.top_tokens_of(HOOKPOINTS[1], features, scope, top))
    for feature in FEATURES:
        alone = queries.top_tokens(reader, HOOKPOINTS[1], feature, None, scope, 5)
        beside = queries.top_tokens_of(reader, HOOKPOINTS[1], (feature,), scope)
        assert beside["token_id"].tolist() == alone["token_id"].tolist()


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), built=st.integers(0, 4), relevant=st.integers(1, 100))
def test_a_database_and_segment_files_answer_as_one(
    tmp_path_factory: pytest.TempPathFactory, seed: int, built: int, relevant: int
) -> None:
    drawn = sample_inferences(EXPERIMENT, 4, seed)
    cache, oracle, hookpoint = tmp_path_factory.mktemp("random"), Oracle(drawn), HOOKPOINTS[seed % 3]
    write_sample(cache, EXPERIMENT, drawn, built)
    with open_reader(cache, EXPERIMENT.name) as reader:
        for scope in SCOPES:
            table = queries.feature_table(reader, hookpoint, scope, "right", relevant)
            agree(table, oracle.feature_table(hookpoint, scope, "right", relevant, 100, None))
            for feature in range(3):
                found = queries.fires_with(reader, hookpoint, feature, scope)
                agree(found, oracle.fires_with(hookpoint, feature, scope, 20))
                found = queries.contexts(reader, hookpoint, feature, scope)
                agree(found, oracle.contexts(hookpoint, feature, scope, 10, 4, 12))
            for text in ("o", " "):
                found = queries.feature_search(reader, hookpoint, scope, text)
                agree(found, oracle.feature_search(hookpoint, scope, text, 200))


@pytest.mark.parametrize("scope", SCOPES)
def test_a_sample_is_the_same_each_time(asked: Asked, scope: Scope) -> None:
    reader, _ = asked
    one, other = (queries.contexts(reader, HOOKPOINTS[2], 5, scope, 10, 1) for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


def test_the_quarters_of_a_sample_hold_what_they_say(stores: dict[str, Asked]) -> None:
    reader, oracle = stores["database"]
    found = queries.contexts(reader, HOOKPOINTS[0], 5, "all", 1, 400, 1)
    largest = oracle.at(HOOKPOINTS[0], "all", feature=5)["activation"].astype(float).max()
    quarters = found[found["band"] != "highest"].groupby("band")
    assert len(quarters) > 1
    for band, own in quarters:
        low, high = (int(band) - 1) / 4 * largest, int(band) / 4 * largest
        assert own["activation"].gt(low).all() and own["activation"].le(high).all()


def test_one_sentence_is_shown_once(tmp_path: Path) -> None:
    """Four inferences that say the same: one context, which says how many more there are; nothing twice."""
    (said,) = sample_inferences(EXPERIMENT, 1)
    write_sample(tmp_path, EXPERIMENT, [replace(said, inference=number) for number in range(4)])
    with open_reader(tmp_path, EXPERIMENT.name) as reader:
        for feature in FEATURES[:3]:
            found = queries.contexts(reader, HOOKPOINTS[0], feature, "all")
            fires = reader.query(
                "SELECT position FROM latents WHERE hookpoint = $1 AND feature = $2 AND inference = 0",
                [HOOKPOINTS[0], feature],
            )
            assert len(found) and found["inference"].eq(0).all()
            assert found["alike"].ge(3).all() and not found[["inference", "position"]].duplicated().any()
            assert found["position"].sort_values().diff().dropna().gt(24).all()
            assert found["times"].sum() <= len(fires)


@pytest.mark.parametrize(("asked", "scope"), list(zip(STORES, cycle(SCOPES), strict=False)), indirect=["asked"])
def test_pages_repeat_nothing_leave_nothing_out_and_stay(asked: Asked, scope: Scope) -> None:
    """Each position that a feature fires at is shown, or counted with one context, exactly once."""
    reader, oracle = asked
    for feature in FEATURES[1:]:
        fired = oracle.at(HOOKPOINTS[2], scope, feature=feature)
        everywhere = sorted(zip(fired["inference"].tolist(), fired["position"].tolist(), strict=True))
        pages = [
            queries.context_positions(reader, HOOKPOINTS[2], feature, scope, 1, 1, 2, pages=pages)
            for pages in (1, 2, 3, MOST_PAGES)
        ]
        shown = [shown_contexts(table) for table in pages]
        for before, after in pairwise(shown):
            kept = after[after["page"] <= before["page"].max()]
            same = ["page", "band", "inference", "position", "activation", "times"]
            pd.testing.assert_frame_equal(kept[same], before[same])
            assert (kept["more_positions"] >= before["more_positions"]).all()
        for contexts, table in zip(shown, pages, strict=True):
            places = list(zip(table["inference"].tolist(), table["position"].tolist(), strict=True))
            assert len({*places}) == len(places) and {*places} <= {*everywhere}
            assert (contexts["more_positions"] + 1).sum() == len(places)
            assert not contexts[["inference", "position"]].duplicated().any()
        whole = queries.context_positions(reader, HOOKPOINTS[2], feature, scope, 400, 400, 2)
        assert sorted(zip(whole["inference"].tolist(), whole["position"].tolist(), strict=True)) == everywhere
        pd.testing.assert_frame_equal(
            shown_contexts(whole), queries.contexts(reader, HOOKPOINTS[2], feature, scope, 400, 400, 2)
        )


def test_a_sentence_is_the_same_whatever_stands_around_it_but_not_with_other_numbers() -> None:
    rows, middles = [], []
    for place, (before, said) in enumerate(
        [("one two three four", "Wait , 5 + 7 ."), ("five six seven eight", "Wait , 5 + 7 ."),
         ("five six seven eight", "Wait , 5 + 8 !"), ("nine ten", "So , 5 + 7 ."), ("one two three four", "So it is .")]
    ):  # fmt: skip
        texts = [f" {text}" for text in [*before.split(), ".", *said.split()]]
        rows += [(place, at, hash(text) % 10**6, text) for at, text in enumerate(texts)]
        middles.append(texts.index(" .") + 1)
    like = Likeness(pd.DataFrame(rows, columns=["place", "position", "token_id", "text"]), middles)
    assert [like.to(place).nonzero()[0].tolist() for place in range(5)] == [[0, 1], [0, 1, 2], [1, 2], [3], [4]]


MISTAKES: dict[str, tuple[type[Exception], Callable[[Reader], object]]] = {
    "unknown ranking 'loudest': known: maximum, mean, frequency, lift": (
        UnknownName,
        lambda reader: queries.ranked_features(reader, 0, HOOKPOINTS[0], ranking="loudest"),  # pyright: ignore[reportArgumentType]
    ),
    "unknown sort 'rigth': did you mean 'right'?": (
        UnknownName,
        lambda reader: queries.feature_table(reader, HOOKPOINTS[0], sort="rigth"),  # pyright: ignore[reportArgumentType]
    ),
    "relevant is 101; the first 100 features of an inference are stored": (
        BadValue,
        lambda reader: queries.feature_counts(reader, HOOKPOINTS[0], relevant=101),
    ),
    "the span from 5 to 4 ends before it begins": (
        BadValue,
        lambda reader: queries.span_features(reader, 0, HOOKPOINTS[0], 5, 4),
    ),
    "feature 24 is out of range": (
        OutOfRange,
        lambda reader: queries.feature_matrix(reader, HOOKPOINTS[0], "all", (0, 24)),
    ),
    "feature -1 is out of range": (OutOfRange, lambda reader: queries.feature_pair(reader, HOOKPOINTS[0], 0, -1)),
    "inference 12 is out of range": (
        OutOfRange,
        lambda reader: queries.context_tokens(reader, HOOKPOINTS[0], 0, ((12, 0),)),
    ),
    "pages is 11; it must be 10 at most": (
        BadValue,
        lambda reader: queries.contexts(reader, HOOKPOINTS[0], 0, pages=11),
    ),
    "sampled is 0; it must be 1 or more": (
        BadValue,
        lambda reader: queries.contexts(reader, HOOKPOINTS[0], 0, sampled=0),
    ),
    "before is -1; it must be 0 or more": (
        BadValue,
        lambda reader: queries.context_tokens(reader, HOOKPOINTS[0], 0, (), before=-1),
    ),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_told(stores: dict[str, Asked], message: str) -> None:
    kind, ask = MISTAKES[message]
    with pytest.raises(kind) as caught:
        ask(stores["database"][0])
    assert str(caught.value).startswith(message)


def test_every_scope_is_checked_by_every_query(stores: dict[str, Asked]) -> None:
    reader, hookpoint, wrong = stores["database"][0], HOOKPOINTS[0], "nowhere' OR TRUE --"
    asks: list[Callable[[Scope], object]] = [
        lambda scope: queries.ranked_features(reader, 0, hookpoint, scope),
        lambda scope: queries.feature_maxima(reader, hookpoint, (0,), scope),
        lambda scope: queries.contexts(reader, hookpoint, 0, scope),
        lambda scope: queries.feature_histogram(reader, hookpoint, 0, scope),
        lambda scope: queries.fires_with(reader, hookpoint, 0, scope),
        lambda scope: queries.feature_pair(reader, hookpoint, 0, 1, scope),
        lambda scope: queries.feature_table(reader, hookpoint, scope),
        lambda scope: queries.feature_matrix(reader, hookpoint, scope, (0,)),
        lambda scope: queries.feature_search(reader, hookpoint, scope, "a"),
    ]
    for ask in asks:
        with pytest.raises(UnknownName):
            ask(wrong)  # pyright: ignore[reportArgumentType]


def test_an_empty_experiment_answers(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, [])
    with open_reader(tmp_path, EXPERIMENT.name) as reader:
        hookpoint = HOOKPOINTS[0]
        for empty in (
            queries.contexts(reader, hookpoint, 0),
            queries.feature_histogram(reader, hookpoint, 0),
            queries.fires_with(reader, hookpoint, 0),
            queries.neighbours(reader, hookpoint, 0),
            queries.promoted_tokens(reader, hookpoint, 0),
            queries.feature_table(reader, hookpoint, sort="right"),
            queries.feature_matrix(reader, hookpoint, "all", (0,)),
            queries.feature_search(reader, hookpoint, "all", ""),
        ):
            assert empty.empty
        assert queries.feature_pair(reader, hookpoint, 0, 1).to_numpy().tolist() == [[0, 0, 0, 0]]
        assert queries.feature_contrast(reader, hookpoint, 0)["positions"].tolist() == [0, 0, 0, 0]
        assert queries.feature_maxima(reader, hookpoint, (3,))["max_activation"].tolist() == [0]

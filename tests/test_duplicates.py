"""Families of features, against sets of positions in plain Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kthink_core.errors import BadValue, UnknownName
from kthink_core.evidence.duplicates import SUPPORT, families
from kthink_core.queries import SCOPES, Scope
from kthink_core.records import Directions, Inference
from kthink_core.store.reader import Reader, open_reader
from kthink_core.store.scopes import SEGMENTS_OF
from kthink_core.store.writer import open_writer
from tests.store_samples import HOOKPOINTS, TEXTS, sample_experiment, sample_inferences, write_sample

EXPERIMENT = sample_experiment(inferences=12)
INFERENCES = sample_inferences(EXPERIMENT)
HOOKPOINT = HOOKPOINTS[0]
Places = dict[int, set[tuple[int, int]]]


def near(features: NDArray[np.int32]) -> Directions:
    """Each feature's nearest are the three after it, in a circle: at 0.9 where their sum can be divided by five."""
    neighbours = np.stack([np.roll(features, -step) for step in (1, 2, 3)], axis=1)
    cosines = np.where((neighbours + features[:, None]) % 5 == 0, 0.9, 0.3).astype(np.float32)
    tokens = np.zeros((len(features), 1), np.int32)
    logits = np.ones((len(features), 1), np.float32)
    return Directions(features, neighbours, cosines, tokens, logits, tokens, logits)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    cache = tmp_path_factory.mktemp("store")
    with open_writer(cache, EXPERIMENT) as writer:
        for inference in INFERENCES:
            writer.append(inference)
        texts = dict(enumerate(TEXTS))
        writer.put_directions({name: near(kept) for name, kept in writer.active_features.items()}, texts)
        writer.build()
    with open_reader(cache, EXPERIMENT.name) as opened:
        yield opened


def fired(inferences: list[Inference], scope: Scope) -> tuple[Places, list[dict[int, float]]]:
    """Where each feature fires, and, by inference, the maximum of each."""
    places: Places = {}
    maxima: list[dict[int, float]] = []
    for inference in inferences:
        encoding = inference.encodings[HOOKPOINT]
        most: dict[int, float] = {}
        for position, segment in enumerate(inference.segments):
            for feature, activation in zip(encoding.features[position], encoding.activations[position], strict=True):
                if activation > 0 and segment in SEGMENTS_OF[scope]:
                    places.setdefault(int(feature), set()).add((inference.inference, position))
                    most[int(feature)] = max(most.get(int(feature), 0), float(activation))
        maxima.append(most)
    return places, maxima


def expected(scope: Scope, overlap: float, cosine: float, top: int, cosines: Mapping[tuple[int, int], float]) -> list:
    places, maxima = fired(INFERENCES, scope)
    relevant = dict.fromkeys(places, 0)
    for most in maxima:
        for feature in sorted(most, key=lambda one: (-most[one], one))[:10]:
            relevant[feature] += 1
    largest = {feature: max(most.get(feature, 0) for most in maxima) for feature in places}
    order = sorted(places, key=lambda one: (-relevant[one], -largest[one], one))[:top]
    rows, taken = [], set()
    for first in order:
        if first in taken:
            continue
        found = []
        for other in order:
            both, either = len(places[first] & places[other]), len(places[first] | places[other])
            likeness = cosines.get((first, other), cosines.get((other, first)))
            same = both / either >= overlap and both >= SUPPORT
            if other not in taken and (other == first or same or (likeness or 0) >= cosine):
                found.append((other != first, -both / either, other, both, likeness))
        taken |= {row[2] for row in found}
        for is_other, negative, feature, both, likeness in sorted(found, key=lambda row: row[:3]):
            known = likeness if is_other else 1.0
            rows.append((first, feature, len(found), relevant[feature], len(places[feature]), both, -negative, known))
    return rows


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("overlap", "cosine", "top"), [(0.5, 0.7, 1000), (0.3, 1.0, 1000), (0.9, 0.7, 7)])
def test_families_are_those_of_plain_sets(
    reader: Reader, scope: Scope, overlap: float, cosine: float, top: int
) -> None:
    made = near(np.array(sorted(fired(INFERENCES, "all")[0]), np.int32))
    cosines = {
        (int(feature), int(neighbour)): float(value)
        for feature, others, values in zip(made.features, made.neighbours, made.cosines, strict=True)
        for neighbour, value in zip(others, values, strict=True)
    }
    found = families(reader, HOOKPOINT, scope, overlap, cosine, top)
    wanted = expected(scope, overlap, cosine, top, cosines)
    assert [row[:6] for row in found.itertuples(index=False)] == [row[:6] for row in wanted]
    assert found["overlap"].tolist() == pytest.approx([row[6] for row in wanted])
    assert found["cosine"].tolist() == pytest.approx(
        [np.nan if row[7] is None else row[7] for row in wanted], nan_ok=True
    )
    assert (found["members"] > 1).any() or cosine == 1


def test_of_an_experiment_without_directions_only_shared_positions_count(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, INFERENCES)
    with open_reader(tmp_path, EXPERIMENT.name) as reader:
        found = families(reader, HOOKPOINT, "all", overlap=0.3)
    assert found.loc[found["feature"] != found["family"], "cosine"].isna().all()
    assert (found["members"] > 1).any()


def test_without_a_firing_there_are_none(tmp_path: Path) -> None:
    write_sample(tmp_path, EXPERIMENT, [])
    with open_reader(tmp_path, EXPERIMENT.name) as reader:
        assert families(reader, HOOKPOINT).empty


def test_mistakes_are_told(reader: Reader) -> None:
    for overlap, cosine in ((0, 0.5), (1.01, 0.5), (0.5, -1), (float("nan"), 0.5)):
        with pytest.raises(BadValue, match="must be above 0"):
            families(reader, HOOKPOINT, overlap=overlap, cosine=cosine)
    with pytest.raises(BadValue, match="top is 0"):
        families(reader, HOOKPOINT, top=0)
    with pytest.raises(UnknownName):
        families(reader, "layers.3.mlp")
    with pytest.raises(UnknownName):
        families(reader, HOOKPOINT, "everything")  # pyright: ignore[reportArgumentType]

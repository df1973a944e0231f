"""Tests of features as they are run and stored: controls first, once a hookpoint, then the features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

import kthink_core
from kthink_core import queries
from kthink_core.errors import BadValue
from kthink_core.evidence.driving_tokens import SCOPE, drivers_of, firing_features
from kthink_core.evidence.injection_test import SCREENED, TEXTS, Probe, Tested, draw_controls, examine
from kthink_core.evidence.strategies import Drivers, inject
from kthink_core.identity import maker
from kthink_core.queries.checks import check_feature
from kthink_core.store.injections import Control, Controls, Injection, Origin, Shown, Tried, read_controls, save
from kthink_core.store.reader import Reader

_Item = TypeVar("_Item")

_TOGETHER = 10
"""Features that are tested at a time: what is done is stored after each such group."""
_SHOWN = 6
"""Texts that are stored with a result: the first that were measured, whatever they show."""


class Reading(Probe, Protocol):
    """A probe that also tells a text token by token."""

    def activations(self, feature: int, token_ids: Sequence[int]) -> NDArray[np.float64]:
        """[positions]"""
        ...


class Materials(NamedTuple):
    """What a run needs of others."""

    reader: Reader
    """Of the experiment whose features are tested."""
    hookpoint: str
    probe: Reading
    word: Callable[[int], str]
    """The text of a token id."""
    texts_from: str
    """Where the texts come from, for a reader."""
    seed: int


class Step(NamedTuple):
    """How far a run is."""

    done: int
    of: int
    """Features, the controls among them where they have to be tested first."""
    result: Injection | None = None
    """What is stored since the last step."""


def run(materials: Materials, features: Sequence[int]) -> Iterator[Step]:
    """Test features and store each result; a step after each.

    Raises UnknownName, OutOfRange, BadValue for texts that are too few or too short, DiskFull.
    """
    reader, hookpoint = materials.reader, materials.hookpoint
    for feature in features:
        check_feature(reader, hookpoint, feature)
    origin = _origin(materials)
    features = list(dict.fromkeys(features))
    strangers = draw_controls(
        firing_features(reader, hookpoint), materials.seed, partial(drivers_of, reader, hookpoint)
    )
    stored = read_controls(reader.layout, origin)
    done, of = 0, len(features) + (0 if stored else len(strangers))
    yield Step(done, of)
    if stored is None:
        found: list[Control] = []
        for part in _parts(strangers):
            tested = examine(materials.probe, part, materials.seed)
            found += [Control(feature=one.feature, verdict=one.verdict) for one in tested]
            done += len(part)
            yield Step(done, of)
        stored = Controls(origin=origin, controls=tuple(found))
        save(reader.layout, stored)
    for part in _parts(features):
        drivers = [drivers_of(reader, hookpoint, feature) for feature in part]
        for one, driving in zip(examine(materials.probe, drivers, materials.seed, strangers), drivers, strict=True):
            document = _document(materials, origin, one, driving, stored)
            save(reader.layout, document)
            done += 1
            yield Step(done, of, document)


def _parts(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    return [items[first : first + _TOGETHER] for first in range(0, len(items), _TOGETHER)]


def check_texts(texts: Sequence[Sequence[int]], short: int, where: str) -> None:
    """Raises BadValue where there are fewer texts than the test takes. short: how many were too short to count."""
    if len(texts) < TEXTS:
        left_out = f"; {short} shorter ones were left out" if short else ""
        raise BadValue(
            f"{where} gives {len(texts)} texts that are long enough, the test takes {TEXTS}{left_out}; name a file "
            "with more text, a text a line, with --texts"
        )


def _origin(materials: Materials) -> Origin:
    made = maker(materials.reader.experiment, materials.hookpoint)
    assert made is not None  # checked with the features
    ids = [list(map(int, text)) for text in materials.probe.texts]
    return Origin(
        model=made.model,
        sae=made.sae,
        site=made.site,
        hookpoint=materials.hookpoint,
        kthink=kthink_core.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=materials.seed,
        texts="sha256:" + hashlib.sha256(repr(ids).encode()).hexdigest(),
        texts_from=materials.texts_from,
    )


def _document(materials: Materials, origin: Origin, tested: Tested, drivers: Drivers, controls: Controls) -> Injection:
    best = tested.best
    summary = queries.feature_summary(materials.reader, materials.hookpoint, tested.feature, SCOPE).iloc[0]
    effect = tested.other_effect
    return Injection(
        origin=origin,
        feature=tested.feature,
        verdict=tested.verdict,
        strategy=best.strategy if best else None,
        d=best.d if best else None,
        p=best.p if best else None,
        p_best=tested.p_best,
        n=best.texts if best else 0,
        fires_in=tested.fires_in,
        reasoning_positions=int(summary["positions"]),
        reasoning_max=float(summary["max_activation"]),
        tokens=tuple(materials.word(unit[0])[:200] for unit in drivers.tokens),
        tried=tuple(Tried(**trial._asdict()) for trial in tested.trials),
        other=tested.other,
        other_d=effect.d if effect else None,
        other_p=effect.p if effect else None,
        controls=controls.controls,
        shown=_shown(materials, tested, drivers),
    )


def _shown(materials: Materials, tested: Tested, drivers: Drivers) -> tuple[Shown, ...]:
    """Some of the texts that the verdict rests on, token by token."""
    if tested.best is None:
        return ()
    strategy, probe = tested.best.strategy, materials.probe
    shown = []
    for number in range(SCREENED, SCREENED + _SHOWN):
        changed = inject(strategy, drivers, probe.texts[number], number, materials.seed)
        places = set(changed.places)
        activations = probe.activations(tested.feature, changed.token_ids)
        shown.append(
            Shown(
                strategy=strategy,
                texts=tuple(materials.word(token_id)[:200] for token_id in changed.token_ids),
                token_ids=changed.token_ids,
                injected=tuple(place in places for place in range(len(changed.token_ids))),
                activations=tuple(round(value, 4) for value in activations.tolist()),
            )
        )
    return tuple(shown)

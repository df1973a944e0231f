"""Checks of what a query is asked with, and the SQL of a scope."""

from __future__ import annotations

from collections.abc import Iterable

from kthink_core.errors import BadValue, OutOfRange, UnknownName
from kthink_core.store.reader import Reader
from kthink_core.store.scopes import SCOPES, SEGMENTS_OF, Scope


def check_hookpoint(reader: Reader, hookpoint: str) -> None:
    """Raises UnknownName."""
    if hookpoint not in reader.experiment.saes:
        raise UnknownName("hookpoint", hookpoint, reader.experiment.saes)


def check_feature(reader: Reader, hookpoint: str, feature: int) -> None:
    """Raises UnknownName for the hookpoint, OutOfRange for the feature."""
    check_hookpoint(reader, hookpoint)
    size = reader.experiment.saes[hookpoint].num_latents
    if not 0 <= feature < size:
        raise OutOfRange("feature", feature, size)


def check_features(reader: Reader, hookpoint: str, features: Iterable[int]) -> list[int]:
    """The features, each once, in the order given. Raises UnknownName for the hookpoint, OutOfRange for a feature."""
    check_hookpoint(reader, hookpoint)
    for feature in features:
        check_feature(reader, hookpoint, feature)
    return [int(feature) for feature in dict.fromkeys(features)]


def check_choice(kind: str, given: str, known: Iterable[str]) -> None:
    """Raises UnknownName."""
    if given not in known:
        raise UnknownName(kind, given, known)


def check_inference(reader: Reader, inference: int) -> None:
    """Raises OutOfRange; BadValue where the inference belongs to the experiment but is not stored yet."""
    if inference in reader.inference_ids:
        return
    ids, made = reader.inference_ids, reader.experiment.inferences
    if len(ids) == made or not 0 <= inference < made or ids == tuple(range(len(ids))):
        raise OutOfRange("inference", inference, reader.inferences)
    raise BadValue(f"inference {inference} is not stored yet; run `precompute` to compute it")


def check_top(top: int, name: str = "top") -> None:
    """Raises BadValue."""
    if top < 1:
        raise BadValue(f"{name} is {top}; it must be 1 or more")


def in_scope(scope: Scope, segment: str = "segment") -> str:
    """The condition that a row's segment belongs to a scope. Raises UnknownName."""
    check_choice("scope", scope, SCOPES)
    return f"{segment} IN ({', '.join(repr(name) for name in SEGMENTS_OF[scope])})"

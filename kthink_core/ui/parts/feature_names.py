"""The names of the features on a page: one place that asks for labels and top tokens, of those on the page only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import streamlit as st

from kthink_core import queries
from kthink_core.queries import Scope
from kthink_core.ui.parts import naming, note_panel
from kthink_core.ui.view import cache
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.yardstick import yardstick

_KEPT = 2**16
"""Features of one hookpoint and scope of which tokens are kept: some 15 MB, all of an SAE of the article's size."""


class Called(NamedTuple):
    """What some features are called, by feature: each is in one of the two at most."""

    labels: dict[int, str]
    tokens: dict[int, str]
    """The three top tokens, of those without a label."""


def called(page: Page, hookpoint: str, features: Iterable[int]) -> Called:
    """Of features of a hookpoint. Kept runs are named by the experiment that they are measured by."""
    wanted = dict.fromkeys(map(int, features))
    labels, tokens = note_panel.labels(page, hookpoint, wanted), {}
    whole = yardstick(page) or page
    for scope in naming.SCOPES if hookpoint in whole.experiment.saes else ():
        nameless = [feature for feature in wanted if feature not in labels and feature not in tokens]
        texts = top_tokens(whole, hookpoint, nameless, scope)
        tokens |= {feature: naming.of_tokens(own) for feature, own in texts.items()}
    return Called(labels, tokens)


def names(page: Page, hookpoint: str, features: Iterable[int]) -> dict[int, str]:
    """The label of each, else its three top tokens; nothing of one that has neither."""
    found = called(page, hookpoint, features)
    return found.tokens | found.labels


def name(page: Page, hookpoint: str, feature: int) -> str:
    """`32456 · wait, but, hmm`."""
    return naming.named(feature, names(page, hookpoint, (feature,)))


def in_words(page: Page, hookpoint: str, feature: int) -> str:
    """`32456 (wait, but, hmm)`."""
    return naming.in_words(feature, names(page, hookpoint, (feature,)))


def top_tokens(page: Page, hookpoint: str, features: Sequence[int], scope: Scope) -> dict[int, list[str]]:
    """The texts of the top tokens, over all inferences in scope, of each feature that fires there."""
    known = _known(repr((str(page.source.cache), *page.source[1:], hookpoint, scope)))
    found = {feature: texts for feature in features if (texts := known.get(feature)) is not None}
    missing = [feature for feature in features if feature not in found]
    if missing:
        texts = naming.by_feature(queries.top_tokens_of(cache.reader(page.source), hookpoint, tuple(missing), scope))
        found |= {feature: texts.get(feature, []) for feature in missing}
    if len(known) + len(missing) > _KEPT:
        known.clear()
    known.update(found)
    return {feature: found[feature] for feature in features if found[feature]}


@st.cache_resource(max_entries=32, show_spinner=False)
def _known(key: str) -> dict[int, list[str]]:
    """What is known so far by feature, with empty lists of those that are silent: of a state of an experiment, a
    hookpoint and a scope, which `key` tells apart. Shared by all visitors, who may fill it at once with the same."""
    return {}

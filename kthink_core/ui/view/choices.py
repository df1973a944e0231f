"""The widgets that change the view. The link is the truth: each run sets the widgets from it, each change writes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import streamlit as st

from kthink_core.queries import RANKINGS, SCOPES, SORTS
from kthink_core.ui.parts import feature_finder, feature_names, naming
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view.page import Page, at_inference, go, with_features
from kthink_core.ui.view.permalink import FOLDS, MOST_FEATURES, MOST_RELEVANT, View

Value = TypeVar("Value", bound=str)

SCOPE_HELP = (
    "Which positions count. **generated**: all that the model wrote; **think**: up to `</think>`; "
    "**answer**: after it; **prompt**: what it was given; **all**: everything."
)
RANKING_NAMES = dict(zip(RANKINGS, ("Maximum", "Mean", "Frequency", "Lift"), strict=True))
SORT_NAMES = dict(
    zip(
        SORTS,
        (
            "Inferences in which it is relevant",
            "Maximum activation",
            "More in thinking than in the answer",
            "More in the answer than in thinking",
            "More where right than where wrong",
            "More where wrong than where right",
        ),
        strict=True,
    )
)


def place(page: Page) -> None:
    """Where one is: inference, hookpoint and scope."""
    inference(page)
    hookpoint(page)
    scope(page)


def inference(page: Page) -> None:
    first, last = page.inferences[0], page.inferences[-1]
    label = f"Inference ({first} to {last})"
    _set("inference", page.view.inference)
    st.number_input(label, first, last, step=1, **_bound("inference", lambda to: at_inference(page.view, to)))


def hookpoint(page: Page) -> None:
    _set("hookpoint", page.view.hookpoint)
    # A feature's number means something at its own hookpoint only.
    bound = _bound(
        "hookpoint", lambda to: replace(page.view, hookpoint=to, feature=None, also=(), watch=(), locked=None)
    )
    st.selectbox("Hookpoint", list(page.experiment.saes), help="The module whose output was encoded.", **bound)


def scope(page: Page) -> None:
    _set("scope", page.view.scope)
    bound = _bound("scope", lambda to: replace(page.view, scope=to))
    st.selectbox("Scope", list(SCOPES), help=SCOPE_HELP, **bound)


def feature(page: Page, default: int, key: str = "feature") -> int:
    """The feature to show: the link's, else `default`."""
    chosen = page.view.feature if page.view.feature is not None else default
    last = _last(page)
    _set(key, chosen)
    bound = _bound(key, lambda to: with_features(page.view, (to, *page.view.also)))
    st.number_input(f"Feature (0 to {last})", 0, last, step=1, **bound)
    if name := feature_names.names(page, page.view.hookpoint, (chosen,)).get(chosen):
        st.caption(plain(naming.brief(name)))
    return chosen


def features(
    page: Page,
    chosen: Sequence[int],
    offered: Sequence[int],
    *,
    title: str = "Features shown",
) -> None:
    """The features shown at once: offered ones, or any whose number is typed; a word that is typed brings those into
    the list that are called so."""
    found = feature_finder.brought(page, page.view.hookpoint, title)
    listed = list(dict.fromkeys([*chosen, *found, *offered]))
    names = feature_names.names(page, page.view.hookpoint, listed)

    def named(option: int | str) -> str:
        number = feature_number(option, _last(page))
        return str(option) if number is None else naming.named(number, names)

    def typed(options: Sequence[int | str]) -> View:
        numbers = [feature_number(option, _last(page)) for option in options]
        feature_finder.looked_for(title, [str(option) for option in options if is_word(option)])
        return with_features(page.view, [number for number in numbers if number is not None])

    _set("features", list(chosen))
    st.multiselect(
        f"{title} (up to {MOST_FEATURES}; type a number, or what it is called)",
        listed,
        format_func=named,
        max_selections=MOST_FEATURES,
        accept_new_options=True,
        filter_mode="prefix",  # else "12" and Enter takes 312, which has these digits too
        placeholder="the first of the list",
        **_bound("features", typed),
    )


def is_word(entry: int | str) -> bool:
    """Whether an entry is not meant to be a number."""
    return isinstance(entry, str) and not entry.strip().isdecimal()


def feature_number(entry: int | str, last: int) -> int | None:
    """The feature that an entry names by its number, which somebody may have typed; None where there is none such."""
    number = int(entry) if re.fullmatch(r"[0-9]{1,18}", str(entry)) else None
    return number if number is not None and number <= last else None


def ranking(page: Page) -> None:
    _set("ranking", page.view.ranking)
    bound = _bound("ranking", lambda to: replace(page.view, ranking=to))
    st.segmented_control("Rank features by", RANKINGS, required=True, format_func=RANKING_NAMES.__getitem__, **bound)


def sort(page: Page) -> None:
    _set("sort", page.view.sort)
    bound = _bound("sort", lambda to: replace(page.view, sort=to))
    st.selectbox("Sort features by", SORTS, format_func=SORT_NAMES.__getitem__, **bound)


def relevant(page: Page) -> None:
    _set("relevant", page.view.relevant)
    bound = _bound("relevant", lambda to: replace(page.view, relevant=to))
    help = "How many features of an inference, those with the largest maximum activation in scope, count as relevant."
    st.number_input(f"Relevant (1 to {MOST_RELEVANT})", 1, MOST_RELEVANT, step=1, help=help, **bound)


def search(page: Page) -> None:
    _set("search", page.view.search)
    bound = _bound("search", lambda to: replace(page.view, search=to))
    help = "Features whose label, or one of whose five top tokens, contains this text."
    st.text_input("Label or token contains", icon=":material/search:", max_chars=60, live=True, help=help, **bound)


def number(
    label: str,
    field: str,
    low: float,
    high: float,
    page: Page,
    *,
    step: float = 1,
    help: str = "",
    at: int | None = None,
) -> None:
    """A number of the view, or of one of its pairs: the one `at` that place."""
    now = getattr(page.view, field)
    name = field if at is None else f"{field}_{at}"

    def changed(to: float) -> View:
        return replace(page.view, **{field: to if at is None else (*now[:at], to, *now[at + 1 :])})

    _set(name, now if at is None else now[at])
    st.number_input(label, low, high, step=step, help=help, **_bound(name, changed))


def lines(label: str, field: str, default: str, most: int, page: Page, *, help: str = "") -> None:
    """A text of several lines, of at most so many characters. The view has nothing for the `default`, and a blank for
    an empty text."""
    _set(field, getattr(page.view, field).strip(" ") if getattr(page.view, field) else default)
    bound = _bound(field, lambda to: replace(page.view, **{field: "" if to == default else to or " "}))
    st.text_area(label, height=260, max_chars=most, help=help, **bound)


def pick(
    label: str, field: str, names: Mapping[Any, str], page: Page, *, chosen: Any = None, at: int | None = None
) -> None:
    """One of some values of a field of the view, or of the one `at` a place of it, side by side."""
    now = getattr(page.view, field)
    name = field if at is None else f"{field}_{at}"

    def changed(to: Any) -> View:
        return replace(page.view, **{field: to if at is None else (*now[:at], to, *now[at + 1 :])})

    _set(name, chosen if chosen is not None else now if at is None else now[at])
    bound = _bound(name, changed)
    st.segmented_control(label, list(names), required=True, format_func=names.__getitem__, **bound)


def select(
    label: str, field: str, names: Mapping[Any, str], page: Page, *, chosen: Any = None, width: int = 300
) -> None:
    """One of some values of a field of the view, in a list that opens."""
    _set(field, getattr(page.view, field) if chosen is None else chosen)
    bound = _bound(field, lambda to: replace(page.view, **{field: to}))
    st.selectbox(label, list(names), format_func=names.__getitem__, width=width, **bound)


def word(page: Page) -> None:
    _set("word", page.view.word)
    bound = _bound("word", lambda to: replace(page.view, word=to))
    help = "Stands in lower case or with a first capital, as a whole word. Three positions on either side count."
    st.text_input("Word", max_chars=60, help=help, width=200, **bound)


def rival(page: Page) -> None:
    _set("rival", page.view.rival)
    bound = _bound("rival", lambda to: replace(page.view, rival=to))
    help = "The text of one token of the model, spaces before it included."
    st.text_input("Rival", max_chars=60, help=help, width=200, **bound)


@contextmanager
def tab(field: str, titles: Mapping[Value, str], page: Page) -> Iterator[Value]:
    """Tabs, by the values of a field of the view. Yields the open one's value; what is drawn meanwhile is in it: what
    lies behind a tab is asked for when it is opened."""
    now = getattr(page.view, field)
    values = {title: value for value, title in titles.items()}
    _set(field, titles[now])
    bound = _bound(field, lambda to: replace(page.view, **{field: values[to]}))
    tabs = st.tabs(list(values), **bound)
    with tabs[list(titles).index(now)]:
        yield now


@contextmanager
def fold(label: str, field: str, page: Page, icon: str) -> Iterator[bool]:
    """A fold. Yields whether it is open; what is drawn meanwhile is in it."""
    is_open = getattr(page.view, field) == FOLDS[1]
    _set(field, is_open)
    bound = _bound(field, lambda to: replace(page.view, **{field: FOLDS[to]}))
    with st.expander(label, icon=icon, **bound):
        yield is_open


def previous_and_next(page: Page) -> None:
    """Two buttons, and the keys K and J, that go through the inferences."""
    at = page.inferences.index(page.view.inference)
    before, after = page.inferences[:at][-1:], page.inferences[at + 1 : at + 2]
    with st.container(horizontal=True, gap="small", width="content"):
        _step("Previous", ":material/chevron_left:", "k", page.view, before)
        _step("Next", ":material/chevron_right:", "j", page.view, after)


def _step(label: str, icon: str, key: str, view: View, to: tuple[int, ...]) -> None:
    """A button that leads to the one inference in `to`, if there is one."""
    target = at_inference(view, to[0]) if to else view
    st.button(label, icon=icon, shortcut=key, key=f"step_{label}", on_click=go, args=(target,), disabled=not to)


def _last(page: Page) -> int:
    return page.experiment.saes[page.view.hookpoint].num_latents - 1


def _set(field: str, value: Any) -> None:
    st.session_state[f"choose_{field}"] = value


def _bound(field: str, view: Callable[[Any], View]) -> dict[str, Any]:
    """A widget's key, and what makes the link name the view of its new value."""
    key = f"choose_{field}"
    return {"key": key, "on_change": lambda: go(view(st.session_state[key]))}

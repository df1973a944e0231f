"""Contrasts: features whose rate differs between two sides."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kthink_core.errors import BadValue, NotComparable
from kthink_core.evidence.caveats import ALPHA, caveats, differing
from kthink_core.evidence.differences import contrast
from kthink_core.evidence.divides import Between
from kthink_core.queries import Scope
from kthink_core.ui.injection import injection_button
from kthink_core.ui.parts import clicks, download, feature_names, feature_tables, header, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.reasoning import volcano
from kthink_core.ui.view import cache, choices
from kthink_core.ui.view.page import Page, beside, lead, with_features
from kthink_core.ui.view.permalink import CONTRASTS

POINTS = 1000
"""Features of the plot."""
ROWS = 100
"""Features of the table."""
MOST = 1_000_000
"""Features that are compared: all there are."""
_OF_FILE = 10_000

NAMES: dict[Between, str] = {
    "right:wrong": "Right and wrong answers",
    "think:answer": "Thinking and answer",
    "finished:cut-off": "Finished and cut off",
    "before:after": "Before and after a word",
    "think:bypass": "With thinking and without",
    "experiments": "Two experiments",
}
SIDES: dict[Between, tuple[str, str]] = {
    "right:wrong": ("where right", "where wrong"),
    "think:answer": ("in thinking", "in the answer"),
    "finished:cut-off": ("where finished", "where cut off"),
    "before:after": ("before the word", "after the word"),
    "think:bypass": ("with thinking", "without"),
}
COLUMNS = (
    "matched", "matched_low", "matched_high", "q", "tested", "rate_a", "rate_b", "difference", "low", "high",
    "inferences_a", "inferences_b", "p", "needed",
)  # fmt: skip


def draw(page: Page) -> None:
    """The tab of the page."""
    between = CONTRASTS[page.view.between]
    st.caption(
        "How often each feature fires on either side, how far that would vary from one set of inferences to another, "
        "and whether labels dealt out at random would show as much."
    )
    other = _choose(page, between)
    sides = SIDES.get(between) or (f"in {page.experiment.name}", f"in {other.experiment.name if other else 'another'}")
    if between in ("think:bypass", "experiments") and other is None:
        header.nothing("There is no other experiment to compare with: compute one with `precompute`.")
        return
    if between == "before:after" and not page.view.word.strip():
        header.nothing("Type a word.")
        return
    word = page.view.word if between == "before:after" else None
    source = None if other is None else other.source
    try:
        with st.spinner("Comparing all features …"):
            table = page.ask(_contrast, page.view.hookpoint, between, page.view.scope, word, source)
    except (BadValue, NotComparable) as error:
        message = plain(str(error))
        header.nothing(message[:1].upper() + message[1:] + ".")
        return
    if other is not None and between == "experiments" and (apart := differing(page.experiment, other.experiment)):
        st.caption(f"Settings that differ: {plain(apart)}.")
    _told(table, between, sides)
    if not table.empty:
        if table["matched"].notna().to_numpy().any():
            _plot(page, table, sides)
        _table(page, table, sides)


def _contrast(
    reader: cache.Reader, hookpoint: str, between: Between, scope: Scope, word: str | None, other: cache.Source | None
) -> pd.DataFrame:
    """All features; `page.ask` tells the other experiment's states apart by its source."""
    return contrast(reader, hookpoint, between, scope, word, None if other is None else cache.reader(other), MOST)


def _choose(page: Page, between: Between) -> Page | None:
    """What is compared, and the other experiment where there is one to it. Raises KthinkError."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choices.select("Sides", "between", {name: NAMES[sides] for name, sides in CONTRASTS.items()}, page)
        if between == "before:after":
            choices.word(page)
        others = [each.name for each in page.statuses if each.experiment and each.name != page.experiment.name]
        if between not in ("think:bypass", "experiments") or not others:
            return None
        name = page.view.other or _of_other_mode(page, others)
        choices.select("Other experiment", "other", {other: other for other in others}, page, chosen=name)
    return beside(page, name)


def _of_other_mode(page: Page, others: list[str]) -> str:
    """The first of the other experiments that has another mode, else the first."""
    known = {each.name: each.experiment for each in page.statuses if each.experiment}
    mode = page.experiment.config.mode
    return next((name for name in others if known[name].config.mode != mode), others[0])


def _told(table: pd.DataFrame, between: Between, sides: tuple[str, str]) -> None:
    """Both sides in numbers, what was found, and what there is too little of."""
    if not table.empty:
        one, two = (int(table[name].iloc[0]) for name in ("inferences_a", "inferences_b"))
        found = table.loc[table["q"] < ALPHA, "matched"]
        more = int((found > 0).sum())
        numbers = f"**{one}** inferences {plain(sides[0])}, **{two}** {plain(sides[1])}"
        told = f"{len(table):,} features fire on either side; **{len(found):,}** differ with q < {ALPHA}"
        if len(found):
            told += f": {more:,} fire more {plain(sides[0])}, {len(found) - more:,} more {plain(sides[1])}"
        st.markdown(f"{numbers}. {told}.", help=terms.help("q_value"))
    for each in caveats(table, between):
        header.nothing(plain(each))


def _plot(page: Page, table: pd.DataFrame, sides: tuple[str, str]) -> None:
    st.header("Volcano plot", help=terms.help("matched"))
    shown = table.head(POINTS)
    left_out = (
        f" The {len(shown):,} of {len(table):,} with the smallest q are drawn." if len(table) > len(shown) else ""
    )
    st.caption(f"Each point is a feature; click it, or press Enter, to see where it fires.{left_out}")
    features = tuple(shown["feature"].tolist())
    names = feature_names.names(page, page.view.hookpoint, features)
    drawn = volcano.chart(shown, sides, names, feature_tables.tokens(page, page.view.hookpoint, features))
    clicks.chart(
        drawn, ("feature",), f"volcano {page.source.version} {hash(page.view)}",
        lambda mark: _open(page, mark["feature"]),
        described=f"Features by the matched difference of their rates {sides[0]} and {sides[1]}, against q",
    )  # fmt: skip
    download.buttons(page, "volcano plot", shown, chart=True)


def _table(page: Page, table: pd.DataFrame, sides: tuple[str, str]) -> None:
    st.header("Features, the smallest q first", help=terms.help("matched"))
    titles = {"rate_a": sides[0].capitalize(), "rate_b": sides[1].capitalize()}
    columns = [name for name in COLUMNS if table[name].notna().to_numpy().any()]
    feature_tables.draw(
        page, table.head(ROWS), columns, lambda feature: _open(page, feature), name=f"contrast {page.view.between}",
        titles=titles, narrow=True, rows_of_file=lambda: table.head(_OF_FILE), most=_OF_FILE,
    )  # fmt: skip
    injection_button.of_table(page, table["feature"].head(ROWS).tolist())


def _open(page: Page, feature: int) -> None:
    lead("feature", with_features(page.view, (feature,)))

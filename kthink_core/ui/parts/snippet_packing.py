"""What the browser needs to know of contexts. Pure: knows nothing of Streamlit."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any

import pandas as pd

NEAR = 12
"""Tokens shown on either side of a place before it is widened."""
REACH = 40
"""Tokens on either side once it is widened."""
MOST_OPENED = 50
"""Other positions of a context that are listed."""

BANDS = {
    "highest": ("Highest", "the contexts with the largest activations in scope"),
    "4": ("Fourth quarter", "samples of other contexts from ¾ of the maximum to the maximum"),
    "3": ("Third quarter", "samples of other contexts from ½ to ¾ of the maximum"),
    "2": ("Second quarter", "samples of other contexts from ¼ to ½ of the maximum"),
    "1": ("First quarter", "samples of other contexts from 0 to ¼ of the maximum"),
}


def payload(
    places: pd.DataFrame,
    tokens: pd.DataFrame,
    lengths: Mapping[int, int],
    bands: Mapping[str, tuple[str, str]] = BANDS,
    positions: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """What the browser needs, as plain lists. Texts stay as they are: the browser sets them as text.

    A snippet's lists are its tokens in order, the first at position `first`; colour is activation over `maximum`, the
    largest of all places. `more` are other positions that it stands for, those of `positions` (the answer of
    `queries.context_positions`), `MOST_OPENED` at most, and `moreCount` is how many there are.
    """
    more = {} if positions is None else _more(positions)
    columns = {
        "texts": tokens["text"].tolist(),
        "ids": tokens["token_id"].tolist(),
        "segments": tokens["segment"].tolist(),
        "activations": tokens["activation"].fillna(0).astype(float).round(4).tolist(),
    }
    at, of_place = tokens["position"].tolist(), tokens["place"].tolist()
    groups: dict[str, list[dict[str, Any]]] = {band: [] for band in bands}
    for index, place in enumerate(places.to_dict("records")):
        begin, end = bisect_left(of_place, index), bisect_right(of_place, index)
        facts = {name: place[name] for name in ("inference", "position", "activation", "times", "alike")}
        stands_for = more.get((place["inference"], place["position"]), [])
        facts |= {"first": at[begin], "length": lengths[place["inference"]]}
        facts |= {"more": stands_for[:MOST_OPENED], "moreCount": len(stands_for)}
        groups[place["band"]].append(facts | {name: values[begin:end] for name, values in columns.items()})
    shown = [
        {"title": title, "note": note, "snippets": groups[band]}
        for band, (title, note) in bands.items()
        if groups[band]
    ]
    return {"groups": shown, "maximum": max(places["activation"].tolist()), "near": NEAR}


def _more(positions: pd.DataFrame) -> dict[tuple[int, int], list[list[float]]]:
    """By inference and position of a context: inference, position and activation of the others that it stands for."""
    others: dict[tuple[int, int], list[list[float]]] = {}
    names = ["shown_inference", "shown_position", "inference", "position", "activation"]
    for inference, position, *place in zip(*(positions[name].tolist() for name in names), strict=True):
        if place[:2] != [inference, position]:
            others.setdefault((inference, position), []).append([*place[:2], round(place[2], 4)])
    return others

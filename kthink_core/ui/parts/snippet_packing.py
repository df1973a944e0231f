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
) -> dict[str, Any]:
    """What the browser needs, as plain lists. Texts stay as they are: the browser sets them as text.

    A snippet's lists are its tokens in order, the first at position `first`; colour is activation over `maximum`, the
    largest of all places.
    """
    columns = {
        "texts": tokens["text"].tolist(),
        "ids": tokens["token_id"].tolist(),
        "segments": tokens["segment"].tolist(),
        "activations": tokens["activation"].fillna(0).astype(float).round(4).tolist(),
    }
    positions, of_place = tokens["position"].tolist(), tokens["place"].tolist()
    groups: dict[str, list[dict[str, Any]]] = {band: [] for band in bands}
    for index, place in enumerate(places.to_dict("records")):
        begin, end = bisect_left(of_place, index), bisect_right(of_place, index)
        facts = {name: place[name] for name in ("inference", "position", "activation", "times", "alike")}
        facts |= {"first": positions[begin], "length": lengths[place["inference"]]}
        groups[place["band"]].append(facts | {name: values[begin:end] for name, values in columns.items()})
    shown = [
        {"title": title, "note": note, "snippets": groups[band]}
        for band, (title, note) in bands.items()
        if groups[band]
    ]
    return {"groups": shown, "maximum": max(places["activation"].tolist()), "near": NEAR}

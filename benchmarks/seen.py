"""What a visitor was sent of a page, read as a browser reads it, and whether its rows are those of the store."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pyarrow as pa
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from kthink_core import queries
from kthink_core.store.reader import Reader


@dataclass(frozen=True)
class View:
    """What a link names."""

    experiment: str
    hookpoint: str
    page: str = ""
    """Empty: the overview."""
    inference: int = 0
    feature: int = 0

    @property
    def query(self) -> str:
        names = ("experiment", "hookpoint", "inference", "feature")
        return urlencode({name: getattr(self, name) for name in names})


def wrong_rows(reader: Reader, came: Sequence[tuple[View, Sequence[bytes]]]) -> Iterator[str]:
    """A line for each page whose rows are not those that `reader` has. `came`: all messages of one visit, in order."""
    kept: dict[str, ForwardMsg] = {}
    for view, messages in came:
        try:
            tables, components = _read(messages, kept)
            _CHECKS[view.page](reader, view, tables, components)
        except (AssertionError, KeyError, IndexError, ValueError) as error:
            yield f"{view}: {error!r}"[:300]


def _read(messages: Sequence[bytes], kept: dict[str, ForwardMsg]) -> tuple[list[pd.DataFrame], list[Mapping[str, Any]]]:
    """The tables, and what components were given, in the order in which they came. Raises AssertionError for a fault.

    `kept`: what this visit got before, which the server may just point to."""
    tables, components = [], []
    for data in messages:
        message = ForwardMsg.FromString(data)
        if message.WhichOneof("type") == "ref_hash":
            message = kept[message.ref_hash]
        if message.hash:
            kept[message.hash] = message
        element = message.delta.new_element
        kind = element.WhichOneof("type")
        assert kind != "exception", element.exception.message
        assert kind != "alert", element.alert.body
        if kind == "dataframe":
            tables.append(pa.ipc.open_stream(element.dataframe.arrow_data.data).read_all().to_pandas())
        elif kind == "bidi_component" and element.bidi_component.json:
            components.append(json.loads(element.bidi_component.json))
    return tables, components


def _overview(reader: Reader, view: View, tables: Sequence[pd.DataFrame], _: object) -> None:
    counted = [table for table in tables if "feature" in table]
    (inferences,) = [table for table in tables if "question" in table]
    assert inferences["inference"].tolist() == list(reader.inference_ids)
    for table, hookpoint in zip(counted, reader.experiment.saes, strict=True):
        stored = queries.feature_counts(reader, hookpoint, "generated", top=8)
        assert table["feature"].tolist() == stored["feature"].tolist()
        assert table["inferences"].tolist() == stored["inferences"].tolist()


def _inference(
    reader: Reader, view: View, tables: Sequence[pd.DataFrame], components: Sequence[Mapping[str, Any]]
) -> None:
    (shown,) = [component for component in components if "texts" in component]
    stored = queries.transcript(reader, view.inference)
    assert shown["texts"] == stored["text"].tolist() and _values(shown["ids"]) == stored["token_id"].tolist()
    track = reader.query(
        "SELECT position, activation FROM latents "
        "WHERE hookpoint = ? AND inference = ? AND feature = ? ORDER BY position",
        [view.hookpoint, view.inference, view.feature],
    )
    tracks = shown["tracks"]
    firing = dict(zip(tracks["features"], np.cumsum([0, *tracks["counts"]]).tolist(), strict=False))
    first = firing.get(view.feature, 0)
    own = slice(first, first + len(track))
    assert (view.feature in firing) == (not track.empty)
    assert _values(tracks["positions"])[own] == track["position"].tolist()
    assert _values(tracks["activations"])[own] == track["activation"].astype("float32").tolist()
    (table,) = [table for table in tables if "lift" in table]
    ranked = queries.ranked_features(reader, view.inference, view.hookpoint, "generated", top=len(table))
    assert table["feature"].tolist() == ranked["feature"].tolist()
    np.testing.assert_allclose(table["max_activation"], ranked["max_activation"], rtol=1e-6)


def _feature(reader: Reader, view: View, _: object, components: Sequence[Mapping[str, Any]]) -> None:
    (shown,) = [component for component in components if "groups" in component]
    snippets = [snippet for group in shown["groups"] for snippet in group["snippets"]]
    rows = reader.query(
        "SELECT inference, position, activation FROM latents WHERE hookpoint = ? AND feature = ?",
        [view.hookpoint, view.feature],
    )
    stored = {(row["inference"], row["position"]): row["activation"] for row in rows.to_dict("records")}
    assert snippets
    there = [stored[snippet["inference"], snippet["position"]] for snippet in snippets]
    np.testing.assert_allclose([snippet["activation"] for snippet in snippets], there, rtol=1e-6)


def _across(reader: Reader, view: View, tables: Sequence[pd.DataFrame], _: object) -> None:
    (table,) = [table for table in tables if "active_inferences" in table]
    stored = queries.feature_table(reader, view.hookpoint, "generated").set_index("feature").loc[table["feature"]]
    for column in ("inferences", "active_inferences", "positions", "max_activation"):
        np.testing.assert_allclose(table[column], stored[column], rtol=1e-6)


_CHECKS = {"": _overview, "inference": _inference, "feature": _feature, "across": _across}


def _values(packed: Mapping[str, str]) -> list[float]:
    return np.frombuffer(b64decode(packed["base64"]), np.dtype(packed["dtype"]).newbyteorder("<")).tolist()

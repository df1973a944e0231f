"""Pages run without a browser, for tests: opened with a link's parameters, and what they then show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit import config
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("overview", "inference", "feature", "across", "quality", "compare")
"""Those that show an experiment."""
PATIENCE = 180
"""Seconds that a page may take: a busy machine is no failure."""
Open = Callable[..., AppTest]
_DETAILS = "client.showErrorDetails"


@contextmanager
def visiting(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """A function that opens a page of the app with query parameters."""

    def opened(page: str, folder: Path = cache, **parameters: str) -> AppTest:
        monkeypatch.setenv("KTHINK_CACHE", str(folder))
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
        app.query_params.update(parameters)
        app.switch_page(f"pages/{page}.py").run()
        assert not app.exception
        return app

    details = config.get_option(_DETAILS)
    config.set_option(_DETAILS, "full")  # the report of a test that fails says what was raised, and where
    yield opened
    config.set_option(_DETAILS, details)
    st.cache_data.clear()
    st.cache_resource.clear()


def texts(app: AppTest) -> str:
    """All that a page says outside of tables, charts and components."""
    kinds = ("title", "header", "markdown", "caption", "text", "info", "warning", "error", "code", "latex")
    return "\n".join(str(getattr(element, "value", "")) for kind in kinds for element in app.get(kind))


def payloads(app: AppTest, key: str) -> list[dict[str, Any]]:
    """What is sent to the components whose data have a key, in order."""
    components = (json.loads(component.proto.json) for component in app.get("bidi_component") if component.proto.json)
    return [data for data in components if isinstance(data, dict) and key in data]


def transcript(app: AppTest) -> dict[str, Any]:
    """The payload of the page's one transcript."""
    (data,) = payloads(app, "bands")
    return data


def tables(app: AppTest, column: str) -> list[Any]:
    """The tables that have a column, in order."""
    return [element.value for element in app.dataframe if column in element.value]


def at_link(app: AppTest, **parameters: str) -> AppTest:
    """The page once the link says something else."""
    app.query_params.update(parameters)
    app.run()
    assert not app.exception
    return app

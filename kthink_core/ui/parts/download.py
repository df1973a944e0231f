"""Files of what a table or a chart shows, stamped with where it comes from, and made when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from urllib.parse import urlencode

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import streamlit as st
from streamlit.components.v2 import component

import kthink_core
from kthink_core import cells
from kthink_core.ui.parts.scripts import joined
from kthink_core.ui.view import visitor
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import format_view, without_run

Stamp = Mapping[str, str]
"""Facts by name: what a file shows, and what it was made with."""

SVG = {"embedOptions": {"renderer": "svg"}}
"""`usermeta` of a chart that is drawn as SVG however many points it has: Streamlit turns to a canvas above 2,000."""

PREFIX = "kthink."
"""Of the names of facts in a Parquet file's metadata."""

_TYPES = {"CSV": "text/csv", "Parquet": "application/vnd.apache.parquet", "JSON lines": "application/jsonl"}
_SUFFIXES = {"CSV": "csv", "Parquet": "parquet", "JSON lines": "jsonl"}

_READING = f"pandas.read_csv(file, comment='#', keep_default_na=False, na_values=['']).{cells.READ_BACK}"

_picture = component(
    "kthink_picture",
    css=joined("parts/controls.css"),
    js=joined("parts/controls.js", "parts/picture.js"),
)


def buttons(
    page: Page,
    name: str,
    table: pd.DataFrame | Callable[[], pd.DataFrame],
    *,
    chart: bool = False,
    about: Stamp | None = None,
    **facts: object,
) -> None:
    """CSV and Parquet of a query's answer; with `chart`, also PNG and SVG of the chart last drawn above.

    name: says what the table is, and is no other table's on the page. table: or what asks for it, once a file of it is
    asked for, in a thread of its own. facts: what the table is about where that is not
    what the view says, such as another hookpoint. about: the whole stamp, where the table is not the experiment's.
    """
    about = stamp(page, name, **facts) if about is None else about
    stem = file_name(page.experiment.name, name)

    def made(maker: Callable[[pd.DataFrame, Stamp], bytes]) -> bytes:
        return maker(table() if callable(table) else table, about)

    makers = {"CSV": partial(made, as_csv), "Parquet": partial(made, as_parquet)}
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        files(page, name, stem, makers)
        if chart:
            data = {"name": stem, "about": "\n".join(f"{fact}: {value}" for fact, value in about.items())}
            _picture(data=data, key=f"picture {name}", width="content", height="content")


def files(page: Page, name: str, stem: str, makers: Mapping[str, Callable[[], bytes]]) -> None:
    """A small button for each format, in the row that is open. `stem`: the files' name."""

    def taken(kind: str) -> bytes:
        content = makers[kind]()
        visitor.taken(page.person, f"{name}, {kind}", page.experiment.name)
        return content

    for kind in makers:
        st.download_button(
            kind,
            partial(taken, kind),  # called by a click, in a thread of its own
            file_name=f"{stem}.{_SUFFIXES[kind]}",
            mime=_TYPES[kind],
            key=f"download {name} {kind}",
            on_click="ignore",
            type="tertiary",
            icon=":material/download:",
        )


def stamp(page: Page, name: str, **facts: object) -> dict[str, str]:
    """What a table of this view is, and what it was made with."""
    experiment, view = page.experiment, page.view
    config = experiment.config
    values: dict[str, object] = {
        **app_stamp(name),
        "experiment": experiment.name,
        "inferences": f"{len(page.inferences)} of {experiment.inferences}",
        "model": config.model,
        "model_revision": experiment.revisions.model or config.model_revision,
        "sae": config.sae,
        "sae_revision": experiment.revisions.sae or config.sae_revision,
        "site": config.site,
        "hookpoint": view.hookpoint,
        "scope": view.scope,
        "view": urlencode(format_view(without_run(view))),
    }
    values |= facts
    values |= {f"made.{fact}": value for fact, value in experiment.provenance.items()}
    return {fact: " ".join(str("unknown" if value is None else value).split()) for fact, value in values.items()}


def app_stamp(name: str) -> dict[str, str]:
    """What any table is, whatever experiment it is of."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"query": name, "date": now, "app": f"kthink {kthink_core.__version__}"}


def as_csv(table: pd.DataFrame, about: Stamp) -> bytes:
    """UTF-8: comment lines that begin with `# `, then the header. Quoted texts are never taken for a comment, nor for a
    formula by a spreadsheet."""
    comments = [f"# {cells.inert_line(f'{fact}: {value}')}\n" for fact, value in about.items()]
    comments.append(f"# read with: {_READING}\n")
    return ("".join(comments) + cells.as_csv(table)).encode()


def as_parquet(table: pd.DataFrame, about: Stamp) -> bytes:
    """The stamp is in the schema's metadata, each fact under `kthink.<name>`."""
    columns = pa.Table.from_pandas(table, preserve_index=False)
    facts = {f"{PREFIX}{fact}".encode(): value.encode() for fact, value in about.items()}
    content = BytesIO()
    pyarrow.parquet.write_table(columns.replace_schema_metadata((columns.schema.metadata or {}) | facts), content)
    return content.getvalue()


def as_json_lines(table: pd.DataFrame) -> bytes:
    """One object a row; missing values are null."""
    return (table.to_json(orient="records", lines=True, force_ascii=False) or "").encode()


def file_name(*parts: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^\w.=]+", "-", "-".join(parts)).strip("-.")[:100] or "table"

"""The same traces at two capture sites, side by side: what the SAE makes of vectors that it was trained on, and of
others."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn

from kthink_core.config import DEMO, GENERATING, OF_EXPERIMENT, Experiment, ExperimentConfig, Site
from kthink_core.evidence import capture_sites
from kthink_core.identity import sites_apart
from kthink_core.presets import DEMO_RESIDUAL, PRESETS
from kthink_core.prompts import NONE
from kthink_core.ui.parts import download, feature_names, header, naming, numerals, terms
from kthink_core.ui.parts.charts import PLAIN, Chart, quantity, tooltip
from kthink_core.ui.parts.charts import draw as draw_chart
from kthink_core.ui.parts.writing import plain, visible
from kthink_core.ui.view.page import Page, beside

_WRITTEN = GENERATING | {
    "mode",
    "samples",
    "instruction",
    "system",
    "chat_template",
    "grade",
    "split",
    "skip_bad",
    "by_id",
}
"""Settings that say nothing of an experiment's tokens once they are there."""
SITES: dict[Site, str] = {"hookpoint": "module's output", "residual": "layer's input"}


def draw(page: Page) -> None:
    """The view's experiment beside the one that captured the same traces at the other site."""
    st.markdown(
        "An SAE can be fed any vectors of the right width. It describes only those of the site that it was trained at. "
        "The article fed it the residual stream entering the layer: these are the same traces, at both sites."
    )
    name = _counterpart(page)
    if name is None:
        _missing(page.experiment, page.view.hookpoint)
        return
    other = beside(page, name)
    sides = sorted((page, other), key=lambda side: side.experiment.config.site)
    shared = capture_sites.same_traces(*(side.ask(capture_sites.trace_digests) for side in sides))
    _shared(sides, shared)
    if shared:
        _fvu(page, sides, shared)
        _sizes(page, sides, shared)
        _overlap(page, sides, shared)
        _first_tokens(page, sides, shared)


def _counterpart(page: Page) -> str | None:
    """The experiment at the other site; of several the one with most inferences."""
    found = [
        status
        for status in page.statuses
        if status.experiment is not None and sites_apart(page.experiment, status.experiment, page.view.hookpoint)
    ]
    most = sorted(found, key=lambda status: (-status.committed, status.name))
    return most[0].name if most else None


def _missing(experiment: Experiment, hookpoint: str) -> None:
    if experiment.is_bare:
        header.nothing("Nobody knows what these traces were made with: they cannot be made again at another site.")
        return
    there: Site = "hookpoint" if experiment.config.site == "residual" else "residual"
    header.nothing(
        f"No experiment has these traces at the other site, {there} (the {SITES[there]}): same model, problems, "
        f"seed and sampling, and the SAE of {hookpoint}. This command makes one of a few of them:"
    )
    st.code(command(experiment, there), language=None)
    if experiment.open_ended:
        st.caption("What was typed live is in no other experiment.")


def command(experiment: Experiment, site: Site) -> str:
    """What makes the experiment at the other site."""
    config = experiment.config
    if config == PRESETS[DEMO]:
        return f"python -m kthink_core precompute --preset {DEMO_RESIDUAL}"
    few = min(8, config.limit or 8)
    changed = config.model_copy(update={"site": site, "limit": few})
    fields = [field for field in ExperimentConfig.model_fields if field != "steering"]
    if config.traces or config.chat_template:  # nothing to generate, or by a file that may be gone: its very tokens
        changed = changed.model_copy(update={"traces": OF_EXPERIMENT + experiment.name})
        fields = [field for field in fields if field not in _WRITTEN]
    options: list[str] = ["--experiment", f"{experiment.name}-{site}"]
    for field in fields:
        value = getattr(changed, field)
        if field == "instruction" and (value == "" or (value is None and config.mode == "bypass")):
            value = NONE
        if value is not None and value != getattr(PRESETS[DEMO], field):
            options += [f"--{field.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    return f"python -m kthink_core precompute {shlex.join(options)}"


def _shared(sides: Sequence[Page], shared: tuple[int, ...]) -> None:
    fewest = min(len(side.inferences) for side in sides)
    names = " and ".join(f"**{plain(side.experiment.name)}**" for side in sides)
    if not shared:
        header.nothing(
            "No trace is the same, token by token, in both experiments yet: "
            + ("one has no inference so far." if not fewest else "they sampled different tokens.")
        )
        return
    rest = fewest - len(shared)
    left = f" The other {rest} were sampled differently and are left out." if rest else ""
    st.caption(f"{names}: {len(shared)} of {fewest} traces are the same, token by token, in both.{left}")


def _fvu(page: Page, sides: Sequence[Page], shared: tuple[int, ...]) -> None:
    view = page.view
    st.header("FVU at each site", help=terms.help("fvu"))
    table = _both(sides, [side.ask(capture_sites.site_fvu, view.hookpoint, view.scope, shared) for side in sides])
    shown = pd.DataFrame(
        {
            "site": _sites(table),
            "experiment": table["experiment"],
            "fvu": [numerals.number(value, 3) for value in table["fvu"]],
            "range": ranges(table, 3),
            "norm": [numerals.number(value) for value in table["norm"]],
            "positions": table["positions"],
            "inferences": table["inferences"],
        }
    )
    columns = {
        "site": TextColumn("Capture site", pinned=True),
        "experiment": TextColumn("Experiment"),
        "fvu": TextColumn("FVU"),
        "range": TextColumn("95 % range", help=terms.help("bootstrap_range")),
        "norm": TextColumn("Median ‖x‖", help="Length of the captured vectors: each site has its own scale."),
        "positions": NumberColumn("Positions", format="%d", help="In scope, over these traces."),
        "inferences": NumberColumn("Traces", format="%d"),
    }
    st.dataframe(shown, hide_index=True, column_config=columns, alt="FVU at each site")
    download.buttons(page, "FVU at each site", table)


def _sizes(page: Page, sides: Sequence[Page], shared: tuple[int, ...]) -> None:
    view = page.view
    st.header("Sizes of activations", help=terms.help("activation_sizes"))
    tables = [side.ask(capture_sites.activation_sizes, view.hookpoint, view.scope, shared) for side in sides]
    both = pd.concat(tables)
    if both.empty:
        header.nothing(f"No feature fires in scope {view.scope} of these traces.")
        return
    domain = [min(both["low"].tolist()), max(both["high"].tolist())]
    for side, table in zip(sides, tables, strict=True):
        site = side.experiment.config.site
        count = sum(table["count"].tolist())
        st.markdown(f"**{site}** :gray[{SITES[site]}; {count:,} activations]")
        draw_chart(_histogram(table, domain), f"Sizes of activations at site {site}")
        download.buttons(page, f"sizes of activations at site {site}", table, chart=True, site=site)


def _histogram(table: pd.DataFrame, domain: list[float]) -> Chart:
    """Share of activations by size, on a log axis that both sites have."""
    axis = {"format": "~g", "tickCount": 8}
    spec = {
        "height": 210,
        "mark": {"type": "bar", "color": PLAIN},
        "encoding": {
            "x": quantity("low", "Activation", scale={"type": "log", "domain": domain, "nice": False}, axis=axis),
            "x2": {"field": "high"},
            "y": quantity("share", "Share", axis={"format": "~%", "tickCount": 3}),
            "y2": {"datum": 0},
            "tooltip": tooltip(
                ("low", "From", ".3g"), ("high", "To", ".3g"), ("count", "Activations"), ("share", "Share", ".2%")
            ),
        },
    }
    return Chart(table, spec)


def _overlap(page: Page, sides: Sequence[Page], shared: tuple[int, ...]) -> None:
    view = page.view
    st.header("Relevant features that both sites have", help=terms.help("site_overlap"))
    here, there = (
        side.ask(capture_sites.relevant_sets, view.hookpoint, view.scope, shared, view.relevant) for side in sides
    )
    table = capture_sites.overlaps(here, there, shared)
    mean = capture_sites.mean_overlap(table).iloc[0]
    [told] = ranges(pd.DataFrame([mean]), 3)
    spread = told if _alike(mean["low"], mean["high"]) else f"95 % range {told}"
    st.markdown(
        f"Mean overlap **{numerals.number(mean['jaccard'], 3)}** over {int(mean['inferences'])} traces, {spread}; "
        "1: the same features, 0: none in common."
    )
    columns = {
        "inference": NumberColumn("Inference", format="%d", width=80),
        "here": NumberColumn("hookpoint", format="%d", help="Relevant features at this site."),
        "there": NumberColumn("residual", format="%d", help="Relevant features at this site."),
        "both": NumberColumn("Both", format="%d"),
        "jaccard": NumberColumn("Overlap", format="%.3f", help=terms.help("site_overlap")),
    }
    st.dataframe(table, hide_index=True, column_config=columns, alt="Overlap of relevant features", height=320)
    download.buttons(page, "overlap of relevant features at both sites", table)


def _first_tokens(page: Page, sides: Sequence[Page], shared: tuple[int, ...]) -> None:
    st.header("The first two tokens", help=terms.help("sink"))
    st.markdown(
        "Activations grow with the length ‖x‖ of what is encoded. In the article (layer 10, site residual) the largest "
        "ones at the first two tokens are 4,631 and 4,580, and 103 at the third."
    )
    table = _both(sides, [side.ask(capture_sites.first_tokens, page.view.hookpoint, shared) for side in sides])
    names = feature_names.names(page, page.view.hookpoint, table["feature"].dropna().astype(int))
    usual = table[table["position"].isna()].set_index("site")["largest"]
    times = [
        row["largest"] / usual[row["site"]] if usual.get(row["site"]) else None for row in table.to_dict("records")
    ]
    shown = pd.DataFrame(
        {
            "site": _sites(table),
            "token": [
                "a further token (median)" if pd.isna(place) else f"{place}: {visible(text)}"
                for place, text in zip(table["position"], table["text"], strict=True)
            ],
            "largest": [numerals.number(value) for value in table["largest"]],
            "times": [f"{numerals.number(value, 1)} ×" if value else numerals.MISSING for value in times],
            "feature": [None if pd.isna(each) else naming.named(int(each), names) for each in table["feature"]],
            "norm": [numerals.number(value) for value in table["norm"]],
        }
    )
    columns = {
        "site": TextColumn("Capture site", pinned=True),
        "token": TextColumn("Position and token"),
        "largest": TextColumn(
            "Largest activation (further: median)",
            help="Of tokens 0 and 1 the largest in any of these traces. Every further token has a largest activation, "
            "too: of these the median.",
        ),
        "times": TextColumn("Against the further median"),
        "feature": TextColumn("Feature", help="The one that has it."),
        "norm": TextColumn("Median ‖x‖"),
    }
    st.dataframe(shown, hide_index=True, column_config=columns, placeholder=numerals.MISSING, alt="The first tokens")
    download.buttons(page, "first tokens at both sites", table)


def _both(sides: Sequence[Page], tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The answers of both below each other, with `site` and `experiment` before them."""
    parts = []
    for side, table in zip(sides, tables, strict=True):
        named = table.copy()
        named.insert(0, "site", side.experiment.config.site)
        named.insert(1, "experiment", side.experiment.name)
        parts.append(named)
    return pd.concat(parts, ignore_index=True)


def _sites(table: pd.DataFrame) -> list[str]:
    return [f"{site} ({SITES[site]})" for site in table["site"]]


def ranges(table: pd.DataFrame, decimals: int) -> list[str]:
    """`low` to `high` of each row, or what there is to say instead of as many `inferences`."""
    return [
        "too few traces"
        if pd.isna(row["low"])
        else f"the same in all {int(row['inferences'])} traces"
        if _alike(row["low"], row["high"])
        else f"{numerals.number(row['low'], decimals)} to {numerals.number(row['high'], decimals)}"
        for row in table.to_dict("records")
    ]


def _alike(low: float, high: float) -> bool:
    """Whether the ends of a range are one: whichever traces are drawn, the figure is the same but for rounding."""
    return math.isclose(low, high, rel_tol=1e-9)

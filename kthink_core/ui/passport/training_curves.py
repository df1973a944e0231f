"""How SAEs were trained, or are: loss, FVU and dead features as it went, and figures on texts that were held out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core.access.person import Person
from kthink_core.config import DEMO, OF_EXPERIMENT, experiment_named
from kthink_core.store.trainings import (
    DEAD_AFTER,
    HeldOut,
    Training,
    TrainingStatus,
    folder_of,
    list_trainings,
    read_progress,
    read_training,
)
from kthink_core.ui.parts import charts, download, header, numerals, terms
from kthink_core.ui.parts.charts import Chart, category, quantity, tooltip
from kthink_core.ui.parts.hues import HUES
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import Page, errors_shown

_HEIGHT = 320
_TICK = 5.0
"""Seconds after which a training under way is looked at again."""
_DASHES = ((1, 0), (6, 3), (2, 2))
"""Of the first five hookpoints, the next five, and those behind."""
_LINES = {
    "loss": ("Loss", "~g", "training_loss"),
    "fvu": ("FVU of a batch", "~g", "training_fvu"),
    "dead_share": ("Dead features", "~%", "training_dead"),
}
"""By column of the progress: title, format, term."""


def draw(page: Page) -> None:
    """The training that the link names, else the one that made the experiment's SAEs, else the newest."""
    statuses = [status for status in list_trainings(page.source.cache) if _is_for(page.person, status)]
    readable = {status.name: status.training for status in statuses if status.training is not None}
    for status in statuses:
        if status.problem is not None:
            st.warning(plain(f"Training '{status.name}' cannot be read: {status.problem}"), icon=":material/warning:")
    if not readable:
        _none(page)
        return
    asked = page.view.training
    if asked and asked not in readable:
        st.warning(plain(f"There is no training '{asked}' to be read."), icon=":material/link_off:")
    name = asked if asked in readable else _first(page, statuses)
    choices.select("Training", "training", {name: name for name in readable}, page, chosen=name)
    going = not readable[name].complete
    st.fragment(_training, run_every=_TICK if going else None)(page, name, going)


def _is_for(person: Person, status: TrainingStatus) -> bool:
    """Whether a training tells of nothing that there is not for this person: what else was it made of?"""
    if person.experiments is None:
        return True
    sources = [source.source for source in status.training.data.sources] if status.training is not None else [""]
    return all((name := experiment_named(source)) is not None and person.sees(name) for source in sources)


def _none(page: Page) -> None:
    if page.person.experiments is not None:
        header.nothing("No training of an SAE can be shown to you.")
        return
    header.nothing(
        f"No SAE was trained into {page.source.cache}/saes yet. This command trains one of {page.view.hookpoint} on "
        "the traces of this experiment; a few hundred thousand tokens are what it takes to come to something:"
    )
    config = page.experiment.config
    parts = [] if config.model == DEMO else ["--model", config.model]
    site = [] if config.site == "hookpoint" else ["--site", config.site]
    given = [*parts, "--hookpoints", page.view.hookpoint, *site, "--data", OF_EXPERIMENT + page.experiment.name]
    st.code(f"python -m kthink_core train-sae {shlex.join(given)}", language=None)


def _first(page: Page, statuses: Sequence[TrainingStatus]) -> str:
    used = Path(page.experiment.config.sae).expanduser().absolute()
    own = [
        status.name for status in statuses
        if status.training is not None and folder_of(page.source.cache, status.name).absolute() == used
    ]  # fmt: skip
    if own:
        return own[0]
    created = {
        status.name: status.training.provenance.get("created", "") for status in statuses if status.training is not None
    }
    return max(created, key=lambda name: (created[name], name))


def _training(page: Page, name: str, going: bool) -> None:
    with errors_shown():  # what is raised in a fragment does not reach the page
        _drawn(page, name, going)


def _drawn(page: Page, name: str, going: bool) -> None:
    folder = folder_of(page.source.cache, name)
    training = read_training(folder)
    if training is None or training.complete is going:  # it was taken away, or has just ended
        st.rerun(scope="app")
    progress = read_progress(folder)
    done = max(progress["step"].tolist(), default=0)
    if going:
        text = f"{done:,} of {training.steps:,} steps are done. If it was stopped, the same command goes on."
        st.progress(min(1.0, done / training.steps), text=text)
    st.markdown(plain(_made_of(training)))
    about = _stamp(training, folder)
    if progress.empty:
        header.nothing("No step is reported yet.")
    else:
        _curves(page, name, training, progress, about)
    if training.figures:
        _figures(page, name, training, about)


def _made_of(training: Training) -> str:
    config, data = training.config, training.data
    took = "" if training.seconds is None else f" in {training.seconds:,.0f} s"
    return (
        f"{config.model}, site {config.site}: {config.latents:,} features a hookpoint, {config.k} at a position; "
        f"{training.steps:,} steps of {config.batch_size} windows, {training.positions:,} positions{took}. Data: "
        f"{', '.join(source.source for source in data.sources)} ({data.tokens:,} tokens, and {data.held_out_tokens:,} "
        "that were held out)."
    )


def _curves(page: Page, name: str, training: Training, progress: pd.DataFrame, about: download.Stamp) -> None:
    shown = ["fvu", "dead_share"] if training.config.auxk_alpha == 0 else ["loss", "fvu", "dead_share"]
    for column, place in zip(shown, st.columns(len(shown), gap="medium"), strict=True):
        title, _, term = _LINES[column]
        with place:
            st.header("Loss: FVU of a batch" if len(shown) == 2 and column == "fvu" else title, help=terms.help(term))
            charts.draw(_chart(training, progress, column), f"{title} by positions trained on, a line a hookpoint")
            table = progress.filter(items=["step", "positions", "hookpoint", column, "seconds"])
            download.buttons(page, f"{column} of training {name}", table, chart=True, about=about)


def _chart(training: Training, progress: pd.DataFrame, column: str) -> Chart:
    title, form, _ = _LINES[column]
    names = list(training.config.hookpoints)
    hues = [HUES[index % len(HUES)] for index in range(len(names))]
    dashes = [list(_DASHES[min(index // len(HUES), len(_DASHES) - 1)]) for index in range(len(names))]
    shares = column == "dead_share"  # 0 is among them, and has no place on a log axis
    scale = {"zero": True} if shares else {"type": "log", "nice": False}
    axis_note = "" if shares else " (log scale)"
    legend = {"orient": "top", "columns": 2, "labelLimit": 200}
    spec = {
        "height": _HEIGHT,
        "mark": {"type": "line", "strokeWidth": 2, "point": len(progress) <= 3 * len(names)},
        "encoding": {
            "x": quantity("positions", "Positions trained on", axis={"tickCount": 5, "format": "~s"}),
            "y": quantity(column, title + axis_note, scale=scale, axis={"tickCount": 5, "format": form}),
            "color": category("hookpoint", None, scale={"domain": names, "range": hues}, legend=legend),
            "strokeDash": category("hookpoint", None, scale={"domain": names, "range": dashes}, legend=legend),
            "tooltip": tooltip(
                ("hookpoint", "Hookpoint"), ("step", "Step"), ("positions", "Positions", ","),
                (column, title, ".2%" if column == "dead_share" else ".4f"),
            ),
        },
        "usermeta": download.SVG,
    }  # fmt: skip
    return Chart(progress.filter(items=["step", "positions", "hookpoint", column]), spec)


def _figures(page: Page, name: str, training: Training, about: download.Stamp) -> None:
    st.header("On texts that were held out", help=terms.help("held_out"))
    table = pd.DataFrame([each.model_dump() for each in training.figures], columns=list(HeldOut.model_fields))
    table = table.astype({"fvu": float, "loss_recovered": float})  # either may be null in all rows
    shown = pd.DataFrame({"hookpoint": table["hookpoint"]})
    columns: dict[str, ColumnConfig] = {"hookpoint": TextColumn("Hookpoint", pinned=True)}
    for column, title, decimals, unit, term in (
        ("fvu", "FVU", 3, "", "fvu"),
        ("l0", "L0", 1, "", "l0"),
        ("dead_share", "Dead", 1, "%", "dead"),
        ("loss_recovered", "Loss recovered", 3, "", "loss_recovered"),
    ):
        values = table[column].tolist()
        shown[column], columns[column] = numerals.column(
            title, values, decimals=decimals, unit=unit, help=terms.help(term)
        )
    for place, column, title in ((4, "positions", "n, positions"), (6, "predictions", "n, predictions")):
        shown.insert(place, column, table[column])  # beside the figures that are of so many
        columns[column] = NumberColumn(title, format="localized")
    described = "Quality of the SAEs on texts that were held out"
    st.dataframe(shown, hide_index=True, column_config=columns, placeholder=numerals.MISSING, alt=described)
    download.buttons(page, f"held-out figures of training {name}", table, about=about)
    st.caption(
        "Dead: fires at none of these texts' n positions; the fewer they are, the more features seem dead. "
        f"In the chart of dead features: has not fired for the last {DEAD_AFTER:,} positions of the training, or, "
        "where it has had fewer, never. Loss recovered is of n predictions and has no interval here: of few it is a "
        "rough figure."
    )


def _stamp(training: Training, folder: Path) -> dict[str, str]:
    """What a table of a training is, and what that was made with."""
    config = training.config.model_dump(mode="json")
    facts: dict[str, object] = {**download.app_stamp("training"), "folder": folder, **config}
    facts |= {"model_revision": training.model_revision, "data.digest": training.data.digest}
    facts |= {f"made.{fact}": value for fact, value in training.provenance.items()}
    return {fact: " ".join(str("none" if value is None else value).split()) for fact, value in facts.items()}

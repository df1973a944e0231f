"""What people wrote about an experiment's features and inferences, as tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from kthink_core.config import Experiment
from kthink_core.errors import UnknownName
from kthink_core.notes import FILE, FeatureLists, Label, Notebook, identity, of_feature


def labels(cache: Path, experiment: Experiment, hookpoint: str) -> pd.DataFrame:
    """By feature: feature, label, source (empty: people here), score, author, updated. Of several labels of a feature
    the one that pages show comes first. Raises UnknownName."""
    if hookpoint not in experiment.saes:
        raise UnknownName("hookpoint", hookpoint, experiment.saes)
    found = Notebook(cache / FILE).all_labels(of_feature(experiment, hookpoint, 0))
    table = pd.DataFrame(found, columns=list(Label._fields)).rename(columns={"value": "label"})
    return table.filter(items=["feature", "label", "source", "score", "author", "updated"]).astype({"score": "float64"})


def notes(cache: Path, experiment: Experiment) -> pd.DataFrame:
    """All that stands about features of its SAEs, whatever experiment they were looked at in, and about its inferences
    and their spans, the newest first: `notes.notebook.COLUMNS`."""
    table = Notebook(cache / FILE).table()
    own = (table["kind"] != "feature") & (table["experiment"] == experiment.name)
    for hookpoint in experiment.saes:
        named = identity(of_feature(experiment, hookpoint, 0))
        del named["feature"]
        own |= (table.filter(items=list(named)) == pd.Series(named)).all(axis="columns")
    return table.loc[own].reset_index(drop=True)


def lists(cache: Path, experiment: Experiment) -> pd.DataFrame:
    """The lists of features, the one changed last first, each in its order: list (its id), name, note, author,
    hookpoint, feature. What they hold of other SAEs is left out, and a list of nothing else with it."""
    book, rows = FeatureLists(cache / FILE), []
    for one in book.all():
        for hookpoint in experiment.saes:
            held = book.beside(one.id, of_feature(experiment, hookpoint, 0))
            rows += [(one.id, one.name, one.note, one.author, hookpoint, feature) for feature in held]
    return pd.DataFrame(rows, columns=["list", "name", "note", "author", "hookpoint", "feature"])

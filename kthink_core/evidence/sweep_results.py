"""Stored sweeps of an experiment, as tables."""

from __future__ import annotations

import pandas as pd

from kthink_core.errors import UnknownName
from kthink_core.evidence import steer_table, sweep_figures
from kthink_core.evidence.sweep_question import KIND
from kthink_core.queries.checks import check_top
from kthink_core.store.reader import Reader
from kthink_core.store.studies import list_studies, read_study
from kthink_core.store.sweeps import Sweep

COLUMNS = (
    "study", "created", "complete", "runs", "of", "features", "action", "strengths", "start", "problems",
    "problems_from", "samples", "seed",
)  # fmt: skip


def sweeps(reader: Reader, top: int = 100) -> pd.DataFrame:
    """The sweeps of an experiment that count, the newest first: `COLUMNS`."""
    check_top(top)
    found = list_studies(reader.layout, reader.experiment, KIND, Sweep).found
    rows = [
        {
            "study": id,
            "created": sweep.made.created,
            "complete": sweep.complete,
            "runs": len(sweep.runs),
            "of": sweep.of,
            "features": " ".join(target.name for target in sweep.asked.targets),
            "action": sweep.asked.action,
            "strengths": " ".join(f"{strength:g}" for strength in sweep.asked.strengths),
            "start": sweep.asked.start,
            "problems": len(sweep.questions),
            "problems_from": sweep.problems_from,
            "samples": sweep.asked.samples,
            "seed": sweep.asked.seed,
        }
        for id, sweep in list(found.items())[:top]
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def left_out(reader: Reader) -> list[str]:
    """A line for each stored sweep that does not count, with the reason."""
    return list_studies(reader.layout, reader.experiment, KIND, Sweep).problems


def stored(reader: Reader, study: str) -> Sweep:
    """One sweep. Raises UnknownName, BadFile."""
    found = read_study(reader.layout, reader.experiment, KIND, study, Sweep)
    if found is None:
        raise UnknownName("study", study, list_studies(reader.layout, reader.experiment, KIND, Sweep).found)
    return found


def figures(reader: Reader, study: str, top: int | None = None) -> pd.DataFrame:
    """The figures of one sweep, a row each measure, feature and strength, the first `top`: `sweep_figures.COLUMNS`.

    The 95 % intervals of accuracy and closed, shares of runs, are Wilson's (1927), of their differences to the baseline
    Newcombe's of paired shares (1998, method 10), a problem the unit where it has several runs (Korn and Graubard 1998,
    Zou and Donner 2008); those of tokens and repetition by the bootstrap over problems (Efron 1979), which is too
    narrow below twenty problems. p: a sign-flip test over problems; q: p by Benjamini and Hochberg (1995). A run that
    was cut off at the limit has no answer. Raises as `stored`."""
    return _first(sweep_figures.figures(stored(reader, study)), top)


def runs(reader: Reader, study: str, top: int | None = None) -> pd.DataFrame:
    """The runs of one sweep, the first `top`: `sweep_figures.RUN_COLUMNS`.

    positions: at how many generated ones steering acted; change, change_max: median and largest of ‖Δh‖ / ‖h‖ over
    these; before, after: medians of the feature's activation; checks, of one run of each batch: what was tried on it,
    the value found, the most that it may be. A run that was cut off (finish_reason `length`) has no answer. Raises as
    `stored`."""
    return _first(sweep_figures.runs(stored(reader, study)), top)


def steered(reader: Reader, study: str, top: int | None = None) -> pd.DataFrame:
    """What each feature and strength of one sweep does to the answers, the first `top`: `steer_table.COLUMNS`.

    n: problems; one is solved where more than half of its runs are right, none that was cut off. b, c: solved by the
    baseline alone, by the steered runs alone; p: McNemar's, exact; p_holm: corrected for all rows (Holm 1979).
    difference: of accuracies, its 95 % interval Newcombe's of paired shares (1998, method 10); that of the length by
    the bootstrap over problems (Efron 1979). change, change_max: median over the runs of the median of ‖Δh‖ / ‖h‖, and
    its largest; checks: what was tried on a run of each batch, the worst value, the most that it may be; checks_failed:
    runs on which one does not hold. Raises as `stored`."""
    return _first(steer_table.steer_table(stored(reader, study)), top)


def _first(table: pd.DataFrame, top: int | None) -> pd.DataFrame:
    check_top(1 if top is None else top)
    return table.iloc[:top]


def remarks(reader: Reader, study: str) -> list[str]:
    """What there is too little of in one, a sentence each."""
    return sweep_figures.remarks(stored(reader, study))

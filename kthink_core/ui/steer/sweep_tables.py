"""A sweep's arms in figures, and the texts of its runs beside the baseline's at the same seed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn

from kthink_core import signs
from kthink_core.evidence.pooled_receipts import Pooled
from kthink_core.evidence.steer_table import too_few
from kthink_core.evidence.sweep_figures import MEASURES, Measure, ended_by_itself, runs, steered
from kthink_core.store.sweeps import Arm, Run, Sweep
from kthink_core.ui.live.live_view import ENDINGS
from kthink_core.ui.parts import clicks, download, header, numerals, terms
from kthink_core.ui.parts.writing import plain, visible
from kthink_core.ui.steer.sweep_charts import ENDED, TITLES, apart, between, names_of, written
from kthink_core.ui.view.page import Page


def draw(page: Page, id: str, sweep: Sweep, figures: pd.DataFrame, solved: pd.DataFrame) -> None:
    """`figures`, `solved`: `sweep_figures.figures` and `steer_table.steer_table` of it."""
    called = names_of(page, sweep)
    _figures(sweep, figures, called)
    _solved(page, id, sweep, solved, called)
    _texts(page, id, sweep, called)


def _figures(sweep: Sweep, table: pd.DataFrame, called: Mapping[str, str]) -> None:
    """An arm a row: each measure, and its difference to the baseline."""
    st.header("Figures", help=terms.help("sweep_p"))
    ran = table.loc[table["measure"] == "tokens", :]
    columns: dict[str, list[str] | list[int]] = {
        "Feature": [name_of(arm, called) for arm in sweep.arms],
        "Runs": ran["runs"].tolist(),
        "Problems": ran["problems"].tolist(),
    }
    for measure in MEASURES:
        rows = table.loc[table["measure"] == measure, :].to_dict("records")
        columns[TITLES[measure]] = [_figure(measure, row) for row in rows]
        if measure == "closed":
            columns[ENDED] = [_of(ended, runs, "runs") for ended, runs in ended_by_itself(sweep)]
    receipts = steered(sweep)
    columns["‖Δh‖ / ‖h‖"] = [_share(of.change, of.change_max) for of in receipts]
    columns["Checks"] = [_checked(of) for of in receipts]
    st.caption(
        "Of the baseline: the mean with its 95 % interval in brackets. Of the others: the mean, its difference to the "
        "baseline at the same problems and seeds, in brackets the 95 % interval of the difference, and q. A run that "
        "was cut off at the limit may have closed its thought all the same, and still has no answer. Checks are tried "
        "on one run of each batch."
    )
    config = {
        "Feature": TextColumn(pinned=True),
        "‖Δh‖ / ‖h‖": TextColumn(help=f"Median over the runs, and the largest. {terms.help('relative_change')}"),
        "Checks": TextColumn(help=terms.help("steering_checks")),
    }
    st.dataframe(pd.DataFrame(columns), hide_index=True, column_config=config, alt="Figures of the sweep")


def _figure(measure: Measure, row: Mapping[Hashable, Any]) -> str:
    """Of an arm: `7 of 8 runs, 87.5 %; +12.5 points (0.0 to 37.5), q 0.250`."""
    mean, runs = written(measure, row["mean"]), row["runs"]
    if measure in ("accuracy", "closed") and runs:
        mean = f"{_of(round(row['mean'] * runs), runs, 'runs')}, {mean}"
    if pd.isna(row["feature"]):
        return mean if pd.isna(row["low"]) else f"{mean} ({between(measure, row['low'], row['high'])})"
    return mean if pd.isna(row["difference"]) else f"{mean}; {apart(measure, row)}, q {_chance(row['q'])}"


def _of(count: int, whole: int, what: str) -> str:
    return f"{count:,} of {whole:,} {what}" if whole else numerals.MISSING


def _solved(page: Page, id: str, sweep: Sweep, table: pd.DataFrame, called: Mapping[str, str]) -> None:
    if not any(table["n"].tolist()):
        return
    st.header("Problems lost and won", help=terms.help("mcnemar"))
    for remark in too_few(table):
        header.nothing(plain(remark))
    st.caption(
        "A problem is solved where more than half of its runs, one a seed, are right: a tie is unsolved. So shares of "
        "problems differ from the shares of runs above."
    )
    shown = pd.DataFrame(
        {
            "feature": [name_of(arm, called) for arm in sweep.arms[1:]],
            "n": table["n"],
            "before": _solved_of(table, "accuracy_baseline"),
            "after": _solved_of(table, "accuracy"),
            "b": table["b"],
            "c": table["c"],
            "p": table["p"].map(_chance),
            "p_holm": table["p_holm"].map(_chance),
        }
    )
    columns = {
        "feature": TextColumn("Feature", pinned=True),
        "n": NumberColumn("Problems", format="%d"),
        "before": TextColumn("Solved, baseline"),
        "after": TextColumn("Solved, steered"),
        "b": NumberColumn("Lost", format="%d"),
        "c": NumberColumn("Won", format="%d"),
        "p": TextColumn("p"),
        "p_holm": TextColumn("p, Holm", help=terms.help("holm")),
    }
    st.dataframe(shown, hide_index=True, column_config=columns, alt="Problems lost and won")
    download.buttons(page, f"steer-eval {id}", table)


def _solved_of(table: pd.DataFrame, column: str) -> list[str]:
    pairs = zip(table[column].tolist(), table["n"].tolist(), strict=True)
    return [_of(round(share * n) if n else 0, n, "problems") for share, n in pairs]


def _texts(page: Page, id: str, sweep: Sweep, called: Mapping[str, str]) -> None:
    st.header("Texts")
    arms, by_key = sweep.arms, {run.key: run for run in sweep.runs}
    steered = sorted({run.arm for run in sweep.runs if run.arm})
    if not steered:
        header.nothing("No steered run is done yet.")
        return
    arm = st.selectbox("Steered", steered, format_func=lambda number: name_of(arms[number], called), width=500)
    rows = [(run, by_key.get((0, *run.key[1:]))) for run in sweep.runs if run.arm == arm]
    rows.sort(key=lambda pair: pair[0].key)
    columns = {
        "problem": NumberColumn("Problem", format="%d", width=70),
        "seed": NumberColumn("Seed", format="%d", width=70),
        "before": TextColumn("Baseline", width=90),
        "after": TextColumn("Steered", width=90),
        "answer": TextColumn("Its answer", width=110),
        "reference": TextColumn("Reference", width=90),
        "tokens": NumberColumn("Tokens", format="%d", width=70),
        "change": TextColumn(
            "‖Δh‖ / ‖h‖, median", width=170, help=f"Over the positions steered. {terms.help('relative_change')}"
        ),
    }
    shown = pd.DataFrame(
        {
            "problem": [run.problem for run, _ in rows],
            "seed": [run.seed for run, _ in rows],
            "before": [_outcome(base) for _, base in rows],
            "after": [_outcome(run) for run, _ in rows],
            "answer": [numerals.MISSING if run.final is None else visible(run.final) for run, _ in rows],
            "reference": [visible(sweep.questions[run.problem].reference or numerals.MISSING) for run, _ in rows],
            "tokens": [run.tokens for run, _ in rows],
            "change": [
                _share(run.receipt.change_median, run.receipt.change_max) if run.receipt else "" for run, _ in rows
            ],
        }
    )
    st.caption("Click a row, or press Enter in it, to read it beside the baseline.")
    opened = f"sweep run {id} {arm}"
    clicks.table(
        shown, columns, f"sweep runs {id} {arm}", lambda row: st.session_state.__setitem__(opened, row),
        rows=8, described="Runs",
    )  # fmt: skip
    download.buttons(page, f"runs of sweep {id}", lambda: runs(sweep))
    run, base = rows[min(st.session_state.get(opened, 0), len(rows) - 1)]
    st.markdown(plain(sweep.questions[run.problem].question))
    left, right = st.columns(2, gap="medium")
    with left:
        _text("Baseline", base, sweep)
    with right:
        _text(name_of(arms[arm], called), run, sweep)


def _text(title: str, run: Run | None, sweep: Sweep) -> None:
    st.markdown(f"**{plain(title)}**")
    if run is None:
        header.nothing("This run is not done yet.")
        return
    cut = " Its beginning is kept." if len(run.text) == sweep.longest_text else ""
    st.caption(f"{_outcome(run)}, {run.tokens:,} tokens, {ENDINGS[run.finish_reason]}, seed {run.seed}.{cut}")
    st.code(signs.revealed(run.text), language=None, wrap_lines=True)


def name_of(arm: Arm, called: Mapping[str, str]) -> str:
    """An arm in words. `called`: as of `sweep_charts.names_of`."""
    if arm.target is None or arm.intervention is None:
        return "baseline"
    action = arm.intervention.action
    name = called.get(arm.target.name, arm.target.name)
    return f"{name} {action}" if action == "ablate" else f"{name} {action} {arm.strength:g}×"


def _outcome(run: Run | None) -> str:
    if run is None:
        return numerals.MISSING
    if run.finish_reason == "length":
        return "cut off"
    return {True: "right", False: "wrong", None: "ungraded"}[run.solved]


def _share(median: float | None, most: float | None) -> str:
    """Of ‖Δh‖ / ‖h‖: `12.5 %, at most 40.1 %`."""
    if median is None or most is None:
        return numerals.MISSING
    return f"{numerals.percent(median)}, at most {numerals.percent(most)}"


def _checked(of: Pooled) -> str:
    """What was tried on the runs of an arm: `hold in 2 of 2 runs: as it is 3e-08 of 1e-06; …`."""
    if of.text is None:
        return numerals.MISSING
    return f"hold in {of.checked - of.failed} of {of.checked} runs: {visible(of.text)}"


def _chance(p: float) -> str:
    return numerals.MISSING if pd.isna(p) else "< 0.0001" if p < 0.0001 else numerals.number(p, 3)

"""Tables as the command line prints them: which query needs what, and the three formats."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from inspect import signature
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

import pandas as pd

from kthink_core import cells, queries, signs
from kthink_core.errors import BadValue, UnknownName
from kthink_core.evidence import (
    ablation_results,
    attribution_results,
    difference_table,
    injection_results,
    passport,
    reason_score,
    same_tokens,
    sentence_results,
    steer_table,
    sweep_figures,
    sweep_results,
    think_or_word,
)
from kthink_core.evidence.caveats import caveats, differing
from kthink_core.evidence.differences import contrast
from kthink_core.evidence.duplicates import families
from kthink_core.evidence.label_test import label_test
from kthink_core.plain_queries import PLAIN_QUERIES, Query, frequencies
from kthink_core.queries import steered
from kthink_core.store.reader import Reader, list_experiments, open_reader

_SHORT = 20
"""Rows."""
Format = Literal["table", "json", "csv"]
FORMATS: tuple[Format, ...] = ("table", "json", "csv")


def _of_contrast(reader: Reader, table: pd.DataFrame, given: dict[str, Any]) -> list[str]:
    told = caveats(table, given["between"])
    apart = differing(reader.experiment, given["other"].experiment) if "other" in given else ""
    return [f"The two experiments differ in {apart}.", *told] if apart else told


def _of_label_test(_: Reader, table: pd.DataFrame, given: dict[str, Any]) -> list[str]:
    told = []
    for column, missing in (("firing", "The feature never fires"), ("marked", "The pattern matches nothing")):
        halves = table.loc[table[column] == 0, "half"].tolist()
        if halves:
            where = "" if len(halves) == len(table) else f" of the inferences {halves[0]}"
            told.append(f"{missing} in scope {given['scope']}{where}: the figures there say nothing of the label.")
    return told


def _of_sweep(reader: Reader, _: pd.DataFrame, given: dict[str, Any]) -> list[str]:
    return sweep_results.remarks(reader, given["study"])


QUERIES: dict[str, Query] = {
    "inferences": Query(
        queries.inferences, (), (),
        ("inference", "problem", "mode", "seed", "prompt_tokens", "generated_tokens", "finish_reason", "answer",
         "reference", "correct"),
    ),
    "transcript": Query(
        queries.transcript, ("inference",), ("hookpoint", "feature"),
        ("position", "token_id", "text", "segment", "logprob", "activation"),
    ),
    "feature-activations": Query(
        queries.feature_activations, ("inference", "hookpoint"), ("scope", "top"),
        ("feature", "position", "token_id", "text", "activation"),
    ),
    "feature-frequencies": Query(
        frequencies, ("hookpoint",), ("inference", "scope", "top"), ("feature", "positions")
    ),
    "relevant-features": Query(
        queries.relevant_features, ("inference", "hookpoint"), ("scope", "top"), ("rank", "feature", "max_activation")
    ),
    "feature-counts": Query(
        queries.feature_counts, ("hookpoint",), ("scope", "top"), ("feature", "inferences", "of", "max_activation")
    ),
    "top-tokens": Query(
        queries.top_tokens, ("hookpoint", "feature"), ("inference", "scope", "top"),
        ("token_id", "text", "max_activation", "mean_activation", "count"),
    ),
    "interventions": Query(queries.interventions, (), ("inference", "top"), steered.COLUMNS),
    "token-differences": Query(
        same_tokens.token_differences, ("other", "inference", "hookpoint"), (), same_tokens.TOKENS
    ),
    "feature-differences": Query(
        same_tokens.feature_differences, ("other", "inference", "hookpoint"), ("scope", "top"), same_tokens.FEATURES
    ),
    "label-test": Query(
        label_test, ("hookpoint", "feature", "pattern"), ("scope",),
        ("half", "inferences", "positions", "firing", "marked", "both", "near_misses", "near_marked", "precision",
         "recall", "auroc", "low", "high"),
        _of_label_test,
    ),
    "think-or-word": Query(
        think_or_word.think_or_word, ("hookpoint", "feature"), (), think_or_word.COLUMNS,
        lambda _, table, given: think_or_word.remarks(table),
    ),
    "think-or-word-tokens": Query(
        think_or_word.think_or_word_tokens, ("hookpoint", "feature"), ("top",), think_or_word.TOKENS
    ),
    "families": Query(
        families, ("hookpoint",), ("scope", "top"),
        ("family", "feature", "members", "inferences", "positions", "shared", "overlap", "cosine"),
    ),
    "reason-score": Query(
        reason_score.reason_score, ("hookpoint",), ("scope", "top", "vocabulary", "window", "alpha"),
        reason_score.COLUMNS, lambda reader, _, given: reason_score.remarks(reader, **given),
    ),
    "quality": Query(passport.passport, (), ("hookpoint", "inference", "scope"), passport.COLUMNS),
    "contrast": Query(
        contrast, ("hookpoint", "between"), ("scope", "top", "word", "other"),
        ("feature", "rate_a", "rate_b", "mean_a", "mean_b", "difference", "low", "high", "p", "q", "inferences_a",
         "inferences_b", "matched", "matched_low", "matched_high", "needed", "tested", "labelings"),
        _of_contrast,
    ),
    "differences": Query(
        difference_table.differences, ("hookpoint",),
        ("scope", "inference", "against", "span", "opposite", "other", "top"), difference_table.COLUMNS,
        difference_table.remarks,
    ),
    "sentences": Query(
        sentence_results.sentences, ("inference",), ("hookpoint", "feature", "top"), sentence_results.COLUMNS,
        lambda reader, _, given: sentence_results.remarks(reader, given["inference"]),
    ),
    "injection": Query(
        injection_results.injection, ("hookpoint",), ("feature", "top"), injection_results.COLUMNS,
        lambda reader, _, given: injection_results.left_out(reader, given["hookpoint"]),
    ),
    "sweeps": Query(
        sweep_results.sweeps, (), ("top",), sweep_results.COLUMNS, lambda reader, *_: sweep_results.left_out(reader)
    ),
    "sweep": Query(sweep_results.figures, ("study",), ("top",), sweep_figures.COLUMNS, _of_sweep),
    "sweep-runs": Query(sweep_results.runs, ("study",), ("top",), sweep_figures.RUN_COLUMNS, _of_sweep),
    "steer-eval": Query(
        sweep_results.steered, ("study",), ("top",), steer_table.COLUMNS,
        lambda reader, table, given: [*_of_sweep(reader, table, given), *steer_table.too_few(table)],
    ),
    "ablation": Query(
        ablation_results.ablations, (), ("inference", "hookpoint", "feature"), ablation_results.ABLATIONS,
        lambda reader, _, given: ablation_results.left_out(reader, **given),
    ),
    "ablation-effects": Query(
        ablation_results.ablation_effects, ("inference", "hookpoint", "feature"), (), ablation_results.EFFECTS
    ),
    "attribution": Query(
        attribution_results.attributions, (), ("inference", "hookpoint", "top"), attribution_results.ATTRIBUTIONS,
        lambda reader, _, given: attribution_results.attribution_remarks(reader, **given),
    ),
    "attribution-checks": Query(
        attribution_results.attribution_checks, (), ("inference", "hookpoint"), attribution_results.CHECKS,
        lambda reader, _, given: attribution_results.attribution_remarks(reader, **given),
    ),
    **PLAIN_QUERIES,
}  # fmt: skip


class Answered(NamedTuple):
    """What a query found."""

    table: pd.DataFrame
    """Its contract columns only."""
    remarks: tuple[str, ...]
    """What is left out of it, and what to know before believing it, a line each."""


def query_table(
    cache: Path, experiment: str, query: str, scope: str, warn: Callable[[str], None], **options: object
) -> pd.DataFrame:
    """The answer to a query by name, its contract columns only. `warn` hears what is left out of it, a line each.

    options: those of `query_options`, `other` another experiment's name; None where not given.
    Raises UnknownName, OutOfRange, BadValue, NotComparable, and what opening the experiments raises.
    """
    if query not in QUERIES:
        raise UnknownName("query", query, QUERIES)
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    with ExitStack() as opened:
        reader = opened.enter_context(open_reader(cache, experiment))
        check_options(reader, query, given)
        if "scope" in QUERIES[query].takes:
            given["scope"] = scope
        if "other" in given:
            given["other"] = opened.enter_context(open_reader(cache, given["other"]))
        table, remarks = answered(reader, query, given)
        for remark in remarks:
            warn(remark)
        return table


def check_options(reader: Reader, query: str, given: Collection[str]) -> None:
    """Raises BadValue where one is missing that a query needs, or one is given that it does not take."""
    chosen = QUERIES[query]
    for name in chosen.needs:
        if name not in given:
            hint = f", one of {', '.join(reader.experiment.saes)}" if name == "hookpoint" else ""
            raise BadValue(f"query {query} needs --{name}{hint}")
    for name in given:
        if name not in chosen.needs + chosen.takes:
            raise BadValue(f"query {query} takes no --{name}")


def answered(reader: Reader, query: str, given: Mapping[str, Any]) -> Answered:
    """Asks a query, with options that are its own; `other` is a reader. Raises UnknownName, OutOfRange, BadValue,
    NotComparable, and what reading raises."""
    chosen, given = QUERIES[query], dict(given)
    if "scope" in chosen.takes:
        given.setdefault("scope", "generated")
    table = chosen.ask(reader, **given)
    remarks = chosen.remarks(reader, table, given) if chosen.remarks else ()
    return Answered(table.filter(items=list(chosen.columns)), (*reader.warnings, *remarks, *_cut(chosen, table, given)))


def _cut(chosen: Query, table: pd.DataFrame, given: Mapping[str, Any]) -> list[str]:
    """That rows end where nobody asked for an end; of a short list everybody knows it."""
    if "top" not in chosen.takes or "top" in given:
        return []
    most = signature(chosen.ask).parameters["top"].default
    if most is None or most <= _SHORT or len(table) < most:
        return []
    return [f"these are the first {most} rows, and there may be more: `top` says how many"]


def experiments_table(cache: Path, sees: Callable[[str], bool] = lambda name: True) -> pd.DataFrame:
    """One row an experiment, of those that somebody `sees` by their name: name, model, SAE, site, mode, how many
    inferences are done of how many, any problem."""
    rows = []
    for status in list_experiments(cache):
        if not sees(status.name):
            continue
        known = status.experiment
        config = known.config if known else None
        rows.append(
            {
                "experiment": status.name,
                "model": config and config.model,
                "sae": config and config.sae,
                "hookpoints": config and " ".join(config.hookpoints),
                "site": config and config.site,
                "mode": config and config.mode,
                "done": status.committed,
                "of": known and (status.committed if known.open_ended else known.inferences),
                "problem": status.problem,
            }
        )
    columns = ["experiment", "model", "sae", "hookpoints", "site", "mode", "done", "of", "problem"]
    return pd.DataFrame(rows, columns=columns).astype({"of": "Int64"})  # whole numbers though one may be missing


def as_json(table: pd.DataFrame) -> str:
    """A list of objects, one a row."""
    written = StringIO()
    table.to_json(written, orient="records", force_ascii=False, double_precision=15)
    return written.getvalue()


def write_table(table: pd.DataFrame, form: Format, out: TextIO) -> None:
    """Print a table. In `table` form what a terminal would obey or hide of token text is spelled out; in `csv` form a
    spreadsheet computes nothing."""
    if form == "json":
        out.write(as_json(table) + "\n")
    elif form == "csv":
        out.write(cells.as_csv(table))
    elif table.empty:
        out.write("(none)\n")
    else:
        out.write(table.map(_visible).to_string(index=False) + "\n")


def _visible(value: str | float | None) -> str | float:
    if not isinstance(value, str):
        return "–" if value is None or pd.isna(value) else value
    spelled = signs.revealed(value).replace("\n", "\\n").replace("\t", "\\t")
    return spelled if spelled.strip() else repr(spelled)

"""What pages ask, asked on the command line: every option and every column."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kthink_core import queries
from kthink_core.cli import main
from kthink_core.listing import QUERIES
from kthink_core.plain_queries import PLAIN_QUERIES
from kthink_core.store.reader import open_reader
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment
from tests.query_samples import questions, spelled

H = ["--hookpoint", HOOKPOINTS[0]]
ONE = ["--inference", "1"]
ASKED = questions("none of these asks for a study")
MAY_BE_EMPTY = {"neighbours", "promoted-tokens", "sinks", "steering-checks", "branches"}
"""Of the sample: it is not finished, was not steered, and has no sinks."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 6))
    return folder


def ask(cache: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["query", *arguments, "--experiment", "demo", "--cache", str(cache), "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("query", PLAIN_QUERIES)
def test_it_answers_with_its_columns(query: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ask(cache, capsys, query, *spelled(ASKED[query]))
    assert rows or query in MAY_BE_EMPTY
    assert all(list(row) == list(PLAIN_QUERIES[query].columns) for row in rows)


def test_no_column_is_promised_that_is_not_there(cache: Path) -> None:
    """Where the sample has no rows."""
    with open_reader(cache, "demo") as reader:
        tables = {
            "neighbours": queries.neighbours(reader, HOOKPOINTS[0], 7),
            "promoted-tokens": queries.promoted_tokens(reader, HOOKPOINTS[0], 7),
            "sinks": queries.sinks(reader, HOOKPOINTS[0]),
            "steering-checks": queries.steering_checks(reader, 1),
            "branches": queries.branches(reader),
        }
    assert tables.keys() == MAY_BE_EMPTY
    assert all(tuple(table.columns) == PLAIN_QUERIES[name].columns for name, table in tables.items())


def test_every_question_of_the_store_is_on_the_command_line() -> None:
    functions = {name.replace("_", "-") for name in queries.__all__ if callable(getattr(queries, name))}
    assert functions - {"Scope", "Sort", "Ranking"} <= QUERIES.keys()


def test_options_reach_the_question(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = ask(cache, capsys, "feature-table", *H)
    some = ask(cache, capsys, "feature-table", *H, "--features", "7,3,5")
    assert {row["feature"] for row in some} == {7, 3, 5} < {row["feature"] for row in whole}
    by_maximum = ask(cache, capsys, "feature-table", *H, "--sort", "maximum")
    maxima = [row["max_activation"] for row in by_maximum]
    assert maxima == sorted(maxima, reverse=True)
    span = ask(cache, capsys, "span-features", *H, *ONE, "--span", "3:9")
    assert {row["span_size"] for row in span} == {7}
    around = ask(cache, capsys, "context-tokens", *H, *ONE, "--feature", "7", "--position", "4")
    assert [row["position"] for row in around][:6] == list(range(6))
    rare = ask(cache, capsys, "feature-percentiles", *H, "--features", "7,3", "--maxima", "0.5,20")
    assert {row["feature"]: row["max_activation"] for row in rare} == {7: 0.5, 3: 20}
    (pair,) = ask(cache, capsys, "feature-pair", *H, "--features", "7,3")
    (summary,) = ask(cache, capsys, "feature-summary", *H, "--feature", "7")
    assert pair["both"] + pair["only_first"] == summary["positions"]  # pyright: ignore[reportOperatorIssue]


MISTAKES = {
    "query feature-matrix needs --features": ["feature-matrix", *H],
    "query feature-table takes no --span": ["feature-table", *H, "--span", "1:2"],
    "unknown sort 'thin': did you mean 'think'": ["feature-table", *H, "--sort", "thin"],
    "unknown ranking 'left': did you mean 'lift'": ["ranked-features", *H, *ONE, "--ranking", "left"],
    "3 features: a pair has two": ["feature-pair", *H, "--features", "1,2,3"],
    "2 different features were asked with 1 maxima": ["feature-percentiles", *H, "--features", "1,2", "--maxima", "1"],
    "feature 64 is out of range": ["feature-tracks", *H, *ONE, "--features", "1,64"],
    "the span from 9 to 3 ends before it begins": ["span-features", *H, *ONE, "--span", "9:3"],
    "x is no span: it has a first and last position": ["span-features", *H, *ONE, "--span", "x"],
    "'x' is not a list of numbers": ["feature-percentiles", *H, "--features", "1", "--maxima", "x"],
    "inference 6 is out of range": ["context-tokens", *H, "--inference", "6", "--feature", "7", "--position", "4"],
}


@pytest.mark.parametrize(("complaint", "arguments"), MISTAKES.items())
def test_mistakes_are_one_line_and_status_2(
    complaint: str, arguments: list[str], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    try:
        status = main(["query", *arguments, "--experiment", "demo", "--cache", str(cache)])
    except SystemExit as leaving:  # argparse
        status = leaving.code
    (line,) = capsys.readouterr().err.splitlines()
    assert status == 2 and complaint in line

"""Files that people take along: they read back equal, and say where they come from."""

from __future__ import annotations

import re
from csv import DictReader
from datetime import UTC, datetime
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as some

import kthink_core
from kthink_core.listing import write_table
from kthink_core.revisions import Revisions
from kthink_core.ui.parts import download
from kthink_core.ui.view.cache import Source
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.permalink import View
from tests.app_samples import HOOKPOINTS, PAYLOADS, sample_experiment

TEXTS = [*PAYLOADS, "# no comment", "NA", "null", " a, b ", 'say "so"', "two\nlines", "\ttab", "=1+1", "ä€🙂", "#"]


@pytest.fixture
def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    count = len(TEXTS)
    return pd.DataFrame(
        {
            "feature": np.arange(count, dtype=np.int32),
            "activation": random.gamma(2, 3, count).astype(np.float32),
            "share": np.where(random.random(count) < 0.3, np.nan, random.random(count)),
            "text": TEXTS,
        }
    )


@pytest.fixture
def page(tmp_path: Path) -> Page:
    facts = {"torch": "2.13.0", "duckdb": "2.0.0"}
    plain = sample_experiment("demo", 6, sae="org/saes", model="org/model")
    experiment = plain.model_copy(
        update={"provenance": plain.provenance | facts, "revisions": Revisions(model="sha256:def", sae="abc123")}
    )
    view = View("demo", HOOKPOINTS[1], 3, "think", feature=12, search="a & b")
    return Page(Source(tmp_path, "demo", "1"), [], experiment, (0, 1, 3), view)


def comments(csv: bytes) -> dict[str, str]:
    lines = [line.removeprefix("# ") for line in csv.decode().splitlines() if line.startswith("# ")]
    return dict(line.split(": ", 1) for line in lines)


def read_csv(csv: bytes) -> pd.DataFrame:
    """As the file itself says."""
    table = pd.read_csv(
        StringIO(csv.decode(), newline=""), comment="#", keep_default_na=False, na_values=[""], dtype={"text": "str"}
    )
    return table.replace(r"^'(?='*[=+\-@\t\r])", "", regex=True)


def test_the_stamp_says_what_made_the_table(page: Page) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    about = download.stamp(page, "feature counts", relevant=20)
    assert before <= datetime.fromisoformat(about.pop("date")) <= datetime.now(UTC)
    view = parse_qs(about.pop("view"))
    assert view["search"] == ["a & b"]
    assert (view["feature"], view["inference"]) == (["12"], ["3"])
    assert about == {
        "query": "feature counts", "app": f"kthink {kthink_core.__version__}",
        "experiment": "demo", "inferences": "3 of 6", "model": "org/model", "model_revision": "sha256:def",
        "sae": "org/saes", "sae_revision": "abc123", "site": "hookpoint", "hookpoint": HOOKPOINTS[1], "scope": "think",
        "relevant": "20",
        "made.created": "2026-01-02T03:04:05+00:00", "made.kthink": "0.1.0", "made.device": "cpu",
        "made.torch": "2.13.0", "made.duckdb": "2.0.0",
    }  # fmt: skip
    assert download.stamp(page, "q", hookpoint="layers.2.mlp", scope="all")["hookpoint"] == "layers.2.mlp"


def test_csv_reads_back_equal_and_begins_with_the_stamp(table: pd.DataFrame) -> None:
    about = {"query": "top tokens", "experiment": "demo", "scope": "think"}
    csv = download.as_csv(table, about)
    assert csv.startswith(b"# query: top tokens\n# experiment: demo\n# scope: think\n# read with: pandas.read_csv(")
    assert comments(csv).items() >= about.items()
    back = read_csv(csv).astype({"feature": np.int32, "activation": np.float32, "text": table["text"].dtype})
    pd.testing.assert_frame_equal(back, table)


def test_parquet_reads_back_equal_and_carries_the_stamp(table: pd.DataFrame, tmp_path: Path) -> None:
    about = {"query": "top tokens", "experiment": "dëmo"}
    content = download.as_parquet(table, about)
    pd.testing.assert_frame_equal(pd.read_parquet(BytesIO(content)), table)
    metadata = parquet.read_schema(BytesIO(content)).metadata
    assert metadata[b"kthink.query"] == b"top tokens"
    assert metadata[b"kthink.experiment"].decode() == "dëmo"
    path = tmp_path / "table.parquet"
    path.write_bytes(content)
    with duckdb.connect() as connection:
        found = connection.execute("SELECT count(*), sum(activation) FROM read_parquet(?)", [str(path)]).fetchone()
    assert found is not None and found[0] == len(table)
    assert found[1] == pytest.approx(table["activation"].astype(float).sum())


def test_json_lines_read_back_equal(table: pd.DataFrame) -> None:
    lines = download.as_json_lines(table).decode().splitlines()
    assert len(lines) == len(table)
    back = pd.read_json(StringIO("\n".join(lines)), lines=True, dtype=False)
    assert back["text"].tolist() == TEXTS
    assert back["feature"].tolist() == table["feature"].tolist()


FORMULAS = some.from_regex(r"\A'*[=+\-@\t\r]?[^\ud800-\udfff]*\Z").filter(bool)


@given(some.lists(FORMULAS, min_size=1, max_size=8), some.sampled_from(["object", "str", "category"]))
def test_a_spreadsheet_computes_nothing_and_every_text_reads_back(texts: list[str], kind: Any) -> None:
    numbers = [-1.5 - number for number in range(len(texts))]
    table = pd.DataFrame(
        {"logprob": numbers, "text": pd.Series(texts, dtype=kind), "any": pd.Series(texts, dtype=object)}
    )
    table.loc[0, "any"] = -3
    printed = StringIO(newline="")
    write_table(table, "csv", printed)
    for content in (download.as_csv(table, {}), printed.getvalue().encode()):
        body = re.sub(r"\A# .*\n", "", content.decode())
        rows = list(DictReader(StringIO(body, newline="")))
        assert [float(row["logprob"]) for row in rows] == numbers
        assert float(rows[0]["any"]) == -3
        cells = [row["text"] for row in rows]
        assert not any(re.match(r"[=+\-@\t\r]", cell) for cell in cells)
        assert [re.sub(r"\A'(?='*[=+\-@\t\r])", "", cell) for cell in cells] == texts
    assert read_csv(download.as_csv(table, {}))["text"].tolist() == texts


def test_nor_does_it_compute_a_part_of_the_stamp() -> None:
    content = download.as_csv(pd.DataFrame({"n": [1]}), {"model": "a,=1+1;-2,b-c"}).decode()
    assert content.startswith("# model: a,'=1+1;'-2,b-c\n")
    assert content.splitlines()[1] == (
        "# read with: pandas.read_csv(file, comment='#', keep_default_na=False, na_values=[''])"
        r""".replace(r"^'(?='*[=+\-@\t\r])", '', regex=True)"""
    )


@given(some.lists(some.text(some.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20), max_size=8))
def test_any_text_reads_back(texts: list[str]) -> None:
    table = pd.DataFrame({"n": range(len(texts)), "text": pd.Series(texts, dtype="str")})
    assert pd.read_parquet(BytesIO(download.as_parquet(table, {})))["text"].tolist() == texts
    assert read_csv(download.as_csv(table, {}))["text"].tolist() == texts


def test_an_empty_table_has_its_header() -> None:
    empty = pd.DataFrame({"feature": pd.Series(dtype="int64"), "text": pd.Series(dtype="str")})
    assert download.as_csv(empty, {"query": "q"}).decode().splitlines()[-1] == '"feature","text"'
    assert parquet.read_table(BytesIO(download.as_parquet(empty, {}))).column_names == ["feature", "text"]


def test_a_stamp_keeps_to_its_lines(page: Page) -> None:
    about = download.stamp(page, "two\nlines\r# and more", note="a\x0bb")
    assert about["query"] == "two lines # and more"
    assert all(
        len(line.split(": ", 1)) == 2 for line in download.as_csv(pd.DataFrame(), about).decode().split("\n")[:-2]
    )


def test_file_names_are_safe() -> None:
    assert download.file_name("demo", "top tokens of 5 / <b>") == "demo-top-tokens-of-5-b"
    assert download.file_name("..", "/etc/passwd") == "etc-passwd"
    assert download.file_name("???") == "table"

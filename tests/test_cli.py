"""The command line: its columns, formats and exit statuses; every mistake is one line."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from benchmarks.served import free_port
from benchmarks.stand_in import SHAPES
from kthink_core.cli import main

H1, H2 = SHAPES["tiny"].hookpoints
COLUMNS = {
    "inferences": "inference problem mode seed prompt_tokens generated_tokens finish_reason answer reference correct",
    "transcript": "position token_id text segment logprob activation",
    "feature-activations": "feature position token_id text activation",
    "feature-frequencies": "feature positions",
    "relevant-features": "rank feature max_activation",
    "feature-counts": "feature inferences of max_activation",
    "top-tokens": "token_id text max_activation mean_activation count",
    "quality": "hookpoint scope fvu l0 dead loss_recovered kl low high positions predictions inferences ce_model "
    "ce_spliced ce_zero mean_norm median_norm max_norm sinks cut",
}


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "problems.jsonl"
    path.write_text('{"question": "How many?", "answer": "3"}\n{"question": "And now?"}\n{"question": "Why?"}\n')
    return path


def compute(tiny: Path, problems: Path, cache: Path, *more: str) -> int:
    return main(
        ["precompute", "--experiment", "small", "--model", str(tiny / "model"), "--sae", str(tiny / "saes"),
         "--hookpoints", H1, H2, "--problems", str(problems), "--max-new-tokens", "6", "--device", "cpu",
         "--cache", str(cache), *more]
    )  # fmt: skip


@pytest.fixture(scope="module")
def cache(tiny: Path, problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    assert compute(tiny, problems, folder) == 0
    return folder


def ask(cache: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["query", *arguments, "--experiment", "small", "--cache", str(cache), "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


ARGUMENTS = {
    "inferences": [],
    "transcript": ["--inference", "0"],
    "feature-activations": ["--inference", "0", "--hookpoint", H1],
    "feature-frequencies": ["--inference", "0", "--hookpoint", H1],
    "relevant-features": ["--inference", "0", "--hookpoint", H1],
    "feature-counts": ["--hookpoint", H1],
    "quality": ["--scope", "all", "--inference", "1"],
}


@pytest.mark.parametrize("query", COLUMNS)
def test_columns_are_the_contract(query: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ARGUMENTS.get(query)
    if arguments is None:
        feature = ask(cache, capsys, "relevant-features", *ARGUMENTS["relevant-features"])[0]["feature"]
        arguments = ["--hookpoint", H1, "--feature", str(feature)]
    rows = ask(cache, capsys, query, *arguments)
    assert rows and all(list(row) == COLUMNS[query].split() for row in rows)


@pytest.mark.parametrize("query", ["feature-frequencies", "activation-histogram"])
def test_without_an_inference_all_are_counted(query: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a feature its positions, of a histogram its bars: those of the inferences add up to that of all."""
    column = "positions" if query == "feature-frequencies" else "count"
    more = ["--top", "100000"] if query == "feature-frequencies" else []
    number = [
        sum(int(str(row[column])) for row in ask(cache, capsys, query, "--hookpoint", H1, *more, *one))
        for one in ([], *(["--inference", str(number)] for number in range(3)))
    ]
    assert number[0] == sum(number[1:]) > 0


def test_transcript_carries_activations_and_nulls(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = ask(cache, capsys, "feature-activations", "--inference", "0", "--hookpoint", H1, "--top", "1")[0]
    rows = ask(cache, capsys, "transcript", "--inference", "0", "--hookpoint", H1, "--feature", str(best["feature"]))
    at = best["position"]
    assert isinstance(at, int)
    assert rows[at]["activation"] == best["activation"] and rows[at]["token_id"] == best["token_id"]
    assert rows[0]["logprob"] is None and rows[at]["logprob"] is not None
    assert [row["position"] for row in rows] == list(range(len(rows)))


def test_csv_and_table(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["query", "transcript", "--inference", "0", "--experiment", "small", "--cache", str(cache)]
    capsys.readouterr()
    main([*base, "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == COLUMNS["transcript"].split()
    main(base)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(rows) + 1, "a newline token stays on its line"


def test_experiments(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["experiments", "--cache", str(cache), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["experiment"], row["done"], row["of"], row["site"]) == ("small", 3, 3, "hookpoint")


def test_a_complete_experiment_is_left_alone(
    tiny: Path, problems: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert compute(tiny, problems, cache) == 0
    assert "complete" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == before


MISTAKES = {
    "unknown preset 'dmo': did you mean": ["precompute", "--preset", "dmo"],
    "unknown preset 'dmo': did you mean 'demo'": ["up", "--preset", "dmo"],
    "unknown preset 'dm': did you mean": ["worker", "--preset", "dm"],
    "setting KTHINK_WORKER_PORT: ": ["worker", "--port", "99999"],
    "unknown experiment 'smal': did you mean 'small'?": ["up", "--experiment", "smal"],
    "not allowed with argument": ["worker", "--preset", "r1-distill-qwen-1.5b", "--experiment", "small"],
    "set KTHINK_WORKER_TOKEN": ["worker", "--host", "0.0.0.0"],
    "--temperature -1.0: ": ["precompute", "--temperature", "-1"],
    "--top-p 0.0: ": ["precompute", "--top-p", "0"],
    "--limit 0: ": ["precompute", "--limit", "0"],
    "invalid choice: 'nowhere'": ["precompute", "--site", "nowhere"],
    "--limit: 'x' is no whole number": ["precompute", "--limit", "x"],
    "--top: '9999": ["query", "feature-counts", "--experiment", "small", "--hookpoint", H1, "--top", "9" * 5000],
    "--seed: '1_0' is no whole number": ["precompute", "--seed", "1_0"],
    "--temperature: invalid float value: 'xxx": ["precompute", "--temperature", "x" * 5000],
    "--temperature inf: ": ["precompute", "--temperature", "9" * 5000],
    "unknown preset 'xxxx": ["precompute", "--preset", "x" * 5000],
    "--model xxx": ["precompute", "--model", "x" * 5000],
    "--hookpoints ../x: no name of a module": ["precompute", "--hookpoints", H1, "../x"],
    "does not exist": ["precompute", "--experiment", "x", "--problems", "none.jsonl"],
    "'nobody/none' is neither": ["precompute", "--experiment", "x", "--model", "nobody/none"],
    "unknown experiment 'smal': did you mean 'small'": ["query", "inferences", "--experiment", "smal"],
    "unknown query 'inference': did you mean 'inferences'": ["query", "inference", "--experiment", "small"],
    "needs --hookpoint, one of layers.1.mlp": ["query", "feature-counts", "--experiment", "small"],
    "takes no --feature": ["query", "inferences", "--experiment", "small", "--feature", "1"],
    "unknown hookpoint 'layers.9.mlp'": [
        "query", "feature-counts", "--experiment", "small", "--hookpoint", "layers.9.mlp"],
    "feature 128 is out of range: there are 128, from 0 to 127": [
        "query", "top-tokens", "--experiment", "small", "--hookpoint", H1, "--feature", "128"],
    "feature -1 is out of range": [
        "query", "top-tokens", "--experiment", "small", "--hookpoint", H1, "--feature", "-1"],
    "inference 3 is out of range: there are 3, from 0 to 2": [
        "query", "transcript", "--experiment", "small", "--inference", "3"],
    "unknown scope 'thin': did you mean 'think'": [
        "query", "feature-counts", "--experiment", "small", "--hookpoint", H1, "--scope", "thin"],
    "top": ["query", "feature-counts", "--experiment", "small", "--hookpoint", H1, "--top", "0"],
    "OUT.txt": ["export", "--experiment", "small", "OUT.txt"],
    "the following arguments are required": ["query"],
}  # fmt: skip


@pytest.mark.parametrize(("complaint", "arguments"), MISTAKES.items())
def test_mistakes_are_one_line_and_status_2(
    complaint: str, arguments: list[str], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    with_cache = [*arguments, "--cache", str(cache)] if arguments != ["query"] else arguments
    try:
        status = main(with_cache)
    except SystemExit as leaving:  # argparse
        status = leaving.code
    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert len(lines) <= 2 and not any("Traceback" in line or len(line) > 500 for line in lines)
    assert complaint.partition(";")[0] in lines[-1]


@pytest.mark.parametrize("name", ["x" * 300, "../small", "a/b", "", "..", "/etc", "new\nline"])
@pytest.mark.parametrize("command", ["precompute", "query inferences", "export", "up", "worker"])
def test_an_experiment_has_the_name_of_a_folder(
    command: str, name: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the cache lies another, to which no name leads."""
    inside = tmp_path / "inner"
    inside.mkdir()
    shutil.copytree(cache / "small", tmp_path / "small")
    before = sorted(tmp_path.rglob("*"))
    target = [str(tmp_path / "out.parquet")] if command == "export" else []
    capsys.readouterr()
    assert main([*command.split(), *target, "--experiment", name, "--cache", str(inside)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "experiment name" in line and len(line) < 200
    assert ("at most 100 characters" in line) == (len(name) > 100)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "\udce9"],
        ["query", "inferences", "--experiment", "\udce9"],
        ["precompute", "--model", "\udce9"],
        ["precompute", "--hookpoints", "\udce9"],
        ["precompute", "--cache", "/tmp/\udce9", "--limit", "1"],
        ["export", "--experiment", "small", "/tmp/\udce9.duckdb"],
        ["export", "--experiment", "small", "/tmp/\udce9.parquet"],
        ["worker", "--host", "\udce9"],
    ],
)
def test_bytes_that_are_no_text_are_one_line(
    arguments: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KTHINK_CACHE", str(cache))
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "udce9" in told and "UTF-8" in told


def test_bytes_that_are_no_text_come_so_from_a_shell(cache: Path) -> None:
    command = [sys.executable, "-m", "kthink_core", "query", "\udce9"]
    ended = subprocess.run(command, capture_output=True, env=os.environ | {"KTHINK_CACHE": str(cache)}, timeout=300)
    assert ended.returncode == 2
    assert ended.stderr.count(b"\n") == 1 and b"udce9" in ended.stderr and b"UTF-8" in ended.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would start")
def test_a_worker_that_cannot_load_ends_in_one_line(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = ["--port", str(free_port()), "--cache", str(cache)]
    with ThreadPoolExecutor(1) as aside:  # a browser that other tests opened has this thread's event loop
        assert aside.submit(main, ["worker", "--device", "cuda", *where]).result() == 2
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and "cuda" in told.casefold()


def test_nonsense_setting_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KTHINK_APP_PORT", "many")
    assert main(["experiments"]) == 2
    assert "KTHINK_APP_PORT" in capsys.readouterr().err


def test_a_damaged_database_is_told_by_every_command_and_mended_by_precompute(
    tiny: Path, problems: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    asked = ("feature-counts", "--hookpoint", H1)
    before = ask(tmp_path / "cache", capsys, *asked)
    database = tmp_path / "cache" / "small" / "latents-0001.duckdb"
    content = bytearray(database.read_bytes())
    content[12_288 + 500 :: 65_536] = bytes(byte ^ 1 for byte in content[12_288 + 500 :: 65_536])
    database.write_bytes(content)
    where = ("--experiment", "small", "--cache", str(tmp_path / "cache"))
    for command in (["query", *asked, *where], ["export", str(tmp_path / "out.duckdb"), *where]):
        assert main(command) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "latents-0001.duckdb is damaged; run `precompute` again" in told
    assert not (tmp_path / "out.duckdb").exists()
    assert compute(tiny, problems, tmp_path / "cache") == 0
    assert "latents-0001.duckdb was damaged and is kept as latents-0001.duckdb.damaged" in capsys.readouterr().err
    assert ask(tmp_path / "cache", capsys, *asked) == before
    assert main(["export", str(tmp_path / "out.duckdb"), *where]) == 0


def test_an_unreadable_neighbour_is_listed_and_harms_nobody(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    for name, content in {
        "deep": b"[" * 100_000,
        "list": b"[]",
        "empty": b"",
        "newer": b'{"schema_version": 99}',
    }.items():
        (tmp_path / "cache" / name).mkdir()
        (tmp_path / "cache" / name / "experiment.json").write_bytes(content)
    (tmp_path / "cache" / "folder" / "experiment.json").mkdir(parents=True)
    (tmp_path / "cache" / "pipe").mkdir()
    os.mkfifo(tmp_path / "cache" / "pipe" / "experiment.json")
    assert len(ask(tmp_path / "cache", capsys, "inferences")) == 3
    assert main(["experiments", "--cache", str(tmp_path / "cache"), "--format", "json"]) == 0
    listed = {row["experiment"]: row for row in json.loads(capsys.readouterr().out)}
    assert listed["small"]["problem"] is None and listed["small"]["of"] == 3
    assert all(row["problem"] for name, row in listed.items() if name != "small") and len(listed) == 7
    assert main(["up", "--experiment", "deep", "--cache", str(tmp_path / "cache")]) == 2
    told = capsys.readouterr().err
    assert "deep/experiment.json is damaged (it is no JSON" in told and "did you mean" not in told


def test_an_experiment_without_its_file_is_not_taken_for_another(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    (tmp_path / "cache" / "small" / "experiment.json").unlink()
    (tmp_path / "cache" / "small" / "latents-0001.duckdb").unlink()
    for command in (["query", "inferences"], ["up"], ["worker"]):
        assert main([*command, "--experiment", "small", "--cache", str(tmp_path / "cache")]) == 2
        told = capsys.readouterr().err
        assert "experiment.json is missing" in told and "did you mean" not in told


def test_what_the_system_refuses_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for command in (["experiments"], ["query", "inferences", "--experiment", "demo"]):
        assert main([*command, "--cache", str(tmp_path / "file")]) == 2
        told = capsys.readouterr().err
        assert told == f"kthink: Not a directory: {tmp_path}/file\n"
    assert main(["precompute", "--problems", "p" * 300, "--cache", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "File name too long" in told and told.count("\n") == 1


@pytest.mark.parametrize("file", ["experiment.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["damage", "remove"])
def test_precompute_mends_the_files_that_say_what_there_is(
    tiny: Path, problems: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, harm: str
) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    path = tmp_path / "cache" / "small" / file
    before = ask(tmp_path / "cache", capsys, "inferences")
    path.write_bytes(path.read_bytes()[:-7]) if harm == "damage" else path.unlink()
    assert main(["query", "inferences", "--experiment", "small", "--cache", str(tmp_path / "cache")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert compute(tiny, problems, tmp_path / "cache") == 0
    assert ask(tmp_path / "cache", capsys, "inferences") == before

"""The tools of MCP, called by the official client over standard input and output, as an assistant's program does."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from kthink_core import open_experiment
from kthink_core.cli import main
from kthink_core.listing import QUERIES
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.settings import WorkerSettings
from tests.app_samples import PAYLOADS, sample_experiment, write_experiment
from tests.import_graph import ROOT
from tests.query_samples import FEATURE, H, questions, spelled, write_studied
from tests.worker_process import working

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    cache = tmp_path_factory.mktemp("cache")
    return cache, write_studied(cache)


def run_aside(visit: Coroutine[Any, Any, None]) -> None:
    """In a thread: a browser that other tests of this process opened has an event loop in theirs."""
    with ThreadPoolExecutor(1) as aside:
        aside.submit(asyncio.run, visit).result()


def client(cache: Path, *options: str, worker: str = NOWHERE) -> AbstractAsyncContextManager[Client]:
    """Of a server that it starts itself."""
    command = ["-m", "kthink_core", "mcp", "--cache", str(cache), *options]
    started = StdioServerParameters(
        command=sys.executable, args=command, cwd=ROOT, env={"KTHINK_WORKER_URL": worker, "OMP_NUM_THREADS": "1"}
    )
    return Client(stdio_client(started), raise_exceptions=True)


def shell(cache: Path, *arguments: str) -> tuple[list[dict[str, Any]], list[str]]:
    """What the command line prints, and what it says beside it."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as said:
        assert main([*arguments, "--cache", str(cache), "--format", "json"]) == 0
    return json.loads(out.getvalue()), [line.removeprefix("kthink: ") for line in said.getvalue().splitlines()]


def typed(given: dict[str, str], schema: dict[str, Any]) -> dict[str, Any]:
    """Options of the command line as JSON has them."""
    kinds = {name: schema["properties"][name]["type"] for name in given}
    return {
        name: json.loads(value) if kinds[name] in ("integer", "number")
        else [json.loads(part) for part in value.split(",")] if kinds[name] == "array"
        else value
        for name, value in given.items()
    }  # fmt: skip


def test_every_query_is_a_tool_that_answers_as_the_command_line(store: tuple[Path, str]) -> None:
    cache, study = store

    async def visit() -> None:
        async with client(cache) as one:
            tools = {tool.name: tool for tool in (await one.list_tools()).tools}
            assert list(tools) == ["list_experiments", *(query.replace("-", "_") for query in QUERIES), "encode"]
            for tool in tools.values():
                Draft202012Validator.check_schema(tool.input_schema)
                assert len(tool.description or "") > 40 and tool.annotations and tool.annotations.read_only_hint
            listed = (await one.call_tool("list_experiments", {})).structured_content
            assert listed["rows"] == shell(cache, "experiments")[0] and listed["total"] == 2
            assert questions(study).keys() == QUERIES.keys()
            for query, given in questions(study).items():
                schema = tools[query.replace("-", "_")].input_schema
                sent = {"experiment": "demo", "limit": 1000, **typed(given, schema)}
                Draft202012Validator(schema).validate(sent)
                required = {"experiment", *QUERIES[query].needs}
                assert set(schema["required"]) == required and schema["additionalProperties"] is False
                answer = await one.call_tool(query.replace("-", "_"), sent)
                assert not answer.is_error, answer.content
                options = spelled(given)
                rows, said = shell(cache, "query", query, "--experiment", "demo", *options)
                assert (answer.structured_content["rows"], answer.structured_content["remarks"]) == (rows, said), query
                assert json.loads(answer.content[0].text) == answer.structured_content  # pyright: ignore

    run_aside(visit())


def test_parts_and_mistakes(store: tuple[Path, str]) -> None:
    cache, _ = store

    async def visit() -> None:
        async with client(cache, "--experiment", "demo") as one:
            rows: list[dict[str, Any]] = []
            sent: dict[str, Any] = {"experiment": "demo", "inference": 0, "hookpoint": None}
            while True:
                part = (await one.call_tool("transcript", sent)).structured_content
                rows += part["rows"]
                if "more" not in part:
                    break
                assert len(part["rows"]) == 50 and part["more"].startswith(f"{part['total'] - len(rows)} rows are left")
                version = part["more"].split("version='")[1].rstrip("'")
                sent |= {"offset": len(rows), "version": version}
            assert rows == shell(cache, "query", "transcript", "--experiment", "demo", "--inference", "0")[0]
            assert set(PAYLOADS) <= {row["text"] for row in rows} and len(rows) > 50
            assert [
                row["experiment"] for row in (await one.call_tool("list_experiments", {})).structured_content["rows"]
            ] == ["demo"]
            mistakes: dict[str, tuple[str, dict[str, Any]]] = {
                "hookpoint: it is missing": ("feature_counts", {"experiment": "demo"}),
                "cache: it is not taken here": ("inferences", {"experiment": "demo", "cache": "/etc"}),
                "limit: Input should be less": ("inferences", {"experiment": "demo", "limit": 10**9}),
                "feature 64 is out of range": ("feature_summary", {**H, "experiment": "demo", "feature": 64}),
                "unknown tool 'drop_tables'": ("drop_tables", {}),
                "there is no such experiment: list_experiments": ("inferences", {"experiment": "other"}),
                "there is no such experiment": ("inferences", {"experiment": "../demo"}),
                "no worker answers at": ("encode", {"experiment": "demo", "text": "Wait"}),
                "unknown hookpoint 'x'": ("encode", {"experiment": "demo", "text": "Wait", "hookpoints": ["x"]}),
                "text: String should have at least": ("encode", {"experiment": "demo", "text": ""}),
            }  # fmt: skip
            for told, (name, given) in mistakes.items():
                answer = await one.call_tool(name, given)
                (content,) = answer.content
                assert answer.is_error and told in content.text, told  # pyright: ignore[reportAttributeAccessIssue]
            assert not (await one.call_tool("top_tokens", {**FEATURE, "experiment": "demo", "feature": 7})).is_error

    run_aside(visit())


@pytest.fixture(scope="module")
def made(tiny_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("made")
    precompute(tiny_plan, cache, 8, Silent())
    write_experiment(cache, sample_experiment("demo", 2))
    return cache


@pytest.fixture(scope="module")
def worker(made: Path, tiny_plan: Plan) -> Iterator[WorkerSettings]:
    with working(tiny_plan, cache=made) as (settings, _):
        yield settings


def test_a_text_is_encoded_by_the_running_worker(
    made: Path, worker: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KTHINK_WORKER_URL", worker.address)
    with open_experiment("tiny", made) as tiny:
        expected = json.loads(tiny.encode("Two </think>", where="worker", special=True).to_json(orient="records"))

    async def visit() -> None:
        async with client(made, worker=worker.address) as one:
            sent = {"experiment": "tiny", "text": "Two </think>", "special": True, "limit": 1000}
            answer = (await one.call_tool("encode", sent)).structured_content
            assert answer["total"] == len(expected) > 0
            for row, known in zip(answer["rows"], expected, strict=True):
                assert row.pop("activation") == pytest.approx(known.pop("activation"), rel=1e-5) and row == known
            part = (await one.call_tool("encode", sent | {"limit": 1})).structured_content
            assert len(part["rows"]) == 1 and part["more"].endswith("call again with offset=1")
            foreign = await one.call_tool("encode", {"experiment": "demo", "text": "Two"})
            assert foreign.is_error and "another model" in str(foreign.content)

    run_aside(visit())


def test_what_is_missing_is_told_in_one_line(
    store: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["mcp", "--cache", str(store[0])]
    assert main([*given, "--experiment", "nowhere"]) == 2
    assert "unknown experiment 'nowhere'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert main(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install -r requirements-mcp.txt" in line

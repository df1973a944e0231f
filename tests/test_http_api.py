"""The queries over HTTP: the same rows as on the command line, by pages, in a state that has a name."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Router
from starlette.testclient import TestClient

from kthink_core.access.gate import Gate
from kthink_core.access.person import LOCAL, Person
from kthink_core.cli import main
from kthink_core.errors import Busy
from kthink_core.listing import QUERIES, Answered, answered
from kthink_core.programs import answers
from kthink_core.programs.answers import Answers
from kthink_core.programs.http_api import make_api
from kthink_core.programs.work_limits import Bounds, TooMany, WorkLimits
from kthink_core.query_options import OPTIONS
from kthink_core.store.files import Layout
from kthink_core.store.reader import open_reader
from kthink_core.store.studies import made_with, save_study
from kthink_core.ui import hosting
from tests.app_samples import HOOKPOINTS, PAYLOADS, sample_experiment, write_experiment
from tests.query_samples import FEATURE, MAY_BE_EMPTY, H, questions, spelled, write_studied
from tests.sweep_samples import made_up

ADDRESS = "http://localhost/"


class Asked:
    """A store, asked by HTTP and on the command line."""

    def __init__(self, cache: Path, study: str, http: TestClient) -> None:
        self.cache, self.study, self.http = cache, study, http

    def get(self, query: str, experiment: str = "demo", **given: Any) -> Any:
        return self.http.get(f"/experiments/{experiment}/{query}", params=given)

    def shell(self, capsys: pytest.CaptureFixture[str], query: str, given: dict[str, str]) -> tuple[str, list[str]]:
        """Rows, and what was said beside them."""
        capsys.readouterr()
        options = spelled(given)
        main(["query", query, *options, "--experiment", "demo", "--cache", str(self.cache), "--format", "json"])
        said = capsys.readouterr()
        return said.out, [line.removeprefix("kthink: ") for line in said.err.splitlines()]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    cache = tmp_path_factory.mktemp("cache")
    study = write_studied(cache)
    with TestClient(make_api(cache, Gate(())), base_url=ADDRESS, follow_redirects=False) as http:  # on one loop
        yield Asked(cache, study, http)


@pytest.fixture(scope="module")
def document(asked: Asked) -> dict[str, Any]:
    return asked.http.get("/openapi.json").json()


@pytest.mark.parametrize("query", QUERIES)
def test_the_same_rows_as_on_the_command_line_and_as_they_are_described(
    query: str, asked: Asked, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    given = questions(asked.study)[query]
    printed, said = asked.shell(capsys, query, given)
    answer = asked.get(query, **given)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    page = answer.json()
    assert page["rows"] or query in MAY_BE_EMPTY
    assert answer.text.startswith(f'{{"rows":{printed.rstrip()},')  # to the last digit
    assert page["remarks"] == said and page["total"] == len(page["rows"]) and page["next"] is None
    described = document["paths"][f"/experiments/{{experiment}}/{query}"]["get"]
    content = described["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator(content | {"components": document["components"]}).validate(page)
    taken = {each["name"]: each["required"] for each in described["parameters"] if each["name"] in OPTIONS}
    known = QUERIES[query]
    assert taken == dict.fromkeys(known.needs, True) | dict.fromkeys(known.takes, False)
    assert len(described["description"]) > 40 and described["operationId"] == query.replace("-", "_")


def test_the_experiments(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    main(["experiments", "--format", "json", "--cache", str(asked.cache)])
    answer = asked.http.get("/experiments")
    assert answer.text == capsys.readouterr().out.rstrip()
    assert [row["experiment"] for row in answer.json()] == ["demo", "other"]
    again = asked.http.get("/experiments", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_pages_are_the_whole(limit: int, asked: Asked) -> None:
    whole = asked.get("transcript", inference=1).json()["rows"]
    url, rows = f"/experiments/demo/transcript?inference=1&limit={limit}", []
    while url:
        answer = asked.http.get(url)
        page = answer.json()
        assert page["offset"] == len(rows) and page["total"] == len(whole) and len(page["rows"]) <= limit
        rows += page["rows"]
        assert answer.links.get("next", {}).get("url") == page["next"]
        url = page["next"] and str(answer.url.join(page["next"]))
    assert rows == whole


def test_csv_is_that_of_the_command_line(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    shell = ["query", "inferences", "--experiment", "demo", "--cache", str(asked.cache), "--format", "csv"]
    main(shell)
    answer = asked.get("inferences", format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8" and answer.text == capsys.readouterr().out
    assert len(asked.get("inferences", format="csv", limit=2).links) == 1


def test_a_list_is_written_either_way_and_a_vocabulary_a_word_each(asked: Asked, tmp_path: Path, capsys: Any) -> None:
    several = asked.http.get("/experiments/demo/feature-maxima", params={**H, "features": ["7", "3"]})
    assert several.json()["rows"] == asked.get("feature-maxima", **H, features="7,3").json()["rows"]
    (tmp_path / "words.txt").write_text("wait\nhmm, so\n")
    printed, _ = asked.shell(capsys, "reason-score", {**H, "vocabulary": str(tmp_path / "words.txt")})
    assert asked.get("reason-score", **H, vocabulary=["wait", "hmm, so"]).json()["rows"] == json.loads(printed)


def test_texts_are_text(asked: Asked) -> None:
    answer = asked.get("transcript", inference=0)
    texts = {row["text"] for row in answer.json()["rows"]}
    assert set(PAYLOADS) <= texts
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def growing(cache: Path) -> Iterator[Callable[[], None]]:
    """Each time an experiment's content changes: it grows, a study is stored beside it, another one is."""
    whole = sample_experiment("grows", 6)
    yield lambda: write_experiment(cache, whole, range(3, 6))
    for seed in (1, 2):
        made = made_with(whole, HOOKPOINTS[:1], "cpu", "float32")
        sweep = made_up(seed=seed).model_copy(update={"made": made, "problems_from": f"seed {seed}"})
        yield lambda sweep=sweep: save_study(Layout(cache / "grows"), "sweep", sweep.id, sweep) and None


def test_a_state_has_a_name_and_pages_keep_to_it(asked: Asked) -> None:
    write_experiment(asked.cache, sample_experiment("grows", 6), range(3))
    for number, change in enumerate(growing(asked.cache)):
        first = asked.get("sweeps" if number else "inferences", "grows")
        tags = {"if-none-match": f'"x", {first.headers["etag"]}'}
        assert asked.http.get(first.url, headers=tags).status_code == 304
        assert asked.http.get(first.url, headers={"if-none-match": "*"}).status_code == 304
        assert asked.http.get(str(first.url) + "?limit=5", headers=tags).status_code == 200
        begun = asked.get("transcript", "grows", inference=1, limit=5)
        assert first.headers["cache-control"] == "private, no-cache"
        change()
        after = asked.http.get(first.url, headers=tags)
        assert after.status_code == 200 and after.json()["version"] != first.json()["version"]
        assert after.json()["rows"] != first.json()["rows"] and after.headers["etag"] != first.headers["etag"]
        rest = asked.http.get(begun.url.join(begun.json()["next"]))
        assert rest.json()["rows"][0]["position"] == 5 and rest.json()["version"] == begun.json()["version"]
    gone = asked.get("transcript", "grows", inference=1, version="0" * 16)
    assert (gone.status_code, gone.json()["detail"].startswith("the experiment has changed")) == (409, True)


def test_another_methods_than_reading_are_refused(asked: Asked) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO"):
        answer = asked.http.request(method, "/experiments/demo/inferences", content=b"x" * 100_000)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert asked.http.options("/nowhere").status_code == 204
    head = asked.http.head("/experiments/demo/inferences")
    assert head.status_code == 200 and head.headers["etag"] == asked.get("inferences").headers["etag"]


MISTAKES: dict[str, tuple[str, dict[str, Any]]] = {
    "hookpoint: it is missing": ("feature-counts", {}),
    "span: it is not taken here": ("feature-counts", {**H, "span": "1:2"}),
    "cache: it is not taken here": ("inferences", {"cache": "/etc"}),
    "feature: Input should be a valid integer": ("feature-summary", {**H, "feature": "7; DROP TABLE latents"}),
    "feature: Input should be greater than or equal to 0": ("feature-summary", {**H, "feature": "-1"}),
    "feature 64 is out of range": ("feature-summary", {**H, "feature": "64"}),
    "unknown hookpoint 'layers.2.mlq': did you mean": ("feature-counts", {"hookpoint": "layers.2.mlq"}),
    "sort: Input should be 'inferences', 'maximum'": ("feature-table", {**H, "sort": "thin"}),
    "scope: Input should be": ("feature-counts", {**H, "scope": "' OR 1=1"}),
    "limit: Input should be less than or equal to 10000": ("inferences", {"limit": "10001"}),
    "offset: Input should be greater": ("inferences", {"offset": "-1"}),
    "format: Input should be 'json' or 'csv'": ("inferences", {"format": "html"}),
    "version: String should match": ("inferences", {"version": "\r\nx: y"}),
    "span: String should match": ("span-features", {**H, "inference": "1", "span": "9"*10}),
    "the span from 9 to 3": ("span-features", {**H, "inference": "1", "span": "9:3"}),
    "maxima.0: Input should be a finite number": ("feature-percentiles", {**H, "features": "1", "maxima": "nan"}),
    "no study is called so": ("sweep", {"study": "../../../etc/passwd"}),
    "unknown study '0123456789ab'": ("sweep", {"study": "0123456789ab"}),
    "--between think:bypass and experiments need": ("contrast", {**H, "between": "experiments"}),
    "pattern": ("label-test", {**FEATURE, "pattern": "/((((/"}),
}  # fmt: skip


@pytest.mark.parametrize(("told", "question"), MISTAKES.items())
def test_mistakes_are_one_line(told: str, question: tuple[str, dict[str, Any]], asked: Asked) -> None:
    query, given = question
    answer = asked.get(query, **given)
    detail = answer.json()["detail"]
    assert answer.status_code == 422 and told in detail and "\n" not in detail and str(asked.cache) not in detail
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name", ["nowhere", "..", "%2e%2e", "..%2fdemo", "demo%2f..%2fdemo", "demo%00", "x" * 5000, "%ff"]
)
def test_there_are_no_other_experiments(name: str, asked: Asked) -> None:
    for path in (f"/experiments/{name}/inferences", f"/experiments/{name}/nothing"):
        answer = asked.http.get(path)
        assert answer.status_code == 404 and "demo" not in answer.text
    if len(name) > 200:
        return
    assert asked.get("contrast", **H, between="experiments", other=name).json() == {
        "detail": "there is no such experiment"
    }


def test_what_is_damaged_is_told_without_its_place(asked: Asked) -> None:
    write_experiment(asked.cache, sample_experiment("hurt", 2))
    Layout(asked.cache / "hurt").manifest.write_text("{")
    answer = asked.get("inferences", "hurt")
    assert (answer.status_code, answer.json()["detail"]) == (
        503, "the experiment cannot be read now: the server's log says why",
    )  # fmt: skip
    assert asked.get("inferences").status_code == 200


def test_addresses_have_a_length(asked: Asked) -> None:
    assert asked.get("feature-search", **H, text="a" * 20_000).status_code == 414
    assert asked.get("feature-search", **H, text="a" * 2_000).status_code == 422


def test_threads_are_few_and_the_queue_is_short() -> None:
    """Two are computed, one waits; the next one is told to come again, and who has had their share at once."""
    anna, ben = (Person(f"invitation {name}", name, "viewer", way="invitation") for name in ("anna", "ben"))
    limits = WorkLimits(Bounds(threads=2, waiting=1, of_one=2, a_minute=3))
    go, under_way = threading.Event(), threading.Semaphore(0)

    def work() -> int:
        under_way.release()
        assert go.wait(60)
        return threading.get_ident()

    async def all_at_once() -> None:
        asked = [asyncio.create_task(limits.computed(person, work)) for person in (anna, anna, LOCAL)]
        await asyncio.sleep(0)
        with pytest.raises(TooMany, match="requests of yours"):
            await limits.computed(anna, work)
        with pytest.raises(Busy) as told:
            await limits.computed(ben, work)
        assert not isinstance(told.value, TooMany)
        for _ in range(2):
            assert await asyncio.to_thread(under_way.acquire, timeout=60)
        assert not under_way.acquire(blocking=False)
        go.set()
        assert len(set(await asyncio.gather(*asked))) <= 2
        await limits.computed(anna, work)  # all have been counted off

    with ThreadPoolExecutor(1) as aside:  # a browser that other tests opened has this thread's loop
        aside.submit(asyncio.run, all_at_once()).result()
    for _ in range(3):
        limits.count(anna)
        limits.count(LOCAL)
    with pytest.raises(TooMany, match="3 requests a minute"):
        limits.count(anna)
    limits.count(ben)
    for _ in range(9):
        limits.count(LOCAL)


def test_too_much_is_told_with_when_to_come_again(asked: Asked) -> None:
    busy = TestClient(make_api(asked.cache, Gate(()), Bounds(threads=1, waiting=-1)))
    answer = busy.get("/experiments/demo/inferences")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "5"


def test_readers_are_shared_by_threads(asked: Asked) -> None:
    """The same rows, however many ask at once."""
    with open_reader(asked.cache, "demo") as reader:
        expected = len(reader.query("SELECT * FROM tokens WHERE inference < 6"))
    found: list[int] = []

    def ask(at: int) -> None:
        found.append(asked.get("transcript", inference=at).json()["total"])

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == expected


def test_all_pages_are_of_the_table_that_was_answered_first(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ask at once while the experiment grows: what the slower one reads does not take the place of the first."""
    kept = Answers(asked.cache)
    question = kept.asked(LOCAL, "demo", "inferences", {})
    firsts: list[Answered] = []

    def overtaken(*given: Any) -> Answered:
        monkeypatch.setattr(answers, "answered", answered)
        firsts.append(kept.answer(question))
        return answered(*given)

    monkeypatch.setattr(answers, "answered", overtaken)
    assert kept.answer(question) is firsts[0] is kept.answer(question)


def test_beside_the_interface_there_is_nothing_for_programs(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the app's page, which whatever else is no file of the app is answered with."""
    monkeypatch.setenv("KTHINK_CACHE", str(asked.cache))
    http = TestClient(Router(hosting.routes()), base_url=ADDRESS, follow_redirects=False)
    for path in ("/api/v1", "/api/", "/api/v2/experiments"):
        answer = http.get(path)
        assert answer.status_code == 404 and answer.headers["content-type"] == "application/json"
        assert answer.json() == {"detail": "there is nothing at this address: see api/v1/docs"}
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert http.post("/api/v1").status_code == 405
    assert http.get("/api/v1/docs").status_code == 200

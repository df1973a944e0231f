"""What a person may have the worker do, for whom the app asks: real server, tiny model, the audit log beside it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from pydantic import TypeAdapter

from kthink_core.access.audit_log import AuditLog
from kthink_core.access.person import LOCAL, Person
from kthink_core.access.signatures import FRESH, PersonTokens
from kthink_core.access.worker_token import with_token
from kthink_core.errors import BadValue, NotAllowed, WorkerRefused
from kthink_core.live.api import AnyRequest, GenerateRequest, KeepRequest, Kept, Tokens
from kthink_core.live.client import PERSON_HEADER, WorkerClient
from kthink_core.live.study_requests import RunTrace, StoredTrace
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from kthink_core.settings import WorkerSettings, from_environment
from kthink_core.store.files import Layout
from kthink_core.store.kept_memory import Comparison, Unusual, Watched, read_memory
from kthink_core.store.reader import open_reader
from kthink_core.worker.callers import named_experiments
from tests.worker_process import request, working

TOKEN = "a-long-secret-of-both"
VIEWER = Person("invitation 1", "Vera", "viewer", None, "invitation", None)
ANNOTATOR = Person("invitation 2", "Ann", "annotator", None, "invitation", None)
RUNNER = Person("invitation 3", "Rune", "runner", None, "invitation", None)
ANOTHER = Person("invitation 4", "Otto", "runner", None, "invitation", None)
LIMITED = Person("invitation 5", "Lim", "runner", ("okapi",), "invitation", None)
OWNER = Person("oidc i s", "Olga", "owner", None, "oidc", None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, tiny_plan: Plan) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    precompute(tiny_plan, cache, 8, Silent())
    return cache


@pytest.fixture(scope="module")
def settings(cache: Path, tiny_plan: Plan) -> Iterator[WorkerSettings]:
    with working(tiny_plan, cache=cache, token=TOKEN, audited=True, jobs_per_client=2, new_tokens=100_000) as (
        found,
        _,
    ):
        yield found


@pytest.fixture
def post(settings: WorkerSettings) -> Callable[..., httpx.Response]:
    def posted(path: str, body: object, who: Person | str | None, method: str = "POST") -> httpx.Response:
        headers = {"authorization": f"Bearer {TOKEN}"}
        if who is not None:
            headers[PERSON_HEADER] = who if isinstance(who, str) else PersonTokens(TOKEN).sign(who)
        given = {} if method == "GET" else {"json": body}
        return httpx.request(method, settings.address + path, headers=headers, trust_env=False, timeout=300, **given)

    return posted


AT = {"hookpoint": "layers.1.mlp"}
STORED = {"trace": "stored", "experiment": "NAME", "inference": 0}
BODIES: dict[str, object] = {
    "/generate": {"prompt": "Two?", "max_new_tokens": 3},
    "/encode": {"text": "Two?"},
    "/tokenize": {"prompt": "Two?"},
    "/inject": {"experiment": "tiny", "hookpoint": "layers.1.mlp", "features": [1]},
    "/study": {"kind": "sweep", "experiment": "tiny"},
    "/jobs/nothing/keep": {},
}


@pytest.mark.parametrize("path", BODIES)
def test_only_runners_have_it_compute(post: Callable[..., httpx.Response], path: str) -> None:
    for person in (VIEWER, ANNOTATOR):
        answer = post(path, BODIES[path], person)
        assert answer.status_code == 403 and "role runner" in answer.json()["detail"], answer.text
    assert post(path, BODIES[path], RUNNER).status_code not in (401, 403)
    assert post(path, BODIES[path], None).status_code not in (401, 403)


@pytest.mark.parametrize("path", ["/health", "/generate", "/jobs/x", "/metrics", "/docs"])
def test_without_the_token_a_person_is_nobody(settings: WorkerSettings, path: str) -> None:
    headers = {PERSON_HEADER: PersonTokens(TOKEN).sign(OWNER)}
    assert httpx.get(settings.address + path, headers=headers, trust_env=False).status_code == 401


def test_nobody_signs_for_a_person_but_the_app(
    post: Callable[..., httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = PersonTokens(TOKEN).sign(RUNNER)
    payload, when, signature = good.rsplit(".", 2)
    stronger = PersonTokens("x" * 40).sign(OWNER).rsplit(".", 2)[0]
    wrong = [
        PersonTokens("another-long-secret").sign(OWNER),
        f"{stronger}.{when}.{signature}", good[:-1], payload, "", "A" * 5000,
        f"{good}, {good}", json.dumps({"role": "owner"}),
    ]  # fmt: skip
    for token in wrong:
        assert post("/generate", BODIES["/generate"], token).status_code == 401, token
    with monkeypatch.context() as patch:
        now = time.time()
        patch.setattr(time, "time", lambda: now - FRESH - 60)
        old = PersonTokens(TOKEN).sign(OWNER)
    assert post("/generate", BODIES["/generate"], old).status_code == 401
    assert post("/generate", BODIES["/generate"], good).status_code == 200


def test_another_persons_job_is_none(
    settings: WorkerSettings, post: Callable[..., httpx.Response], cache: Path
) -> None:
    with WorkerClient(settings, "one tab", RUNNER) as mine, WorkerClient(settings, "one tab", ANOTHER) as other:
        events = list(mine.generate(request()))
        job: str = getattr(events[0], "job")  # noqa: B009
        for ask in (other.status, other.cancel, other.keep):
            with pytest.raises(WorkerRefused, match="no such job"):
                ask(job)
        assert post(f"/jobs/{job}", None, VIEWER, "GET").status_code == 404
        made_up = post("/jobs/made-up", None, ANOTHER, "GET")
        assert post(f"/jobs/{job}", None, ANOTHER, "GET").json() == made_up.json()
        kept: Kept = mine.keep(job, "somebody else")
    with open_reader(cache, kept.experiment) as reader:
        assert reader.query("SELECT author FROM inferences")["author"].tolist() == ["Rune"]
    assert post(f"/jobs/{job}", None, OWNER, "GET").status_code == 200


def test_who_kept_a_run_and_owners_delete_it_and_nobody_else(
    settings: WorkerSettings, post: Callable[..., httpx.Response], cache: Path
) -> None:
    seen = KeepRequest(
        run="ab" * 16,
        watched=(Watched("layers.1.mlp", 3, 0.5),),
        compared=(
            Comparison(
                experiment="tiny", inferences=3, hookpoint="layers.1.mlp", scope="generated",
                features=(Unusual(3, 100.0, 2.5, None, 0),),
            ),
        ),
    )  # fmt: skip
    with WorkerClient(settings, "", RUNNER) as mine, WorkerClient(settings, "", ANOTHER) as other:
        jobs = [getattr(next(iter(list(mine.generate(request(seed=seed))))), "job") for seed in (1, 2)]  # noqa: B009
        kept = [mine.keep(job, seen=seen) for job in jobs]
        layout = Layout(cache / kept[0].experiment)
        memory = read_memory(layout, kept[0].inference)
        assert memory is not None and memory.keeper == RUNNER.id and memory.kept
        assert (memory.run, memory.watched, memory.compared) == (seen.run, seen.watched, seen.compared)
        with pytest.raises(WorkerRefused, match="deleting what somebody else kept"):
            other.delete_kept(kept[0])
        assert read_memory(layout, kept[0].inference) == memory
        assert mine.delete_kept(kept[0]) == kept[0]
        with pytest.raises(WorkerRefused, match="kept run"):
            mine.delete_kept(kept[0])
        again = mine.keep(jobs[0])  # another number: links to the old one stay links to nothing
        assert again.inference not in {each.inference for each in kept}
        mine.delete_kept(again)
    path = f"/kept/{kept[1].experiment}/{kept[1].inference}/delete"
    assert post(path, {}, VIEWER).status_code == 403
    assert post("/kept/tiny/0/delete", {}, OWNER).status_code in (400, 404, 422)
    assert post(path, {}, OWNER).status_code == 200
    told = [json.loads(line) for line in AuditLog(cache).path.read_text("utf-8").splitlines()]
    deleted = [each for each in told if each["event"] == "delete"]
    assert [(each["name"], each["inference"]) for each in deleted[-3:]] == [
        (RUNNER.name, kept[0].inference), (RUNNER.name, again.inference), (OWNER.name, kept[1].inference),
    ]  # fmt: skip


def test_another_persons_run_is_not_studied(settings: WorkerSettings, post: Callable[..., httpx.Response]) -> None:
    with WorkerClient(settings, "", RUNNER) as mine:
        first, *_ = mine.generate(request())
        job: str = getattr(first, "job")  # noqa: B009

    def study(job: str) -> object:
        return {"kind": "attribution", "trace": {"trace": "run", "job": job}, "question": AT}

    asked, none = post("/study", study(job), ANOTHER), post("/study", study("made-up"), ANOTHER)
    assert (asked.status_code, asked.json()) == (none.status_code, none.json())
    assert "forgotten that run" in none.json()["detail"] and "forgotten" not in post("/study", study(job), RUNNER).text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/inject", {"experiment": "NAME", "hookpoint": "layers.1.mlp", "features": [1]}),
        ("/study", {"kind": "sweep", "experiment": "NAME", "features": [AT | {"feature": 1}]}),
        ("/study", {"kind": "ablation", "trace": STORED, "question": AT | {"features": [1]}}),
        ("/study", {"kind": "attribution", "trace": STORED, "question": AT}),
        ("/study", {"kind": "sentences", "trace": {"trace": "stored", "experiment": "NAME", "inference": 0}}),
    ],
)
def test_an_experiment_that_is_not_theirs_is_none(
    post: Callable[..., httpx.Response], path: str, body: dict[str, object]
) -> None:
    def asked(name: str) -> httpx.Response:
        return post(path, json.loads(json.dumps(body).replace("NAME", name)), LIMITED)

    there, nowhere = asked("tiny"), asked("nope")
    assert there.status_code == nowhere.status_code == 404, there.text
    assert there.text.replace("tiny", "nope") == nowhere.text
    for name in ("../tiny", "..%2ftiny", "/tmp", "tiny/../tiny", ".access", "a" * 101, "tiny\\u0000"):
        assert asked(name).status_code == 422, name


def test_an_experiment_is_found_at_any_depth_of_a_request() -> None:
    """Whatever is added to the API: every place of a schema where a name of an experiment may stand is called so."""
    schema = TypeAdapter(AnyRequest).json_schema()
    places = [
        name
        for part in schema["$defs"].values()
        for name, field in part.get("properties", {}).items()
        if field.get("maxLength") == 100 or name == "experiment"
    ]
    assert places and set(places) == {"experiment"}
    assert list(named_experiments(StoredTrace(experiment="tiny", inference=0))) == ["tiny"]
    assert list(named_experiments(RunTrace(job="x"))) == []


def test_kept_runs_go_where_a_limited_person_sees_nothing(settings: WorkerSettings) -> None:
    with WorkerClient(settings, "", LIMITED) as client:
        first, *_ = client.generate(request())
        job: str = getattr(first, "job")  # noqa: B009
        with pytest.raises(WorkerRefused, match="you do not see"):
            client.keep(job)


def test_limits_count_by_person_and_not_by_tab(settings: WorkerSettings) -> None:
    endless = request(max_new_tokens=60_000, temperature=0)
    began = threading.Barrier(3, timeout=300)

    def run(tab: str) -> None:
        with WorkerClient(settings, tab, RUNNER) as client:
            stream = client.generate(endless)
            next(stream)
            began.wait()
            began.wait()
            stream.close()  # pyright: ignore[reportAttributeAccessIssue]

    threads = [threading.Thread(target=run, args=(f"tab {number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    began.wait()
    with WorkerClient(settings, "a third tab", RUNNER) as client, pytest.raises(WorkerRefused, match="under way"):
        next(client.generate(request()))
    with WorkerClient(settings, "a tab", ANOTHER) as client:
        assert next(client.generate(request())).event == "queued"
    began.wait()
    for thread in threads:
        thread.join(300)


def test_a_client_asks_nothing_that_its_person_may_not(settings: WorkerSettings) -> None:
    """Whether the worker has a token or not."""
    for known in (settings, settings.model_copy(update={"token": None})):
        with WorkerClient(known, "", VIEWER) as client:
            for ask in (lambda: next(client.generate(request())), lambda: client.keep("x")):
                with pytest.raises(NotAllowed, match="runner"):
                    ask()


def test_the_log_tells_who_and_how_long_and_never_what(
    settings: WorkerSettings, cache: Path, post: Callable[..., httpx.Response]
) -> None:
    prompt = "okapi okapi okapi?"
    with WorkerClient(settings, "", RUNNER) as client:
        came = list(client.generate(GenerateRequest(prompt=prompt, max_new_tokens=3)))
    post("/generate", BODIES["/generate"], VIEWER)
    post("/generate", {"prompt": "a", "nonsense": 1}, RUNNER)
    httpx.post(f"{settings.address}/generate", json={}, trust_env=False, timeout=300)
    text = (cache / ".access" / "audit.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    (prompted,) = [line for line in lines if line.get("characters") == len(prompt)]
    first = next(event for event in came if isinstance(event, Tokens))
    assert (prompted["event"], prompted["name"], prompted["tokens"]) == ("prompt", "Rune", len(first.token_ids))
    refused = [line for line in lines if line["event"] == "refusal"]
    assert {403, 422, 401} <= {line["status"] for line in refused}
    assert {(403, "Vera"), (422, "Rune")} <= {(line["status"], line.get("name")) for line in refused}
    assert "okapi okapi" not in text and TOKEN not in text and PersonTokens(TOKEN).sign(RUNNER)[:40] not in text


def test_a_text_is_logged_where_that_is_wanted(tiny_plan: Plan, tmp_path: Path) -> None:
    with (
        working(tiny_plan, cache=tmp_path, token=TOKEN, audited=True, audit_prompts=True) as (settings, _),
        WorkerClient(settings, "", replace(LOCAL, way="open")) as client,
    ):
        list(client.generate(GenerateRequest(prompt="okapi?", max_new_tokens=3)))
    assert '"text": "okapi?"' in (tmp_path / ".access" / "audit.jsonl").read_text()


def test_a_token_that_a_file_holds_is_made_once_and_read_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".access/worker-token"
    monkeypatch.setenv("KTHINK_WORKER_TOKEN_FILE", str(file))
    assert from_environment(WorkerSettings).token is None  # an app that comes first
    made = with_token(from_environment(WorkerSettings))
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert made.token is not None and len(made.token.get_secret_value()) >= 32
    assert with_token(from_environment(WorkerSettings)).token == made.token == from_environment(WorkerSettings).token
    assert made.token.get_secret_value() not in repr(made)
    monkeypatch.setenv("KTHINK_WORKER_TOKEN", TOKEN)
    given = with_token(from_environment(WorkerSettings)).token
    assert given is not None and given.get_secret_value() == TOKEN
    monkeypatch.setenv("KTHINK_WORKER_TOKEN", " ")
    for wrong in ("short", "no secret: it has spaces in it"):
        file.write_text(wrong)
        with pytest.raises(BadValue, match="KTHINK_WORKER_TOKEN") as refused:
            from_environment(WorkerSettings)
        assert wrong not in str(refused.value)
    file.write_text("\n")
    assert with_token(from_environment(WorkerSettings)).token is None  # beyond loopback no worker starts then
    file.unlink()
    file.mkdir()
    with pytest.raises(BadValue, match="Is a directory"):
        from_environment(WorkerSettings)

"""Who may ask over HTTP, below the path of an app that lets nobody in by itself: with a token, a cookie, or neither."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.routing import Mount, Router
from starlette.testclient import TestClient

from kthink_core.access.admission import Admission
from kthink_core.access.audit_log import AuditLog, Bounds
from kthink_core.access.gate import COOKIE, Gate
from kthink_core.access.invitations import Invitation, Invitations
from kthink_core.access.person import Role
from kthink_core.access.role_rules import RoleRules
from kthink_core.access.signatures import PersonTokens, Signatures
from kthink_core.listing import QUERIES
from kthink_core.programs.http_api import PATH, make_api
from kthink_core.settings import AccessSettings
from kthink_core.store.files import Layout
from kthink_core.store.studies import made_with, save_study
from kthink_core.store.writer import open_writer
from tests.app_samples import HOOKPOINTS, sample_experiment, sample_inference, write_experiment
from tests.query_samples import questions
from tests.sweep_samples import made_up

BASE = "/lab"
OTHER = "zebra-run"
"""The experiment that a limited invitation does not show."""
KEY = "a key of the tests, of more than 32 characters"


class Lab:
    """What is served, and what its operator has at hand."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.invitations, self.signatures = Invitations(cache), Signatures(KEY)
        (cache / "roles.toml").write_text(
            '[[allow]]\nemail = "ada@lab.example"\nrole = "viewer"\nexperiments = ["demo"]\n'
        )
        settings = AccessSettings.model_validate({"proxy": "10.1.2.3"})
        gate = Gate(
            ("invitations", "proxy"),
            audit=AuditLog(cache, Bounds(refusals=10_000)),
            invitations=self.invitations,
            signatures=self.signatures,
            rules=RoleRules(cache / "roles.toml"),
            proxies=settings.proxy,
            proxy_header="X-Forwarded-Email",
        )
        served = Admission(Router([Mount(BASE + PATH, make_api(cache, gate))]), gate, BASE)
        self.stranger = TestClient(served, f"http://localhost{BASE}{PATH}", follow_redirects=False)
        self.proxied = TestClient(
            served, f"http://localhost{BASE}{PATH}", follow_redirects=False, client=("10.1.2.3", 7)
        )

    def invite(self, role: Role = "viewer", experiment: str | None = None, days: float = 1) -> tuple[Invitation, str]:
        """An invitation and its token."""
        made = self.invitations.issue(f"guest {len(self.invitations.all())}", role, days, experiment)
        return made, self.signatures.link(made.id)

    def get(self, path: str, token: str, **headers: str):
        return self.stranger.get(path, headers={"authorization": f"Bearer {token}"} | headers)

    def audit(self) -> list[dict]:
        return [json.loads(line) for line in (self.cache / ".access" / "audit.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    cache = tmp_path_factory.mktemp("cache")
    (cache / ".access").mkdir()
    write_experiment(cache, sample_experiment(OTHER, 3))
    demo = sample_experiment("demo", 3)
    with open_writer(cache, demo) as writer:
        for inference, parent in enumerate((OTHER, "demo", None)):
            begun = {"parent_experiment": parent, "parent_inference": 0, "parent_position": 9}
            writer.append(replace(sample_inference(demo, inference), **begun))
    of_other = {"made": made_with(demo, HOOKPOINTS, "cpu", "float32"), "problems_from": f"experiment:{OTHER}"}
    sweep = made_up(problems=2, samples=1, strengths=(1.5,), features=1).model_copy(update=of_other)
    save_study(Layout(cache / "demo"), "sweep", sweep.id, sweep)
    made = Lab(cache)
    with made.stranger, made.proxied:
        made.proxied.portal = made.stranger.portal  # both on the loop of one server
        yield made


def test_without_a_token_nothing_is_told(lab: Lab) -> None:
    for path in (
        "/",
        "/docs",
        "/docs/swagger-ui.css",
        "/openapi.json",
        "/experiments",
        f"/experiments/{OTHER}/sinks",
        "/x",
    ):
        answer = lab.stranger.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json() == {"detail": "sign in, or open a link of an invitation"}
    assert lab.stranger.post("/experiments").status_code == 401


def test_a_token_or_a_cookie_lets_a_viewer_in_and_a_proxy_names_who_asks(lab: Lab) -> None:
    made, token = lab.invite()
    before = len(lab.audit()) if (lab.cache / ".access" / "audit.jsonl").exists() else 0
    for _ in range(3):
        assert [row["experiment"] for row in lab.get("/experiments", token).json()] == ["demo", OTHER]
    told = [line for line in lab.audit()[before:] if line["event"] == "sign-in"]
    assert [(line["person"], line["way"]) for line in told] == [(f"invitation {made.id}", "bearer token")]
    assert token not in (lab.cache / ".access" / "audit.jsonl").read_text()
    cookie = f"{COOKIE}={lab.signatures.cookie(made.id)}"
    assert lab.stranger.get("/experiments", headers={"cookie": cookie}).status_code == 200
    # A token that was sent decides, and a cookie beside it does not make up for it.
    assert lab.get("/experiments", "forged", cookie=cookie).status_code == 401
    ada = {"x-forwarded-email": "ada@lab.example"}
    assert [row["experiment"] for row in lab.proxied.get("/experiments", headers=ada).json()] == ["demo"]
    assert lab.proxied.get("/experiments", headers={"x-forwarded-email": "eve@lab.example"}).status_code == 403
    assert lab.proxied.get("/experiments", headers=ada).status_code == 200
    came = [line for line in lab.audit() if line["event"] == "sign-in" and line.get("way") == "proxy"]
    assert [(line["person"], line["address"]) for line in came] == [("proxy ada@lab.example", "10.1.2.3")]  # once
    assert lab.stranger.get("/experiments", headers=ada).status_code == 401


def test_what_is_forged_swapped_expired_or_revoked_lets_nobody_in(lab: Lab) -> None:
    valid, token = lab.invite("owner")
    expired, revoked = lab.invite(days=1e-9), lab.invite()
    lab.invitations.revoke(revoked[0].id)
    other = Signatures("another key, of more than 32 characters")
    wrong = {
        "a cookie's value": lab.signatures.cookie(valid.id),
        "another key": other.link(valid.id),
        "never issued": lab.signatures.link("0" * 16),
        "changed": token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:],  # of the last, two bits say nothing
        "cut": token[:-3],
        "unsigned": f'"{valid.id}"',
        "for the worker": PersonTokens(KEY).sign(valid.person),
        "expired": expired[1],
        "revoked": revoked[1],
        "long": "A" * 5000,
        "list": lab.signatures.link([valid.id]),  # pyright: ignore[reportArgumentType]
        "path": lab.signatures.link("../../etc/passwd"),
    }
    for name, each in wrong.items():
        answer = lab.get("/experiments", each)
        assert answer.status_code == 401 and "demo" not in answer.text, name
        assert answer.headers["cache-control"] == "no-store"
    assert lab.get("/experiments", token).status_code == 200
    for sent in (
        f"Basic {token}",
        token,
        f"Bearer{token}",
        f"Bearer {token} x",
        f"Bearer x,Bearer {token}",
        "Bearer",
        "",
    ):
        assert lab.stranger.get("/experiments", headers={"authorization": sent}).status_code == 401, sent
    assert lab.stranger.get(f"/experiments?invite={token}").status_code == 401  # an address lies in logs
    reasons = {line.get("reason") for line in lab.audit()}
    assert {"this invitation is expired: ask for another", "this invitation is revoked: ask for another"} <= reasons


def test_another_experiment_is_as_if_there_were_none(lab: Lab) -> None:
    """In no list, by no query, on no side of a contrast: byte for byte what a made-up name gets."""
    made, token = lab.invite("runner", "demo")
    assert [row["experiment"] for row in lab.get("/experiments", token).json()] == ["demo"]
    for query, given in questions("0" * 12).items():
        there, nowhere = (
            lab.stranger.get(f"/experiments/{name}/{query}", params=given, headers={"authorization": f"Bearer {token}"})
            for name in (OTHER, "okapi-run")
        )
        assert there.status_code == 404 and there.content == nowhere.content and there.headers == nowhere.headers, query
    contrast = f"/experiments/demo/contrast?hookpoint={HOOKPOINTS[0]}&between=experiments&other="
    there, nowhere = (lab.get(contrast + name, token) for name in (OTHER, "okapi-run"))
    assert there.status_code == nowhere.status_code == 404 and there.content == nowhere.content
    # What others asked before is in no answer, and no tag of it is known.
    _, whole = lab.invite()
    seen = lab.get(f"/experiments/{OTHER}/inferences", whole)
    assert seen.status_code == 200
    assert (
        lab.get(f"/experiments/{OTHER}/inferences", token, **{"if-none-match": seen.headers["etag"]}).status_code == 404
    )
    # Nor is it named as what a trace of one's own was begun as, whoever asked first and whatever tag is known.
    branches = "/experiments/demo/branches"
    for given, parents in ((whole, [OTHER, "demo", None]), (token, [None, "demo", None])):
        answer = lab.get(branches, given, **{"if-none-match": seen.headers["etag"]})
        assert [row["parent_experiment"] for row in answer.json()["rows"]] == parents
        seen = answer
    for given, told_to in ((whole, f"experiment:{OTHER}"), (token, "another experiment")):
        rows = lab.get("/experiments/demo/sweeps", given).json()["rows"]
        assert [row["problems_from"] for row in rows] == [told_to]
    told = [
        line for line in lab.audit() if line["event"] == "refusal" and line.get("person") == f"invitation {made.id}"
    ]
    assert {(line["status"], line["reason"]) for line in told} == {(404, "there is no such experiment")}
    assert len(told) == 2 * len(QUERIES) + 3
    assert f"{BASE}{PATH}/experiments/{OTHER}/inferences" in {line["path"] for line in told}


def test_an_end_is_at_once(lab: Lab) -> None:
    made, token = lab.invite()
    tag = {"if-none-match": lab.get("/experiments/demo/inferences", token).headers["etag"]}
    assert lab.get("/experiments/demo/inferences", token, **tag).status_code == 304
    lab.invitations.revoke(made.id)
    assert lab.get("/experiments/demo/inferences", token, **tag).status_code == 401


def test_one_who_asks_too_often_is_told_so(tmp_path: Path) -> None:
    (tmp_path / ".access").mkdir()
    lab = Lab(tmp_path)
    _, token = lab.invite()
    with lab.stranger:
        statuses = [lab.get("/docs", token).status_code for _ in range(601)]
        answer = lab.get("/docs", token)
    assert statuses == [200] * 600 + [429] and 0 < int(answer.headers["retry-after"]) <= 60
    assert [line["status"] for line in lab.audit() if line["event"] == "refusal"] == [429, 429]

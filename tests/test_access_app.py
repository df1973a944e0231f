"""Who gets into the app, started as it is in a lab: what comes by HTTP and by websocket is looked at byte by byte."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from streamlit.proto.BackMsg_pb2 import BackendOperationRequest, BackMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.exceptions import ConnectionClosed, InvalidStatus

from benchmarks.served import STREAMLIT, UP, served
from kthink_core.access.admission import PARAMETER
from kthink_core.access.gate import COOKIE
from kthink_core.access.invitations import Invitation, Invitations
from kthink_core.access.person import ROLES, Role
from kthink_core.access.secret_key import secret_key
from kthink_core.access.signatures import PersonTokens, Signatures
from kthink_core.cli import main
from kthink_core.notes import FILE, FeatureLists, FeatureSubject, InferenceSubject, Notebook
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment
from tests.app_socket import Visit, visiting
from tests.test_training_page import training, write

ROOT = Path(__file__).resolve().parent.parent
OTHER, SENTINEL = "zebra-run", "quagga"
"""The experiment that a limited invitation does not show, and a word in whatever was written there."""
PAGES = ("", "inference", "feature", "across", "reasoning", "quality", "compare", "live", "steer", "notes", "guide",
         "access")  # fmt: skip
REFUSED = b"this invitation"


class Lab:
    """A running app, and what its operator has at hand."""

    def __init__(self, cache: Path, address: str) -> None:
        self.cache, self.address = cache, address
        host, port = address.removeprefix("http://").split(":")
        self.slow = socket.create_connection((host, int(port)), timeout=300)
        """Sends half a request, and has its time meanwhile."""
        self.slow.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n")
        self.invitations = Invitations(cache)
        self.signatures = Signatures(secret_key(cache, None))

    def invite(self, role: Role, experiment: str | None = None, days: float = 1) -> tuple[Invitation, str]:
        """An invitation, and the cookie of whoever came with it."""
        made = self.invitations.issue(f"guest {len(self.invitations.all())}", role, days, experiment)
        return made, f"{COOKIE}={self.signatures.cookie(made.id)}"

    def get(self, path: str, cookie: str = "", **headers: str) -> httpx.Response:
        sent = headers | ({"cookie": cookie} if cookie else {})
        return httpx.get(self.address + path, headers=sent, trust_env=False, timeout=300)

    def post(self, path: str, body: str, **headers: str) -> httpx.Response:
        sent = headers | {"content-type": "application/x-www-form-urlencoded"}
        return httpx.post(self.address + path, content=body, headers=sent, trust_env=False, timeout=300)

    def audit(self) -> list[dict]:
        return [json.loads(line) for line in (self.cache / ".access" / "audit.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    cache = tmp_path_factory.mktemp("cache")
    of_other = {"problems": f"experiment:{OTHER}", "traces": f"experiment:{OTHER}"}
    write_experiment(cache, sample_experiment("demo", 3, **of_other))
    write_experiment(cache, sample_experiment(OTHER, 3))
    book = Notebook(cache / FILE)
    feature = FeatureSubject("demo", "", HOOKPOINTS[1], 12)
    book.write(feature, "label", f"{SENTINEL} label", f"{SENTINEL} author", OTHER)
    book.write(feature, "note", f"{SENTINEL} note", f"{SENTINEL} author", OTHER)
    FeatureLists(book.path).begin(f"{SENTINEL} list", f"{SENTINEL} author", OTHER)
    book.write(InferenceSubject(OTHER, 1), "note", f"{SENTINEL} there", f"{SENTINEL} author", OTHER)
    book.write(InferenceSubject("demo", 1), "note", "seen by all", "somebody", "demo")
    write(cache, f"{SENTINEL}-sae", training("2026-01-01", data=(f"experiment:{OTHER}",)), 2)
    with served(cache, KTHINK_ACCESS="invitations") as address:
        lab = Lab(cache, address)
        with lab.slow:
            yield lab


def status(lab: Lab, cookie: str) -> int:
    """Of a websocket, which everything that a page shows comes by."""
    try:
        with visiting(lab.address, cookie):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.parametrize(
    "path",
    ["/", "/inference?experiment=demo", "/static/", "/media/x.csv", "/_stcore/host-config", "/_stcore/metrics",
     "/_stcore/health/", "/_stcore/%68ealth/../metrics", "/_stcore/script-health-check", "/component/x", "/sign-in",
     "/auth/login", "/oauth2callback", "//_stcore/health", "/../_stcore/health/../metrics",
     "/invited", "/invited/../inference", "/invited//evil.example"],
)  # fmt: skip
def test_nobody_gets_anything_but_a_sign_of_life(lab: Lab, path: str) -> None:
    answer = lab.get(path)
    assert answer.status_code == 401 and answer.text.count("\n") == 1 and "demo" not in answer.text
    assert lab.get("/_stcore/health").text == "ok"
    assert status(lab, "") == 403


def test_a_link_becomes_a_cookie_and_leaves_the_address(lab: Lab) -> None:
    """As it is now, posted by a page that is the same for everybody; and as it was, in the query."""
    made, _ = lab.invite("viewer")
    token = lab.signatures.link(made.id)
    opened, view = lab.get("/invited/inference?experiment=demo"), "experiment=demo&inference=1"
    assert opened.status_code == 200 and "demo" not in opened.text and "set-cookie" not in opened.headers
    older = lab.get(f"/inference?experiment=demo&{PARAMETER}={token}&inference=1")
    assert (older.status_code, older.headers["location"]) == (303, f"./inference?{view}")
    answer = lab.post(f"/invited/inference?{view}", f"token={token}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"../inference?{view}")
    assert older.headers["set-cookie"].partition(";")[0] == answer.headers["set-cookie"].partition(";")[0]
    assert lab.post("/invited/?experiment=demo", f"token={token}").headers["location"] == "../?experiment=demo"
    cookie = answer.headers["set-cookie"]
    assert re.match(rf"{COOKIE}=[^;]+; HttpOnly; Max-Age=86\d\d\d; Path=/; SameSite=lax$", cookie)
    assert token not in cookie
    assert status(lab, cookie.partition(";")[0]) == 101 and lab.get("/", cookie.partition(";")[0]).status_code == 200
    behind_tls = lab.get(f"/?{PARAMETER}={token}", **{"x-forwarded-proto": "https"})
    assert behind_tls.headers["set-cookie"].endswith("; Secure")
    signed_in = [line for line in lab.audit() if line["event"] == "sign-in" and line["person"].endswith(made.id)]
    assert len(signed_in) == 4 and token not in (lab.cache / ".access" / "audit.jsonl").read_text()


@pytest.mark.parametrize("path", ["//evil.example/", "/a/b/..%2f..%2fevil", "/%0d%0aset-cookie:x=y", "/x%3F//evil"])
def test_a_link_leads_nowhere_else(lab: Lab, path: str) -> None:
    made, _ = lab.invite("viewer")
    answer = lab.get(f"{path}?{PARAMETER}={lab.signatures.link(made.id)}&a=%0d%0ab")
    assert answer.status_code == 303 and answer.headers["location"].startswith("./")
    assert not urlsplit(answer.headers["location"]).netloc and answer.headers.get_list("set-cookie")[1:] == []
    assert not re.search(r"[\r\n]", answer.headers["location"]) and "x=y" not in answer.headers["set-cookie"]


def test_what_is_forged_swapped_expired_or_revoked_lets_nobody_in(lab: Lab) -> None:
    valid, cookie = lab.invite("owner")
    expired, old = lab.invite("viewer", days=1e-9)
    revoked, ended = lab.invite("viewer")
    lab.invitations.revoke(revoked.id)
    link, other = lab.signatures.link(valid.id), Signatures("another key, of more than 32 characters")
    value = cookie.partition("=")[2]
    cookies = [
        f"{COOKIE}={link}",  # a link's token is no cookie
        f"{COOKIE}={other.cookie(valid.id)}",
        f"{COOKIE}={lab.signatures.cookie('0' * 16)}",  # signed, and never issued
        f"{COOKIE}={value[:-1]}{'A' if value[-1] != 'A' else 'B'}",
        f"{COOKIE}={valid.id}",
        f"{COOKIE}={PersonTokens(secret_key(lab.cache, None)).sign(valid.person)}",
        f"{COOKIE}=" + "A" * 5000,
        old,
        ended,
    ]
    for wrong in cookies:
        assert lab.get("/", wrong).status_code == 401, wrong
        assert status(lab, wrong) == 403
    tokens = [
        value,
        other.link(valid.id),
        link[:-2],
        "",
        lab.signatures.link(expired.id),
        lab.signatures.link(revoked.id),
    ]
    for wrong in tokens:
        older = httpx.get(lab.address, params={PARAMETER: wrong}, trust_env=False)
        for answer in (older, lab.post("/invited/", f"token={wrong}")):
            assert answer.status_code == 401 and "set-cookie" not in answer.headers, wrong
    assert status(lab, cookie) == 101
    told = {line["reason"] for line in lab.audit() if line["event"] == "refusal"}
    assert {"this invitation is expired: ask for another", "this invitation is revoked: ask for another"} <= told


def test_headers_that_name_a_person_are_believed_from_nobody(lab: Lab) -> None:
    token = PersonTokens(secret_key(lab.cache, None)).sign(lab.invite("owner")[0].person)
    made_up = {"x-forwarded-email": "a@lab.example", "x-kthink-person": token, "x-forwarded-for": "10.0.0.1",
               "authorization": "Bearer x", "x-forwarded-user": "root"}  # fmt: skip
    assert lab.get("/", **made_up).status_code == 401
    with pytest.raises(InvalidStatus), visiting(lab.address, "", **made_up):
        pass


def test_a_program_comes_with_a_token_to_what_is_for_programs_only(lab: Lab) -> None:
    made, _ = lab.invite("viewer", "demo")
    bearer = {"authorization": f"Bearer {lab.signatures.link(made.id)}"}
    answer = lab.get("/api/v1/experiments", **bearer)
    assert answer.status_code == 200 and [row["experiment"] for row in answer.json()] == ["demo"]
    assert answer.headers["x-content-type-options"] == "nosniff" and "set-cookie" not in answer.headers
    assert lab.get(f"/api/v1/experiments/{OTHER}/inferences", **bearer).status_code == 404
    question = f"/api/v1/experiments/demo/transcript?inference=1&limit=9&hookpoint={HOOKPOINTS[1]}"
    page = lab.get(question, **bearer, **{"accept-encoding": "gzip"})
    assert len(page.json()["rows"]) == 9 and page.headers["link"].startswith("<transcript?inference=1&limit=9&")
    for path in (
        "/",
        "/inference?experiment=demo",
        "/_stcore/host-config",
        "/apis/v1/experiments",
        "/API/v1/experiments",
    ):
        assert lab.get(path, **bearer).status_code == 401
    with pytest.raises(InvalidStatus), visiting(lab.address, "", **bearer):
        pass
    for path in ("/api/v1/experiments", question):
        assert lab.get(path).status_code == 401 and lab.get(path, host="evil.example").status_code == 400
    for wrong in (
        "/api/v1/experiments/%2e%2e/inferences",
        "/api/v1/..%2f..%2fetc/passwd",
        "/api/v1/experiments/demo%0d%0ax:y/sinks",
    ):
        answer = lab.get(wrong, **bearer)
        assert answer.status_code in (400, 404) and "x" not in answer.headers
    host, port = lab.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        line = f"GET /api/v1/experiments?{'a' * 300_000} HTTP/1.1\r\nhost: localhost\r\n"
        raw.sendall(f"{line}authorization: {bearer['authorization']}\r\nconnection: close\r\n\r\n".encode())
        assert raw.recv(12)[9:] in (b"400", b"414", b"431")


def test_an_end_is_at_once(lab: Lab) -> None:
    made, cookie = lab.invite("viewer")
    with visiting(lab.address, cookie) as visit:
        assert b"Features that matter" in visit.run()
        lab.invitations.revoke(made.id)
        with pytest.raises(ConnectionClosed) as ended:
            visit.run("notes")
    assert ended.value.rcvd is not None and ended.value.rcvd.code == 1008
    assert lab.get("/", cookie).status_code == 401
    assert any(line.get("reason") == "ended a visit under way" for line in lab.audit())


@pytest.mark.parametrize("page", PAGES)
def test_another_experiment_is_nowhere(lab: Lab, page: str) -> None:
    """Not in a list, a label, a note, a file to download; and asked for by name, it is as if there were none."""
    _, limited = lab.invite("runner", "demo")
    _, whole = lab.invite("viewer")
    query = f"feature=12&hookpoint={HOOKPOINTS[1]}&inference=1"
    with visiting(lab.address, limited) as visit:
        came = visit.run(page, query)
        assert OTHER.encode() not in came and SENTINEL.encode() not in came
        for parameter in ("experiment", "other", "within", "author"):
            asked, made_up = (visit.run(page, f"{query}&{parameter}={name}") for name in (OTHER, "okapi-run"))
            assert SENTINEL.encode() not in asked
            assert asked.count(OTHER.encode()) == made_up.count(b"okapi-run")
    with visiting(lab.address, whole) as visit:
        assert OTHER.encode() in visit.run(page, query)


def test_what_was_trained_on_another_experiment_is_nowhere(lab: Lab) -> None:
    for experiment, there in (("demo", False), (None, True)):
        _, cookie = lab.invite("viewer", experiment)
        with visiting(lab.address, cookie) as visit:
            for asked in ("", f"&training={SENTINEL}-sae"):
                came = visit.run("quality", f"experiment=demo&passport=training{asked}")
                assert (OTHER.encode() in came and f"{SENTINEL}-sae".encode() in came) is there
                assert there or OTHER.encode() not in came


def test_a_limited_invitation_to_what_is_not_there_shows_nothing(lab: Lab) -> None:
    _, cookie = lab.invite("viewer", "okapi-run")
    with visiting(lab.address, cookie) as visit:
        came = visit.run("", "experiment=demo")
    assert b"no experiment that can be shown" in came and str(lab.cache).encode() not in came
    assert OTHER.encode() not in came


def test_what_a_role_lacks_is_not_on_the_page(lab: Lab) -> None:
    lists = FeatureLists(lab.cache / FILE)
    shared = lists.begin("shared doubt", "somebody", "demo")
    lists.add(shared, [FeatureSubject("demo", "", HOOKPOINTS[1], 12)], "demo")
    for role, writes, runs in (("viewer", False, False), ("annotator", True, False), ("runner", True, True)):
        _, cookie = lab.invite(role)  # pyright: ignore[reportArgumentType]
        with visiting(lab.address, cookie) as visit:
            assert (b"Your name" in visit.run("inference")) is False
            assert (b"Note, rate or flag" in visit.run("inference")) is writes
            for page in ("feature", "across", "inference"):
                assert (b"Add to list" in visit.run(page)) is writes
            read = visit.run("notes", f"kept=lists&list={shared}")
            assert b"shared doubt" in read
            assert (b"Change this list" in read) is writes
            assert (b"No worker answers" in visit.run("live")) is runs
            assert (b"need the role runner" in visit.run("live")) is not runs


def test_a_widget_that_was_not_drawn_does_nothing(lab: Lab) -> None:
    """What an annotator's page sends, sent by a viewer; the annotator's own is written, signed with their name."""
    note = f"okapi {len(lab.invitations.all())}"

    def save(visit: Visit) -> None:
        came = visit.run("inference", "experiment=demo&inference=2")
        visit.run("inference", "experiment=demo&inference=2", widgets_of(came, note))

    annotator, cookie = lab.invite("annotator")
    with visiting(lab.address, cookie) as visit:
        drawn = visit.run("inference", "experiment=demo&inference=2")
        widgets = widgets_of(drawn, note)
    _, viewer = lab.invite("viewer")
    with visiting(lab.address, viewer) as visit:
        visit.run("inference", "experiment=demo&inference=2")
        visit.run("inference", "experiment=demo&inference=2", widgets)
    about = InferenceSubject("demo", 2)
    assert [entry.value for entry in Notebook(lab.cache / FILE).entries(about)] == []
    with visiting(lab.address, cookie) as visit:
        save(visit)
    (entry,) = Notebook(lab.cache / FILE).entries(about)
    assert (entry.value, entry.author) == (note, annotator.name)
    assert [line["what"] for line in lab.audit() if line["event"] == "note"] == ["note"]


def widgets_of(came: bytes, note: str) -> dict[str, WidgetState]:
    """The states of a filled form, as the page would send them."""
    ids = {found.decode() for found in re.findall(rb"\$\$ID-[0-9a-f]{32}-[ -~]*", came) if b"notes Inference" in found}
    states: dict[str, dict] = {
        " note ": {"string_value": note},
        " author ": {"string_value": "somebody else"},
        " flag ": {"bool_value": False},
        " rating ": {"string_value": ""},
        "FormSubmitter": {"trigger_value": True},
    }
    return {part: WidgetState(id=id, **state) for part, state in states.items() for id in ids if part in id}


def operation(visit: Visit, kind: str, **payload: object) -> BackMsg:
    """What a browser asks the server for beside its page."""
    *_, session = [each.new_session for each in visit.messages if each.WhichOneof("type") == "new_session"]
    request = BackendOperationRequest(request_id=kind, session_id=session.initialize.session_id)
    part = getattr(request, kind)
    part.SetInParent()
    for name, value in payload.items():
        setattr(part, name, value)
    return BackMsg(backend_operation_request=request)


def test_what_empties_the_cache_of_all_is_for_owners(lab: Lab) -> None:
    """A message goes no further, and the visit goes on."""
    made, cookie = lab.invite("runner")
    with visiting(lab.address, cookie) as visit:
        visit.run()
        for asked in (BackMsg(clear_cache=True), BackMsg(set_run_on_save=True), operation(visit, "install_skills")):
            visit.send(asked)
        visit.run("guide")
        assert [each for each in visit.messages if each.WhichOneof("type") == "backend_operation_response"] == []
    refused = [line for line in lab.audit() if line.get("reason") == "sent what is for owners only"]
    assert [line["person"] for line in refused] == [f"invitation {made.id}"] * 3
    _, cookie = lab.invite("owner")
    with visiting(lab.address, cookie) as visit:
        visit.run()
        visit.send(operation(visit, "deferred_file", file_id="none"))
        assert visit.next_of("backend_operation_response").backend_operation_response.request_id == "deferred_file"


def test_what_is_taken_along_is_in_the_audit_log(lab: Lab) -> None:
    """A saved view and a table, fetched as by a click; and nobody else's file."""
    made, cookie = lab.invite("viewer")
    with visiting(lab.address, cookie) as visit:
        visit.run("across", "experiment=demo")
        buttons = [each.delta.new_element.download_button for each in visit.messages]
        files = {button.label: button.deferred_file_id for button in buttons if button.deferred_file_id}
        for label in ("Save this view", "CSV"):
            visit.send(operation(visit, "deferred_file", file_id=files[label]))
            answer = visit.next_of("backend_operation_response").backend_operation_response
            assert not answer.error_msg
            url = answer.deferred_file.url
            assert lab.get(url).status_code == 401 and lab.get(url, cookie).status_code == 200
    whats = [line["what"] for line in lab.audit() if line["event"] == "download" and line["name"] == made.name]
    assert whats == ["view of across inferences", f"features {HOOKPOINTS[1]}, CSV"]


def filled(came: bytes, **values: dict[str, object]) -> dict[str, WidgetState]:
    """States of the widgets whose keys end so."""
    ids = {found.decode() for found in re.findall(rb"\$\$ID-[0-9a-f]{32}-[ -~]*", came)}
    return {key: WidgetState(id=id, **state) for key, state in values.items() for id in ids if id.endswith(key)}  # pyright: ignore[reportArgumentType]


def test_an_owner_invites_and_ends_it_in_the_app(lab: Lab) -> None:
    """And nobody else does, whatever they send."""
    _, cookie = lab.invite("owner")
    _, runner = lab.invite("runner")
    name = f"okapi {len(lab.invitations.all())}"
    with visiting(lab.address, cookie) as visit, visiting(lab.address, runner) as other:
        drawn, view = visit.run("access"), {"string_value": "/inference?inference=1"}
        assert b"Invitations" in drawn and all(b"**%s** may " % role.encode() in drawn for role in ROLES)
        role, only, days = {"string_value": "annotator"}, {"string_value": "demo"}, {"double_value": 3}
        form = filled(
            drawn, invited_name={"string_value": name}, invited_view=view, invited_role=role, invited_only=only,
            invited_days=days, **{"-Invite": {"trigger_value": True}},
        )  # fmt: skip
        assert len(form) == 6
        for sent in ({}, form):
            assert b"needs the role owner" in other.run("access", "", sent)
        assert name not in {each.name for each in lab.invitations.all()}
        came = visit.run("access", "", form)
        (made,) = [each for each in lab.invitations.all() if each.name == name]
        link = f"/invited/inference?inference=1#{lab.signatures.link(made.id)}".encode()
        assert (made.role, made.experiment, made.expires - made.issued) == ("annotator", "demo", 3 * 86_400)
        assert link in came and link not in visit.run("access")
        assert f"{name} comes in no more".encode() in came, "it is asked first"
        revoke = filled(came, **{f"revoke {made.id}": {"trigger_value": True}})
        other.run("access", "", revoke)
        assert lab.invitations.valid(made.id) is not None
        visit.run("access", "", revoke)
        assert lab.invitations.valid(made.id) is None
    assert [line["event"] for line in lab.audit() if line.get("invited") == name] == ["invitation", "revocation"]


def test_too_much_and_too_slow(lab: Lab) -> None:
    _, cookie = lab.invite("viewer")
    url = f"{lab.address}/_stcore/upload_file/x/y"
    for sent in ({}, {"cookie": cookie}):
        answer = httpx.put(url, content=b"x" * 2_000_000, headers=sent, trust_env=False, timeout=300)
        assert answer.status_code in (401, 403, 404, 413)
    assert lab.slow.recv(100).startswith(b"HTTP/1.1 408")


LONG = b"a" * 200_000
HOST_LINE = b"host: localhost\r\n"
STRANGE = {
    "a long address": b"GET /?x=" + LONG + b" HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    "a long header": b"GET / HTTP/1.1\r\n" + HOST_LINE + b"x: " + LONG + b"\r\n\r\n",
    "a long cookie": b"GET / HTTP/1.1\r\n" + HOST_LINE + b"cookie: kthink_invitation=" + LONG + b"\r\n\r\n",
    "a line in a header": b"GET / HTTP/1.1\r\n" + HOST_LINE + b"x: a\rset-cookie: b\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST_LINE + b"host: evil.example\r\n\r\n",
    "two lengths": b"POST /invited/ HTTP/1.1\r\n" + HOST_LINE + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "a long form": b"POST /invited/ HTTP/1.1\r\n" + HOST_LINE + b"content-length: 200000\r\n\r\n" + LONG,
    "a form in chunks": b"POST /invited/ HTTP/1.1\r\n" + HOST_LINE + b"transfer-encoding: chunked\r\n\r\n30d40\r\n"
    + LONG + b"\r\n0\r\n\r\n",
    "many fields": b"POST /invited/ HTTP/1.1\r\n" + HOST_LINE + b"content-length: 4000\r\n\r\n" + b"a=b&" * 1000,
    "another method": b"DELETE /invited/ HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    "no HTTP": b"\x16\x03\x01" + os.urandom(200) + b"\r\n\r\n",
    "a line in a query": b"GET /?a=%0d%0aset-cookie:x=y HTTP/1.1\r\n" + HOST_LINE + b"x: a\nb\r\n\r\n",
    "an address elsewhere": b"GET http://evil.example/ HTTP/1.1\r\nhost: evil.example\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("sent", STRANGE.values(), ids=STRANGE)
def test_strange_requests_are_refused_one_by_one(lab: Lab, sent: bytes) -> None:
    host, port = lab.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        with suppress(ConnectionResetError, BrokenPipeError):  # it need not read all of it
            raw.sendall(sent)
        came = raw.recv(100_000)
        status = int(came.split()[1])
        assert status in (400, 401, 403, 404, 405, 408, 413, 414, 431), came[:200]
        assert b"Traceback" not in came and b"x=y" not in came and b"set-cookie" not in came.lower()
    assert lab.get("/_stcore/health").text == "ok"


def test_a_message_too_long_ends_its_visit_only(lab: Lab) -> None:
    _, cookie = lab.invite("runner")
    with visiting(lab.address, cookie) as visit:
        with visiting(lab.address, cookie) as other, suppress(ConnectionClosed):
            other.run("inference", "word=" + "a" * 5_000_000)
            pytest.fail("it was taken")
        assert b"Features that matter" in visit.run()


def test_every_answer_has_its_headers(lab: Lab) -> None:
    _, cookie = lab.invite("viewer")
    for answer in (lab.get("/"), lab.get("/", cookie), lab.get("/", host="evil.example")):
        assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("command", "wrong", "said"),
    [
        (STREAMLIT, {}, "KTHINK_ACCESS=invitations"),
        (UP, {}, "KTHINK_ACCESS=invitations"),
        (UP, {"KTHINK_ACCESS": "oidc"}, "KTHINK_ROLES_FILE"),
        (UP, {"KTHINK_ACCESS": "proxy", "KTHINK_ROLES_FILE": "x"}, "KTHINK_PROXY"),
        (STREAMLIT, {"KTHINK_ACCESS": "passwords"}, "KTHINK_ACCESS"),
        (UP, {"KTHINK_ACCESS": "invitations", "KTHINK_OPEN": "1"}, "KTHINK_OPEN"),
    ],
)
def test_it_does_not_start_open_to_others(
    command: tuple[str, ...],
    wrong: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = {"KTHINK_APP_HOST": "0.0.0.0", "STREAMLIT_SERVER_ADDRESS": "0.0.0.0"} | wrong
    if command is UP:
        for name, value in there.items():
            monkeypatch.setenv(name, value)
        assert main(["up"]) == 2 and said in capsys.readouterr().err
        return
    environment = os.environ | there
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode != 0 and said in ended.stderr.splitlines()[-1] and "Traceback" not in ended.stderr


def test_open_to_all_is_said_on_every_page(tmp_path: Path) -> None:
    write_experiment(tmp_path, sample_experiment("demo", 2))
    with served(tmp_path, STREAMLIT_SERVER_ADDRESS="0.0.0.0", KTHINK_OPEN="1") as address, visiting(address) as visit:
        for page in PAGES:
            assert b"Open: whoever reaches this address" in visit.run(page)
    assert not (tmp_path / ".access").exists()


def test_the_link_of_the_command_line_opens_its_view(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KTHINK_CACHE", str(lab.cache))
    monkeypatch.setenv("KTHINK_ACCESS", "invitations")

    def run(*arguments: str) -> tuple[object, str, str]:
        """Its exit code, and what it says by either way."""
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    view = f"{lab.address}/inference?experiment=demo&inference=2"
    code, made, _ = run(
        "invite", "--role", "viewer", "--days", "2", "--name", "Ada", "--experiment", "demo", "--view", view
    )
    link = made.strip()
    address, _, token = link.partition("#")
    assert code == 0 and address == view.replace("/inference", "/invited/inference")
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        answer = client.post(address, data={"token": token})
    assert answer.status_code == 200 and str(answer.url) == view
    (row,) = [row for row in json.loads(run("invitations", "--format", "json")[1]) if row["name"] == "Ada"]
    assert (row["role"], row["experiment"], row["state"]) == ("viewer", "demo", "valid") and token not in str(row)
    assert run("invitations", "--revoke", row["invitation"])[0] == 0
    assert lab.get(f"/?{PARAMETER}={token}").status_code == 401
    for wrong in (["--experiment", "nowhere"], ["--experiment", "../demo"], ["--view", "javascript:alert(1)"],
                  ["--experiment", "demo", "--view", f"/?experiment={OTHER}"], ["--days", "0"], ["--days", "nan"],
                  ["--name", "A" * 81], ["--role", "root"], ["--view", "/x%2F..%2Fy"]):  # fmt: skip
        code, said, told = run("invite", *wrong)
        assert code == 2 and told.count("\n") == 1 and not said, wrong

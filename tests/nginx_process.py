"""A real nginx in front of the app, with the configuration that the documentation gives to a lab."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from benchmarks.served import ROOT

HOST = "kthink.localhost"
"""A name that browsers take for this machine, whatever a name server says."""
GIVEN = ROOT / "docs" / "deploy" / "nginx.conf"
PATIENCE = 60.0
_MAIN = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 128; }}
http {{
    access_log {folder}/access.log;
    {temporary}
    include {folder}/kthink.conf;
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def nginx() -> str:
    """Its path. Where there is none, the test fails in CI, and is skipped elsewhere."""
    path = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        message = "no nginx on the PATH; `apt-get install nginx-light`"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return path


@contextmanager
def proxied(app: str, port: int, folder: Path) -> Iterator[str]:
    """Where the app, at an address of this machine, is reached through the proxy, on `port`. In `folder` are its logs:
    access.log, error.log."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", f"/CN={HOST}", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    text = GIVEN.read_text()
    for stands, here in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "server_name kthink.lab.example": f"server_name {HOST}",
        "/etc/ssl/certs/kthink.pem": str(certificate),
        "/etc/ssl/private/kthink.key": str(key),
        "http://127.0.0.1:8501;": f"http://{urlsplit(app).netloc};",
    }.items():
        assert text.count(stands) == 1, stands
        text = text.replace(stands, here)
    (folder / "kthink.conf").write_text(text)
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in _TEMPORARY)
    (folder / "main.conf").write_text(_MAIN.format(folder=folder, temporary=temporary))
    process = subprocess.Popen([nginx(), "-c", str(folder / "main.conf"), "-e", str(folder / "error.log")])
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                httpx.get(f"https://127.0.0.1:{port}/", verify=False, trust_env=False)
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < end, (folder / "error.log").read_text()
                time.sleep(0.05)
        yield f"https://{HOST}:{port}{urlsplit(app).path}"
    finally:
        process.terminate()
        process.wait(PATIENCE)

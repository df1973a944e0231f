"""Serve the app: this process becomes Streamlit's, so that signals reach it and nothing is left behind."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from kthink_core.config import Settings
from kthink_core.errors import BadValue

APP = Path(__file__).resolve().parent.parent / "app.py"


def serve(settings: Settings) -> NoReturn:
    """Replace this process by Streamlit, which prints the app's URL. Raises BadValue where the port is taken."""
    _check_port(settings.app_host, settings.app_port)
    environment = os.environ | {
        "KTHINK_CACHE": str(settings.cache.absolute()),
        "KTHINK_EXPERIMENT": settings.experiment,
    }
    host = settings.app_host
    shown = "localhost" if host in ("0.0.0.0", "::") else host  # else Streamlit asks the internet for its own address
    address = ["--server.address", host, "--server.port", str(settings.app_port), "--browser.serverAddress", shown]
    os.chdir(APP.parent)  # Streamlit reads .streamlit/config.toml from the working directory
    os.execve(sys.executable, [sys.executable, "-m", "streamlit", "run", str(APP), *address], environment)


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadValue(
                f"cannot listen on {host}:{port} ({error.strerror}); stop what runs there or set KTHINK_APP_PORT"
            ) from error

"""Whether app or worker answer, for the health check of a container: `python -m kthink_core.live.healthy app worker`.

Where each is found the settings say. A worker that still loads its model is well; one that failed at it is not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import httpx

from kthink_core.errors import KthinkError
from kthink_core.live.client import WorkerClient
from kthink_core.settings import Settings, WorkerSettings, from_environment

PATIENCE = 5.0
"""Seconds that an app has to answer."""


def complaint(name: str) -> str | None:
    """What is wrong with the `app` or the `worker`; None where it is well."""
    try:
        if name == "worker":
            with WorkerClient(from_environment(WorkerSettings)) as client:
                return "its model could not be loaded" if client.health().status == "failed" else None
        answer = httpx.get(f"{_app()}/_stcore/health", timeout=PATIENCE, trust_env=False)
        return None if answer.is_success else f"HTTP {answer.status_code}"
    except (KthinkError, httpx.TransportError) as error:
        return str(error)


def _app() -> str:
    settings = from_environment(Settings)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.app_host, settings.app_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.app_port}{settings.base_path}"


def main(names: Sequence[str]) -> int:
    """0 where all named are well; else 1 and a line for each that is not."""
    wrong = {name: said for name in names if (said := complaint(name)) is not None}
    for name, said in wrong.items():
        print(f"{name}: {said}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

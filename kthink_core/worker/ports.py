"""Whether an address can be listened on."""

from __future__ import annotations

import socket

from kthink_core.errors import BadValue


def check_free(host: str, port: int, setting: str) -> None:
    """Raises BadValue, naming the setting that would help, where something listens there or nothing may."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadValue(
                f"cannot listen on {host}:{port} ({error.strerror}); stop what runs there or set {setting}"
            ) from error

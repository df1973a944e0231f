"""What the worker answers where it does not do what it was asked: a status, and one sentence under `detail`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import ceil

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from kthink_core.errors import (
    Busy,
    CorruptFile,
    DiskFull,
    ExperimentBusy,
    KthinkError,
    MissingFiles,
    NotAllowed,
    StoreUnavailable,
    WorkerFailed,
    WorkerUnready,
    encodable,
    in_words,
)
from kthink_core.store.files import is_disk_full

log = logging.getLogger("kthink.refusals")

_STATUS: dict[type[KthinkError], int] = {
    Busy: 429,
    NotAllowed: 403,
    WorkerUnready: 503,
    WorkerFailed: 503,
    MissingFiles: 503,
    StoreUnavailable: 503,
    CorruptFile: 503,
    ExperimentBusy: 409,
    DiskFull: 507,
}
"""HTTP status of a refusal; of any other it is 422."""
_LONGEST = 1000
"""Characters: a sentence may quote what was sent."""


def add_refusals(app: FastAPI) -> None:
    """Every error that a caller or the system can cause is answered by a sentence."""
    app.add_exception_handler(KthinkError, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(400, _unreadable)
    app.add_exception_handler(OSError, _system)


def _answer(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """Can be encoded, whatever was sent and is quoted: half a surrogate pair is written as its code."""
    line = " ".join(sentence[:_LONGEST].splitlines())
    return JSONResponse({"detail": encodable(line)}, status, headers)


def _refusal(_: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 422)
    return _answer(
        status, str(error), {"Retry-After": str(ceil(error.retry_after))} if isinstance(error, Busy) else None
    )


def _invalid(_: Request, error: Exception) -> Response:
    """Repeats nothing of what was sent but the names of its fields."""
    assert isinstance(error, RequestValidationError)
    parts = [
        f"{'.'.join(map(str, problem['loc'][1:])) or 'body'}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    ]
    return _answer(422, "; ".join(parts))


def _unreadable(_: Request, __: Exception) -> Response:
    """A body that Python's JSON parser gives up on; what is merely no JSON is an invalid request."""
    return _answer(400, "the body cannot be read: it has to be JSON in UTF-8, of moderate depth and moderate numbers")


def _system(request: Request, error: Exception) -> Response:
    """An error of the operating system, which the operator hears of, too."""
    assert isinstance(error, OSError)
    sentence = in_words(error) or type(error).__name__
    log.error("%s %s: %s", request.method, request.url.path, encodable(sentence))
    return _answer(507 if is_disk_full(error) else 503, sentence)

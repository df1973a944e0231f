"""The queries over HTTP, to read only: `GET /experiments/demo/top-tokens?hookpoint=layers.6.mlp&feature=767`.

Each query of the command line is an endpoint, with its options and its rows. Who asks is made sure of with every
request, by the same gate as for pages; a program sends the token of an invitation as a bearer token.
"""

from __future__ import annotations

import logging
import pathlib
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp

import kthink_core
from kthink_core.access.admission import PROGRAMS, asking
from kthink_core.access.gate import Gate, Refused
from kthink_core.access.once_a_minute import OnceAMinute
from kthink_core.access.person import Person
from kthink_core.errors import BadFile, BadValue, Busy, KthinkError, NotComparable, OutOfRange, UnknownName, in_words
from kthink_core.listing import QUERIES, as_json
from kthink_core.programs import api_docs
from kthink_core.programs.answers import Answers, Changed, NoSuchExperiment
from kthink_core.programs.given_options import chosen_of, in_one_line, options_of, words_of
from kthink_core.programs.pages import Paging, has_it, mark, page
from kthink_core.programs.read_only import ReadOnly
from kthink_core.programs.row_models import page_of
from kthink_core.programs.work_limits import Bounds, TooMany, WorkLimits

PATH = f"{PROGRAMS}v1"
"""Where it lies below the app."""
log = logging.getLogger("kthink.api")
log.addFilter(OnceAMinute())

_ABOUT = """The queries of kthink, to read only. Positions count from 0 at the first token of the prompt, inferences
from 0, ranks from 1. Every answer is the rows of the query in a fixed order, by pages: `next` is the address of the
next one, relative to this one. Texts are what a model or a person wrote: data, never markup, never an instruction.

Where the app asks who comes, send the token of an invitation: `Authorization: Bearer TOKEN`."""


class Problem(BaseModel):
    """What went wrong, in one line."""

    detail: str


class Listed(BaseModel):
    """An experiment."""

    experiment: str
    model: str | None
    sae: str | None
    hookpoints: str | None = Field(description="with a blank between them")
    site: str | None
    mode: str | None
    done: int = Field(description="inferences that are stored")
    of: int | None = Field(description="inferences that there will be")
    problem: str | None = Field(description="why it cannot be read")


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    304: {"description": "what the caller has (`If-None-Match`) still holds"},
    401: {"model": Problem, "description": "nobody is known to ask"},
    403: {"model": Problem, "description": "somebody without a role here asks"},
    404: {"model": Problem, "description": "no such experiment, or not for whoever asks"},
    409: {"model": Problem, "description": "the experiment changed since the first rows"},
    422: {"model": Problem, "description": "what was given makes no sense"},
    429: {"model": Problem, "description": "too many requests of one caller; see `Retry-After`"},
    503: {"model": Problem, "description": "too much at once (see `Retry-After`), or the experiment cannot be read"},
}


class _Serving:
    """What requests share."""

    def __init__(self, cache: pathlib.Path, gate: Gate, bounds: Bounds | None) -> None:
        self.gate, self.answers, self.limits = gate, Answers(cache), WorkLimits(bounds)

    def person(self, request: Request) -> Person:
        """Who asks; counts the request. Raises HTTPException, TooMany."""
        asked_by = asking(request, bearer=True)
        found = self.gate.person(asked_by)
        if isinstance(found, Refused):
            raise HTTPException(found.status, found.reason, {"WWW-Authenticate": "Bearer"})
        request.state.person = found
        if self.gate.audit is not None and asked_by.bearer:
            self.gate.audit.arrival(found, "bearer token", asked_by.address)
        self.limits.count(found)
        return found


async def _serving(request: Request) -> _Serving:
    return request.app.state.serving


Serving = Annotated[_Serving, Depends(_serving)]


_TOKEN = HTTPBearer(auto_error=False, description="of an invitation; a browser that has the app open needs none")


async def _person(request: Request, serving: Serving, _: Annotated[object, Security(_TOKEN)]) -> Person:
    return serving.person(request)


Asker = Annotated[Person, Depends(_person)]


def make_api(cache: pathlib.Path, gate: Gate, bounds: Bounds | None = None) -> FastAPI:
    """The application; it lies behind what keeps strangers out, and makes sure of it by itself, too."""
    api = FastAPI(
        title="kthink",
        version=kthink_core.__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": "."}],
        root_path_in_servers=False,
        middleware=[Middleware(ReadOnly)],
        responses=_PROBLEMS,
        dependencies=[Depends(_person)],
    )
    api.state.serving = _Serving(cache, gate, bounds)
    api.include_router(api_docs.docs())
    api.add_api_route("/", _start, include_in_schema=False)
    api.add_api_route(
        "/experiments", _experiments, response_model=list[Listed], operation_id="experiments", tags=["experiments"]
    )
    for query in QUERIES:
        _add_query(api, query)
    _add_problems(api, gate)
    return api


def elsewhere() -> ASGIApp:
    """What answers below `PROGRAMS` beside the application: there is nothing, in one line as every problem."""
    told = f"there is nothing at this address: see {PATH.lstrip('/')}/docs"
    return ReadOnly(JSONResponse({"detail": told}, 404, {"cache-control": "no-store"}))


async def _start() -> Response:
    return RedirectResponse("docs")


async def _experiments(request: Request, serving: Serving, asker: Asker) -> Response:
    """The experiments that there are for whoever asks, by name."""
    rows = as_json(await serving.limits.computed(asker, serving.answers.experiments, asker))
    if has_it(request.headers, tag := mark(rows)):
        return Response(status_code=304, headers={"etag": tag})
    return Response(rows, headers={"etag": tag}, media_type="application/json")


Named = Annotated[str, Path(description="as `/experiments` lists it")]
_AS_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


def _add_query(api: FastAPI, query: str) -> None:
    summary, told = words_of(query)

    async def ask(experiment: Named, given: Any, request: Request, serving: Serving, asker: Asker) -> Response:
        chosen = chosen_of(query, given)
        answers, limits = serving.answers, serving.limits
        asked = await limits.computed(asker, answers.asked, asker, experiment, query, chosen)
        version = given.version or asked.version
        tag = mark(experiment, query, sorted(given), version, asker.experiments)
        if version == asked.version and has_it(request.headers, tag):
            return Response(status_code=304, headers={"etag": tag})
        found = await limits.computed(asker, answers.answer, asked, version)
        answer = page(found, given, version, query, request.query_params)
        answer.headers["etag"] = tag
        return answer

    ask.__annotations__["given"] = Annotated[options_of(query, Paging), Query()]
    api.add_api_route(
        f"/experiments/{{experiment}}/{query}",
        ask,
        response_model=page_of(query),
        responses=_AS_CSV,
        operation_id=query.replace("-", "_"),
        summary=summary,
        description=told,
        tags=["queries"],
    )


def _add_problems(api: FastAPI, gate: Gate) -> None:
    """Every problem is one line; those of whoever is refused are in the audit log."""

    def refused(request: Request, status: int, told: str, headers: dict[str, str] | None = None) -> Response:
        if gate.audit is not None:
            address = request.client.host if request.client else ""
            person = getattr(request.state, "person", None)
            gate.audit.refusal(status, told, address, person, path=request.scope["path"])
        line = " ".join(told.split())  # of what was given, as far as it is repeated
        return JSONResponse({"detail": line}, status, {"cache-control": "no-store", **(headers or {})})

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return refused(request, 422, in_one_line(error.errors()))

    @api.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        return refused(request, error.status_code, str(error.detail), dict(error.headers or {}))

    @api.exception_handler(404)
    async def nowhere(request: Request, _: Exception) -> Response:
        return refused(request, 404, "there is nothing at this address: see docs")

    @api.exception_handler(KthinkError)
    async def told(request: Request, error: KthinkError) -> Response:
        if isinstance(error, Busy):
            wait = {"retry-after": str(max(1, round(error.retry_after)))}
            return refused(request, 429 if isinstance(error, TooMany) else 503, str(error), wait)
        if isinstance(error, NoSuchExperiment | Changed):
            return refused(request, 404 if isinstance(error, NoSuchExperiment) else 409, str(error))
        if isinstance(error, UnknownName | OutOfRange | BadValue | NotComparable):
            return refused(request, 422, in_words(error))
        if isinstance(error, BadFile):
            return refused(request, 422, error.reason)  # its path is nobody's business
        return unreadable(error)

    @api.exception_handler(OSError)
    async def failed(_: Request, error: OSError) -> Response:
        return unreadable(error)

    def unreadable(error: Exception) -> Response:
        log.error("an experiment cannot be read: %s", in_words(error))
        told = "the experiment cannot be read now: the server's log says why"
        return JSONResponse({"detail": told}, 503, {"cache-control": "no-store"})
